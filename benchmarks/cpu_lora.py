"""ttrl-server's CPU LoRA kernels beside vLLM's own, interleaved in one process.

    python -m benchmarks.cpu_lora [--rounds N] [--dtype bfloat16|float32] [--layers K] [--threads T]

One sample is the LoRA part of K decoder layers of SmolLM2-135M's shapes (qkv, o, gate/up and down,
all with rank 16 in 4 slots), through vLLM's ``PunicaWrapperCPU`` as its model runner calls it. A
round times each kernel set once, in alternating order, so that whatever else the machine does meets
both. Quote the ratios; the milliseconds are this machine's. The last line is JSON: the median of
the rounds' ratios for each batch.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import time
from typing import Any

import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.ops.torch_ops import lora_ops as stock
from vllm.lora.punica_wrapper import punica_cpu

from benchmarks import argument_parser, spread
from ttrl_server.engine import cpu_lora

SLOTS, RANK = 4, 16
NAMES = [kernel.__name__ for kernel in cpu_lora.KERNELS]
MODULES = {  # name: (inputs, outputs of each slice)
    "qkv": (576, (576, 192, 192)),
    "o": (576, (576,)),
    "gate_up": (576, (1536, 1536)),
    "down": (1536, (576,)),
}


def layer(name: str, tokens: int, dtype: torch.dtype) -> tuple[Any, ...]:
    """What vLLM's ``add_lora_linear`` is given for one linear layer and one batch."""
    ins, outs = MODULES[name]
    a = tuple(torch.randn(SLOTS, 1, RANK, ins).mul_(ins**-0.5).to(dtype) for _ in outs)
    b = tuple(torch.randn(SLOTS, 1, size, RANK).to(dtype) for size in outs)
    x, y = torch.randn(tokens, ins).to(dtype), torch.zeros(tokens, sum(outs), dtype=dtype)
    return y, x, a, b, 1.0, outs


def batches(seed: int) -> dict[str, list[int]]:
    """The slot of each token. In a mixed batch half have no adapter, the rest one of three."""
    halves = [-1] * 32 + [0] * 11 + [1] * 11 + [2] * 10
    scattered = random.Random(seed).sample(halves, len(halves))
    one = {f"decode_{tokens}_one_adapter": [1] * tokens for tokens in (32, 64, 128, 256)}
    return one | {"mixed": scattered, "mixed_in_stretches": halves}


def wrapper_for(slots: list[int]) -> Any:
    """vLLM's metadata of a decoding step; outside CUDA its runner says "prefill" for every step."""
    ids = tuple(slot + 1 for slot in slots)
    mapping = LoRAMapping(ids, ids, is_prefill=True)
    wrapper = punica_cpu.PunicaWrapperCPU(max_num_batched_tokens=512, max_batches=512, device="cpu")
    wrapper.update_metadata(mapping, list(range(1, SLOTS + 1)), SLOTS, vocab_size=49152)
    return wrapper


def milliseconds(kernels: Any, wrapper: Any, model: list[tuple[Any, ...]]) -> float:
    for name in NAMES:
        setattr(punica_cpu, name, getattr(kernels, name))
    start = time.perf_counter()
    for linear in model:
        wrapper.add_lora_linear(*linear)
    return (time.perf_counter() - start) * 1e3


def measure(
    slots: list[int], layers: int, dtype: torch.dtype, rounds: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of each round, vLLM's and ours, after two rounds to warm up."""
    wrapper = wrapper_for(slots)
    model = [layer(name, len(slots), dtype) for _ in range(layers) for name in MODULES]
    taken: dict[Any, list[float]] = {stock: [], cpu_lora: []}
    for number in range(rounds + 2):
        for kernels in (stock, cpu_lora) if number % 2 else (cpu_lora, stock):
            taken[kernels].append(milliseconds(kernels, wrapper, model))
    return taken[stock][2:], taken[cpu_lora][2:]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    waiting = os.environ.get("OMP_WAIT_POLICY", "default")
    print(f"{options.dtype}, {options.threads} threads, {waiting} waiting", end=", ")
    print(f"{options.layers} layers, {options.rounds} rounds")
    print(f"{'median (quartiles)':22} {'vLLM ms':>24} {'ours ms':>24} {'ratio':>24}")
    speedups = {}
    with torch.inference_mode():
        for name, slots in batches(seed=0).items():
            dtype = getattr(torch, options.dtype)
            theirs, ours = measure(slots, options.layers, dtype, options.rounds)
            ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
            columns = [f"{spread(column):>24}" for column in (theirs, ours, ratios)]
            print(f"{name:22}", *columns)
            speedups[f"speedup_{name}"] = round(statistics.median(ratios), 2)
    print(json.dumps(speedups))


if __name__ == "__main__":
    main()
