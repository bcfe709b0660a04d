"""What the kit for a GPU machine leaves of a CUDA library."""

from __future__ import annotations

import struct

from benchmarks.gpu.pack import FATBIN, LEFT_OUT, for_one_card


def entry(arch: int, code: bytes) -> bytes:
    """One piece of machine code with its header of 64 bytes."""
    return struct.pack("<HHIQ12xI32x", 2, 0x101, 64, len(code), arch) + code


def container(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return FATBIN + struct.pack("<HHQ", 1, 16, len(body)) + body


def test_code_for_other_cards_is_zeros_and_everything_else_stays_where_it_was() -> None:
    hopper, ampere = b"H" * 40, b"A" * 24
    library = (
        b"ELF"
        + container(entry(90, hopper), entry(80, ampere))
        + b"data"
        + container(entry(80, ampere))
    )
    kept = for_one_card(library, 90)
    assert len(kept) == len(library)
    assert kept == library.replace(ampere, bytes(24))


def test_four_bytes_that_only_look_like_a_container_are_left_alone() -> None:
    library = b"x" + FATBIN + b"\xff" * 30 + container(entry(80, b"A" * 8))
    assert for_one_card(library, 90) == library.replace(b"A" * 8, bytes(8))


def test_what_is_left_out_is_not_what_is_imported() -> None:
    assert LEFT_OUT.match("vllm/vllm_flash_attn/_vllm_fa2_C.abi3.so")
    assert not LEFT_OUT.match("vllm/vllm_flash_attn/_vllm_fa3_C.abi3.so")
    assert not LEFT_OUT.match("vllm/_C_stable_libtorch.abi3.so")
    assert not LEFT_OUT.match("vllm/third_party/pynvml.py")
