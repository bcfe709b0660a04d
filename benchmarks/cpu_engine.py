"""What the CPU engine's precision and its way of waiting cost: tokens/s of the base model and of an
adapter.

    python -m benchmarks.cpu_engine [--model .models/SmolLM2-135M-Instruct] [--rounds N]

Real vLLM with the command line that ttrl-serve would use: bfloat16 and float32, threads asleep
while they wait (``OMP_WAIT_POLICY=PASSIVE``) and not. A round asks for the same 128 samples of 24
tokens of the base and of the adapter in turn. One server runs at a time, or they would measure each
other. The last line is JSON: median tokens/s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.engine import running
from ttrl_server.engine.client import EngineClient
from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config
from ttrl_server.settings.sections import EngineConfig, TrainConfig
from ttrl_server.types import Question, Sampling, VoteOptions

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
    async with running(config) as client:
        await client.load("adapter", str(adapter))
        return await tokens_per_second(client, version_name(config.name, 0), rounds)


async def tokens_per_second(client: EngineClient, base: str, rounds: int) -> dict[str, float]:
    prompts = [await prompt(client, base, a, b) for a in (2, 3, 4, 5) for b in (3, 8)]
    seen: dict[str, list[float]] = {"base": [], "adapter": []}
    for _ in range(rounds + 1):
        for kind, model in (("base", base), ("adapter", "adapter")):
            started = time.monotonic()
            rollouts = await asyncio.gather(
                *(
                    client.sample(ids, model, SAMPLING, index)
                    for ids in prompts
                    for index in range(16)
                )
            )
            seen[kind].append(
                sum(len(r.token_ids) for r in rollouts) / (time.monotonic() - started)
            )
    return {kind: round(statistics.median(values[1:]), 1) for kind, values in seen.items()}


async def prompt(client: EngineClient, model: str, a: int, b: int) -> tuple[int, ...]:
    messages = [{"role": "user", "content": f"What is {a} * {b}? Answer with just the number."}]
    question = Question("", "", messages, "chat", model, None, SAMPLING, VoteOptions(1))
    return (await client.tokenize(question, model))[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=".models/SmolLM2-135M-Instruct")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for dtype in ("bfloat16", "float32"):
            for when, waiting in (("always", "asleep"), ("idle", "default")):
                config = Config(
                    model=options.model,
                    served_model_name="m",
                    hardware="cpu",
                    dtype=dtype,
                    max_model_len=1024,
                    run_dir=Path(scratch) / "run",
                    engine=EngineConfig(max_num_seqs=64, cpu_kv_cache_gib=2),
                    train=TrainConfig(when=when),
                )
                adapter = Path(scratch) / "adapter"
                if not adapter.exists():
                    make_adapter(config, adapter)
                results[f"{dtype}_{waiting}"] = asyncio.run(
                    measure(config, adapter, options.rounds)
                )
                print(dtype, waiting, results[f"{dtype}_{waiting}"], flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
