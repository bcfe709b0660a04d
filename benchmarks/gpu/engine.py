"""vLLM on a model's shape with the flags of ``ttrl-serve --dry-run`` and random weights.

    python -m benchmarks.gpu.engine [--shape qwen3-8b] [--dtype bfloat16] [--tokens 256]
                                             [--rounds 3]

``raw``: one request for n = 64 samples; ``base`` and ``adapter``: 64 requests as a vote sends
them, with token ids and log-probabilities. In turns, tokens a second, the median of the rounds.
Then, while 64 samples of one version run beside a stream: another version is loaded, and its first
token is waited for. ``pause_s`` is the longest gap between two tokens of that stream from the load
on, ``calm_s`` before it. The last line is JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks import argument_parser
from benchmarks.engine import running
from benchmarks.gpu import shapes
from ttrl_server.engine.client import EngineClient
from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config
from ttrl_server.types import Prompt, Sampling

SAMPLES, PROMPT, RANK = 64, 128, 32
BASE, OLD, NEW = version_name("m", 0), "m@old", "m@new"


def config(folder: Path, run_dir: Path, dtype: str) -> Config:
    """Settings of a server that is alone on the card."""
    hardware = "cuda" if torch.cuda.is_available() else "cpu"
    engine = {"devices": [0] if hardware == "cuda" else [], "max_num_seqs": 256}
    return Config.model_validate(
        {
            "model": str(folder),
            "served_model_name": "m",
            "hardware": hardware,
            "dtype": dtype,
            "max_model_len": 4096,
            "run_dir": run_dir,
            "engine": engine | {"extra_args": ["--load-format", "dummy"]},
            "train": {"enabled": False, "rank": RANK},
        }
    )


async def measure(options: Any, scratch: Path) -> dict[str, Any]:
    folder = shapes.write_folder(options.shape, scratch / options.shape)
    old, new = (
        shapes.write_adapter(options.shape, scratch / name, RANK, seed)
        for seed, name in enumerate(("old", "new"))
    )
    vocabulary = shapes.SHAPES[options.shape].vocab_size
    prompt = tuple(7 + 13 * i % (vocabulary - 7) for i in range(PROMPT))
    started = time.monotonic()
    async with running(config(folder, scratch / "run", options.dtype)) as client:
        found: dict[str, Any] = {"shape": options.shape, "dtype": options.dtype}
        found["start_s"] = round(time.monotonic() - started, 1)
        begun = time.monotonic()
        await client.load(OLD, str(old))
        found["load_idle_s"] = round(time.monotonic() - begun, 3)
        found |= await _throughput(client, prompt, options)
        return found | await _swap(client, prompt, options.tokens, new)


async def _throughput(client: EngineClient, prompt: tuple[int, ...], options: Any) -> Any:
    ways: dict[str, Callable[[], Awaitable[None]]] = {
        "raw": lambda: _raw(client, prompt, options.tokens),
        "base": lambda: _votes(client, prompt, BASE, options.tokens),
        "adapter": lambda: _votes(client, prompt, OLD, options.tokens),
    }
    for way in ways.values():
        await way()
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            begun = time.monotonic()
            await way()
            rates[name].append(SAMPLES * options.tokens / (time.monotonic() - begun))
    ratio = statistics.median(a / b for a, b in zip(rates["base"], rates["raw"], strict=True))
    medians = {f"{name}_tokens_s": round(statistics.median(seen)) for name, seen in rates.items()}
    return medians | {"voted_over_raw": round(ratio, 3)}


async def _raw(client: EngineClient, prompt: tuple[int, ...], tokens: int) -> None:
    body = {"model": BASE, "prompt": prompt, "n": SAMPLES, "max_tokens": tokens, "logprobs": 0}
    body |= {"temperature": 1.0, "ignore_eos": True, "return_token_ids": True}
    async with await _post(client, body) as reply:
        choices = json.loads(await reply.read())["choices"]
    assert [len(choice["token_ids"]) for choice in choices] == [tokens] * SAMPLES


async def _post(client: EngineClient, body: dict[str, Any]) -> Any:
    headers = {"content-type": "application/json"}
    return await client.stream("POST", "/v1/completions", json.dumps(body).encode(), headers)


async def _votes(client: EngineClient, prompt: tuple[int, ...], model: str, tokens: int) -> None:
    how = Sampling(1.0, tokens, extra={"ignore_eos": True})
    asked = Prompt(prompt, tokens)
    wanted = (client.sample(asked, model, how, i) for i in range(SAMPLES))
    rollouts = await asyncio.gather(*wanted)
    assert all(len(rollout.token_ids) == tokens for rollout in rollouts)


async def _swap(
    client: EngineClient, prompt: tuple[int, ...], tokens: int, new: Path
) -> dict[str, float]:
    seen: list[float] = []
    running_samples = asyncio.create_task(_votes(client, prompt, OLD, 4 * tokens))
    stream = asyncio.create_task(_arrivals(client, prompt, OLD, 3 * tokens, seen))
    while len(seen) < tokens // 2:  # noqa: ASYNC110  # another task's list: nothing to wait for
        await asyncio.sleep(0.01)
    begun = time.monotonic()
    await client.load(NEW, str(new))
    loaded = time.monotonic()
    first: list[float] = []
    await _arrivals(client, prompt, NEW, 8, first)
    await asyncio.gather(stream, running_samples)
    gaps = [(b, b - a) for a, b in itertools.pairwise(seen[1:])]
    return {
        "load_busy_s": round(loaded - begun, 3),
        "publish_to_first_token_s": round(first[0] - begun, 3),
        "calm_s": round(max(gap for at, gap in gaps if at < begun), 4),
        "pause_s": round(max(gap for at, gap in gaps if at >= begun), 4),
    }


async def _arrivals(
    client: EngineClient, prompt: tuple[int, ...], model: str, tokens: int, seen: list[float]
) -> None:
    """When each token of a stream came (monotonic clock, s)."""
    body = {"model": model, "prompt": prompt, "max_tokens": tokens, "stream": True}
    async with await _post(client, body | {"temperature": 1.0, "ignore_eos": True}) as reply:
        async for line in reply.content:
            seen += [time.monotonic()] * line.startswith(b"data: {")


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--shape", choices=list(shapes.SHAPES), default="qwen3-8b")
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        print(json.dumps(asyncio.run(measure(options, Path(scratch)))))


if __name__ == "__main__":
    main()
