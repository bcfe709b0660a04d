"""What the CPU engine's precision and its way of waiting cost: tokens/s of the base model and of an
adapter.

    python -m benchmarks.cpu_engine [--model .models/SmolLM2-135M-Instruct] [--rounds N]

Real vLLM with the command line that ttrl-serve would use: bfloat16 and float32, threads asleep
while they wait (``OMP_WAIT_POLICY=PASSIVE``) and not. A round asks for the same 128 samples of 24
tokens of the base and of the adapter in turn. One server runs at a time, or they would measure each
other. The last line is JSON: median tokens/s.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import MODEL, argument_parser
from benchmarks.engine import prompt_of, running, small
from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config
from ttrl_server.types import Sampling

SAMPLING = Sampling(temperature=0.6, max_tokens=24, extra={"min_tokens": 24, "ignore_eos": True})


def make_adapter(config: Config, folder: Path) -> None:
    """A LoRA of rank 16 on all linear layers whose B is not zero, in PEFT's format."""
    import torch

    from ttrl_server.training.policy import load_policy, trained_parameters

    policy = load_policy(config)
    with torch.no_grad():
        for name, parameter in trained_parameters(policy).items():
            if "lora_B" in name:
                parameter.normal_(std=1e-3)
    policy.save_pretrained(str(folder))


async def measure(config: Config, adapter: Path, rounds: int) -> dict[str, float]:
    """Median tokens/s of one engine, from its start to its end."""
    base = version_name(config.name, 0)
    seen: dict[str, list[float]] = {"base": [], "adapter": []}
    async with running(config) as client:
        await client.load("adapter", str(adapter))
        pairs = itertools.product((2, 3, 4, 5), (3, 8))
        asked = [f"What is {a} * {b}? Answer with just the number." for a, b in pairs]
        prompts = [await prompt_of(client, base, question) for question in asked]
        for _ in range(rounds + 1):
            for kind, model in (("base", base), ("adapter", "adapter")):
                started = time.monotonic()
                rollouts = await asyncio.gather(
                    *(
                        client.sample(each, model, SAMPLING, i)
                        for each in prompts
                        for i in range(16)
                    )
                )
                tokens = sum(len(rollout.token_ids) for rollout in rollouts)
                seen[kind].append(tokens / (time.monotonic() - started))
    return {kind: round(statistics.median(values[1:]), 1) for kind, values in seen.items()}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    ways = itertools.product(("bfloat16", "float32"), (("always", "asleep"), ("idle", "default")))
    with tempfile.TemporaryDirectory() as scratch:
        adapter = Path(scratch) / "adapter"
        for dtype, (when, waiting) in ways:
            config = small(options.model, Path(scratch) / "run", dtype=dtype, when=when, seqs=64)
            if not adapter.exists():
                make_adapter(config, adapter)
            found = asyncio.run(measure(config, adapter, options.rounds))
            results[f"{dtype}_{waiting}"] = found
            print(dtype, waiting, found, flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
