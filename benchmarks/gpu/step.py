"""One optimiser step on random weights of a model's shape: our trainer's or TRL's.

    python -m benchmarks.gpu.step ours|trl [--shape qwen3-8b] [--dtype bfloat16]
                                           [--cases deep wide] [--steps 2]
                                           [--profile] [--no-cudnn]

``deep`` is 2 groups × 8 completions of at most 3,072 tokens, ``wide`` 8 × 32 of at most 1,024,
each after a prompt of 128; lengths uniform. A case's first step warms up and is not reported,
unless it is the only one. TRL is given the same completions and rewards (``benchmarks.training``);
all else is its default, so its base weights are bfloat16 under autocast and its layers are
recomputed.

Each case prints a line of JSON: ``seconds`` a step, ``tokens_s`` (completion tokens), ``peak_gib``
(what torch's allocator held), ``share``: 4 · parameters · tokens operations a step (a forward pass
and the gradient by the activations; attention, the adapter and what is recomputed are not in it)
over the seconds and the card's own rate for large bfloat16 products. ``--profile`` prints which
operations of our last step took the most time on the device and on the host.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.profiler import profile

from benchmarks import argument_parser
from benchmarks.gpu import shapes
from benchmarks.gpu.card import matrix_rate
from benchmarks.training import TEMPERATURE, Case, Sampled, config, sampled
from ttrl_server.types import Admission, Batch, Experience, Group, Rollout, Vote

CASES = {"deep": Case(2, 8, 128, 3072), "wide": Case(8, 32, 128, 1024), "small": Case(2, 4, 16, 32)}
RANK, ALPHA = 32, 64
"""Those of the presets for 8 billion parameters."""


def on_gpu() -> bool:
    return bool(torch.cuda.is_available())


class Clock:
    """Seconds and peak memory of each step, to the end of its work on the device."""

    def begin(self) -> None:
        if on_gpu():
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self._began = time.perf_counter()

    def end(self) -> tuple[float, float]:
        """Seconds, and GiB."""
        if on_gpu():
            torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() / 2**30 if on_gpu() else math.nan
        return time.perf_counter() - self._began, peak


def report(side: str, options: Any, name: str, seen: list[tuple[float, float]]) -> None:
    """One line of JSON for the steps of a case."""
    case, counted = CASES[name], seen[1:] or seen
    tokens = sum(len(ids) for each in _groups(options.shape, case) for ids in each.completions)
    seconds = sorted(each for each, _ in counted)[len(counted) // 2]
    work = 4 * shapes.matrix_parameters(options.shape) * (tokens + case.groups * case.prompt)
    figures = {
        "side": side,
        "dtype": options.dtype,
        "shape": options.shape,
        "case": name,
        "seconds": [round(each, 3) for each, _ in seen],
        "tokens": tokens,
        "tokens_s": round(tokens / seconds, 1),
        "peak_gib": round(max(peak for _, peak in seen), 2),
    }
    if on_gpu():
        figures["share"] = round(work / seconds / matrix_rate(), 3)
    print(json.dumps(figures), flush=True)


def _groups(shape: str, case: Case) -> list[Sampled]:
    return sampled(case, shapes.SHAPES[shape].vocab_size)


# ---------------------------------------------------------------- ours


def ours(options: Any) -> None:
    from ttrl_server.training import state
    from ttrl_server.training.policy import with_adapter
    from ttrl_server.training.ranks import Ranks
    from ttrl_server.training.step import build_engine, train_step

    device = "cuda" if on_gpu() else "cpu"
    shape = {"rank": RANK, "alpha": ALPHA, "dtype": options.dtype, "micro_batch_tokens": 4096}
    cfg = config(options.shape)
    train = cfg.train.model_copy(update=shape | {"memory_gib": None if on_gpu() else 4})
    cfg = cfg.model_copy(update={"train": train, "hardware": device})
    Ranks(cfg)
    base = shapes.random_model(options.shape, getattr(torch, options.dtype), device)
    policy = with_adapter(base, cfg)
    fresh = state.initial(policy)
    engine = build_engine(policy, cfg)
    state.restore(engine, fresh)
    clock = Clock()
    for name in options.cases:
        batch, seen = _batch(options.shape, CASES[name]), []
        for number in range(options.steps):
            watched = options.profile and number == options.steps - 1
            with profile() if watched else nullcontext() as profiled:
                clock.begin()
                metrics = train_step(engine, batch, cfg.train)
                seen.append(clock.end())
            assert metrics["updated"], metrics
            if profiled:
                sums = profiled.key_averages()
                for key in ("self_device_time_total", "self_cpu_time_total"):
                    print(sums.table(sort_by=key, row_limit=25, max_name_column_width=60))
        report("ours", options, name, seen)


def _batch(shape: str, case: Case) -> Batch:
    """As if a model that knows nothing had sampled it."""
    certainty = -math.log(shapes.SHAPES[shape].vocab_size)

    def experience(sample: Sampled) -> Experience:
        rollouts = tuple(
            Rollout(i, ids, (certainty,) * len(ids), "", "stop")
            for i, ids in enumerate(sample.completions)
        )
        vote = Vote((None,) * len(rollouts), (), None, None, None, 0, "full")
        group = Group("q", sample.prompt, rollouts, 0, TEMPERATURE)
        return Experience("e", "t", group, vote, sample.rewards, Admission(True, "ok"))

    return Batch("b", 1, None, tuple(map(experience, _groups(shape, case))), 60.0)


# ---------------------------------------------------------------- TRL


def trl(options: Any) -> None:
    from benchmarks.training_peer import grpo_trainer

    for name in options.cases:
        case, seen = CASES[name], list[tuple[float, float]]()
        model: Any = shapes.random_model(
            options.shape, torch.bfloat16, "cuda" if on_gpu() else "cpu"
        )
        steps = _steps(options.steps, Clock(), seen)
        trainer = grpo_trainer(
            model,
            _groups(options.shape, case),
            Path("runs/gpu/trl"),
            partial(next, steps),
            rank=RANK,
            alpha=ALPHA,
            processing_class=_tokenizer(options.shape),
            use_cpu=not on_gpu(),
            bf16=options.dtype == "bfloat16",
            max_steps=options.steps,
        )
        trainer.train()
        report("trl", options, name, seen)
        del trainer, model
        torch.cuda.empty_cache()


def _tokenizer(shape: str) -> Any:
    from transformers import AutoTokenizer

    folder = shapes.write_folder(shape, Path("runs/gpu") / shape)
    return AutoTokenizer.from_pretrained(folder, padding_side="left", pad_token="w1")


def _steps(count: int, clock: Clock, seen: list[tuple[float, float]]) -> Iterator[bool]:
    """Called between two steps: whether there shall be another."""
    clock.begin()
    for _ in range(count):
        yield True
        seen.append(clock.end())
        clock.begin()
    yield False


SIDES: dict[str, Callable[[Any], None]] = {"ours": ours, "trl": trl}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("side", choices=list(SIDES))
    parser.add_argument("--shape", choices=list(shapes.SHAPES), default="qwen3-8b")
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=["deep", "wide"])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--profile", action="store_true")
    told = "whether attention may use cuDNN, which plans anew for each shape of its inputs"
    parser.add_argument("--cudnn", action=argparse.BooleanOptionalAction, default=True, help=told)
    options = parser.parse_args()
    torch.backends.cuda.enable_cudnn_sdp(options.cudnn)
    SIDES[options.side](options)


if __name__ == "__main__":
    main()
