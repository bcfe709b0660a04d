"""ttrl-server's CPU LoRA kernels beside vLLM's own, interleaved in one process.

    python -m benchmarks.cpu_lora [--rounds N] [--dtype bfloat16|float32] [--layers K] [--threads T]

One sample is the LoRA part of K decoder layers of SmolLM2-135M's shapes (qkv, o, gate/up and down,
all with rank 16 in 4 slots), through vLLM's ``PunicaWrapperCPU`` as its model runner calls it. A
round times each kernel set once, in alternating order, so that whatever else the machine does meets
both. Quote the ratios; the milliseconds are this machine's. The last line is JSON: the median of
the rounds' ratios for each batch.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from vllm.lora.layers import LoRAMapping
from vllm.lora.ops.torch_ops import lora_ops as stock
from vllm.lora.punica_wrapper import punica_cpu

from ttrl_server.engine import cpu_lora

SLOTS, RANK = 4, 16
NAMES = [kernel.__name__ for kernel in cpu_lora.KERNELS]
MODULES = {  # name: (inputs, outputs of each slice)
    "qkv": (576, (576, 192, 192)),
    "o": (576, (576,)),
    "gate_up": (576, (1536, 1536)),
    "down": (1536, (576,)),
}


@dataclass(frozen=True)
class Module:
    """One linear layer's adapters, input and output, all [tokens, …] of one batch."""

    lora_a: tuple[Tensor, ...]
    lora_b: tuple[Tensor, ...]
    slices: tuple[int, ...]
    x: Tensor
    y: Tensor

    @classmethod
    def random(cls, name: str, tokens: int, dtype: torch.dtype) -> Module:
        in_size, slices = MODULES[name]
        lora_a = tuple(
            torch.randn(SLOTS, 1, RANK, in_size).mul_(in_size**-0.5).to(dtype) for _ in slices
        )
        lora_b = tuple(torch.randn(SLOTS, 1, size, RANK).to(dtype) for size in slices)
        x, y = torch.randn(tokens, in_size).to(dtype), torch.zeros(tokens, sum(slices), dtype=dtype)
        return cls(lora_a, lora_b, slices, x, y)


def batches(seed: int) -> dict[str, list[int]]:
    """The slot of each token. In a mixed batch half of the rows have no adapter, the rest one of
    three."""
    halves = [-1] * 32 + [0] * 11 + [1] * 11 + [2] * 10
    scattered = random.Random(seed).sample(halves, len(halves))
    one = {f"decode_{tokens}_one_adapter": [1] * tokens for tokens in (32, 64, 128, 256)}
    return one | {"mixed": scattered, "mixed_in_stretches": halves}


def wrapper_for(slots: list[int]) -> Any:
    """vLLM's metadata for one decoding step. Its runner says "prefill" for every step outside
    CUDA."""
    ids = tuple(slot + 1 for slot in slots)
    wrapper = punica_cpu.PunicaWrapperCPU(max_num_batched_tokens=512, max_batches=512, device="cpu")
    wrapper.update_metadata(
        LoRAMapping(ids, ids, is_prefill=True), list(range(1, SLOTS + 1)), SLOTS, vocab_size=49152
    )
    return wrapper


def milliseconds(kernels: Any, wrapper: Any, modules: list[Module]) -> float:
    for name in NAMES:
        setattr(punica_cpu, name, getattr(kernels, name))
    start = time.perf_counter()
    for module in modules:
        wrapper.add_lora_linear(
            module.y, module.x, module.lora_a, module.lora_b, 1.0, module.slices
        )
    return (time.perf_counter() - start) * 1e3


def measure(
    slots: list[int], layers: int, dtype: torch.dtype, rounds: int
) -> list[tuple[float, float]]:
    """(vLLM's, ours) milliseconds of each round, after two rounds to warm up."""
    wrapper = wrapper_for(slots)
    modules = [Module.random(name, len(slots), dtype) for _ in range(layers) for name in MODULES]
    pairs = []
    for round_number in range(rounds + 2):
        order = (stock, cpu_lora) if round_number % 2 else (cpu_lora, stock)
        taken = {kernels.__name__: milliseconds(kernels, wrapper, modules) for kernels in order}
        pairs.append((taken[stock.__name__], taken[cpu_lora.__name__]))
    return pairs[2:]


def spread(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:8.2f} ({low:.2f}–{high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    waiting = os.environ.get("OMP_WAIT_POLICY", "default") + " waiting"
    print(
        f"{options.dtype}, {options.threads} threads, {waiting}, {options.layers} layers, "
        f"{options.rounds} rounds"
    )
    print(f"{'median (quartiles)':22} {'vLLM ms':>24} {'ours ms':>24} {'ratio':>24}")
    speedups = {}
    with torch.inference_mode():
        for name, slots in batches(seed=0).items():
            pairs = measure(slots, options.layers, getattr(torch, options.dtype), options.rounds)
            ratios = [theirs / ours for theirs, ours in pairs]
            columns = ([theirs for theirs, _ in pairs], [ours for _, ours in pairs], ratios)
            print(f"{name:22} " + " ".join(f"{spread(column):>24}" for column in columns))
            speedups[f"speedup_{name}"] = round(statistics.median(ratios), 2)
    print(json.dumps(speedups))


if __name__ == "__main__":
    main()
