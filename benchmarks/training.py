"""Our optimiser step beside TRL's GRPOTrainer on the same completions, and what each of our savings
is worth.

    python -m benchmarks.training [--rounds 5] [--model .models/SmolLM2-135M-Instruct]
                                  [--cases short long long_prompt] [--no-ablations]

Random ids, lengths drawn uniformly up to each case's longest, binary rewards; temperature 1. Each
side is a process of its own (benchmarks/training_peer.py) with the environment ttrl-serve gives a
trainer that waits for an idle engine. A round is one step of each, in turns; the first is not
counted. Times are the processes' own.

TRL 1.16 loads the same folder and gets the same LoRA (r 16, alpha 32, all-linear), the same weights
in it and, through ``rollout_func`` and a reward function that looks them up, the same completions
and rewards. Set on its side:

- ``use_cpu``; ``bf16`` false for ``trl``, so that both compute in float32. Its default, also on a
  CPU, is bfloat16 autocast, which is faster where the CPU has it: ``trl_bf16`` takes its step in
  the same rounds, and is in the table.
- ``num_generations`` (the group) and ``gradient_accumulation_steps``, so that one optimiser step
  takes the whole batch in micro-batches of its default 8. ``steps_per_generation`` then is the same
  number by default, and the old log-probabilities cost it no pass, as they would with ``use_vllm``:
  the choice that favours TRL.
- ``max_steps`` out of reach and ``output_dir`` a temporary folder.

All else is TRL's default: gradient checkpointing on (off, ``short`` took ¾ of the time and 1.25 ×
the memory; 32 rows a micro-batch took 2.5 × the memory and no less time), loss ``dapo`` (token mean
over the batch), advantages divided by the group's standard deviation, no reference (``beta`` 0),
fused output head in tiles, clipping at 1, rate 1e-6. Ours are our defaults with ``std_normalise``,
``aggregate: token``, ``kl: 0`` and the same rate to match.

``speedup`` is TRL's seconds over ours, the median of the rounds' ratios; ``memory_ratio`` our peak
resident memory over TRL's (VmHWM, reset before each step: libraries, model and optimiser are in
it); ``gradient_cosine`` that between the gradients by the adapter, all parameters as one vector,
before clipping. Their norms differ by √(G / (G − 1)): TRL divides by the sample's standard
deviation, we by the population's. In the JSON all three are those beside ``trl``.

The ablations switch one saving off, in rounds of their own in one process: ``prompt_each_time``
runs the prompt for every completion; ``uncut`` pads a whole group to its longest; ``whole_logits``
holds [tokens × vocabulary]; ``unanimous_too`` trains all of four groups where only one disagrees,
against ``one_in_four``, which leaves three out; ``old_pass`` and ``reference_pass`` (``kl`` 0.001)
score once more; ``checkpointing`` recomputes each layer; ``bfloat16`` has base weights of half the
size: its gradient is held against float32's. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from ttrl_server.settings.config import Config
from ttrl_server.training.command import trainer_command

RANK, ALPHA, RATE, TEMPERATURE = 16, 32, 1e-6, 1.0
"""The last two are TRL's defaults."""
FIRST_ID = 17
"""Of the ids that are drawn; SmolLM2's special tokens come before."""


@dataclass(frozen=True)
class Case:
    """The shape of a batch."""

    groups: int
    completions: int
    """Of each group."""
    prompt: int
    """Tokens."""
    longest: int
    """Tokens of each group's longest completion."""


CASES = {
    "short": Case(2, 32, 57, 12),
    "long": Case(2, 8, 60, 256),
    "long_prompt": Case(2, 8, 600, 128),
}


@dataclass(frozen=True)
class Sampled:
    """A prompt, its completions, and what they are worth."""

    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    rewards: tuple[float, ...]


def sampled(case: Case, vocabulary: int, seed: int = 0) -> list[Sampled]:
    """The batch of a case: random ids, lengths uniform from 1 to the longest, rewards 0 or 1
    that differ in a group."""
    order, groups = random.Random(seed), []
    for _ in range(case.groups):
        lengths = [order.randint(1, case.longest) for _ in range(case.completions)]
        lengths[lengths.index(max(lengths))] = case.longest
        prompt, *completions = (
            tuple(order.randrange(FIRST_ID, vocabulary) for _ in range(length))
            for length in (case.prompt, *lengths)
        )
        rewards = (1.0, 0.0, *(float(order.randrange(2)) for _ in range(case.completions - 2)))
        groups.append(Sampled(prompt, tuple(completions), rewards))
    return groups


def one_in_four(case: Case, vocabulary: int, apart: float) -> list[Sampled]:
    """Four groups, of which all but the first agree: their rewards lie ``apart``, by nothing or
    by next to nothing."""
    first, *others = (group for seed in (0, 1) for group in sampled(case, vocabulary, seed))
    rewards = (1.0 + apart, *[1.0] * (case.completions - 1))
    return [first, *(replace(group, rewards=rewards) for group in others)]


ABLATIONS: tuple[str, ...] = ("prompt_each_time", "uncut", "whole_logits", "unanimous_too")
ABLATIONS += ("old_pass", "reference_pass", "checkpointing", "bfloat16")
AGAINST = {"unanimous_too": "one_in_four", "one_in_four": "one_in_four"}
"""What a way is held against, where it is not ours."""
END_S = 30
QUIET = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}


def config(model: str, dtype: str = "float32") -> Config:
    """Our defaults, but for what makes the loss TRL's; a fixed allowance, so that no other
    process changes the plan."""
    alike = {"rank": RANK, "alpha": ALPHA, "learning_rate": RATE, "std_normalise": True, "kl": 0}
    kinds = {"aggregate": "token", "dtype": dtype, "when": "idle"}
    train = {"memory_gib": 8, **alike, **kinds}
    return Config.model_validate({"model": model, "hardware": "cpu", "train": train})


def vocabulary(model: str) -> int:
    """Tokens that the model of a folder knows."""
    size: int = json.loads((Path(model) / "config.json").read_text())["vocab_size"]
    return size


@dataclass
class Seen:
    """The steps of one way, round by round."""

    seconds: list[float] = field(default_factory=list)
    peak_mib: float = 0.0

    def times(self, other: Seen) -> float:
        """How many times as long as the other it takes, the median of the rounds' ratios."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=True))

    def __str__(self) -> str:
        low, median, high = np.percentile(self.seconds, [25, 50, 75])
        return f"{median:8.2f} s ({low:.2f} – {high:.2f})  peak {self.peak_mib:6.0f} MiB"


@dataclass(frozen=True)
class Side:
    """A process that takes a step when told to."""

    name: str
    process: subprocess.Popen[str]
    gradient: Path
    """That of its first step."""
    log: Path

    def step(self, way: str = "ours") -> dict[str, float]:
        assert self.process.stdin
        print(way, file=self.process.stdin, flush=True)
        return self.answer()

    def answer(self) -> dict[str, float]:
        """Waits for it; raises RuntimeError with the end of its log when the process is gone."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended:\n{self.log.read_text()[-3000:]}")
        answer: dict[str, float] = json.loads(line)
        return answer


@contextmanager
def side(name: str, case: str, model: str, scratch: Path) -> Iterator[Side]:
    """One process, which loads while others do; it is gone afterwards."""
    gradient, log = scratch / f"{case}-{name}.safetensors", scratch / f"{case}-{name}.log"
    argv = [sys.executable, "-m", "benchmarks.training_peer", name, case]
    argv += ["--model", model, "--gradient", str(gradient)]
    env = os.environ | trainer_command(config(model), Path(), "")[1] | QUIET
    pipe = subprocess.PIPE
    with (
        log.open("w") as err,
        subprocess.Popen(argv, env=env, stdin=pipe, stdout=pipe, stderr=err, text=True) as child,
    ):
        assert child.stdin
        try:
            yield Side(name, child, gradient, log)
        finally:
            child.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                child.wait(END_S)
            child.kill()


def agreement(a: Path, b: Path) -> tuple[float, float]:
    """Cosine between two gradients, and the first's norm over the second's."""
    a_of, b_of = load_file(a), load_file(b)
    assert a_of.keys() == b_of.keys(), a_of.keys() ^ b_of.keys()
    x = np.concatenate([a_of[name].ravel().astype(np.float64) for name in a_of])
    y = np.concatenate([b_of[name].ravel().astype(np.float64) for name in a_of])
    norms = float(np.linalg.norm(x)), float(np.linalg.norm(y))
    return float(x @ y) / (norms[0] * norms[1]), norms[0] / norms[1]


def rounds(count: int, ways: dict[str, tuple[Side, str]], label: str) -> dict[str, Seen]:
    """Steps in turn, forwards and backwards, so that none always runs on a warmer machine."""
    seen = {name: Seen() for name in ways}
    for number in range(count):
        for name in list(ways) if number % 2 else reversed(list(ways)):
            process, way = ways[name]
            answer, known = process.step(way), seen[name]
            known.seconds.append(answer["seconds"])
            known.peak_mib = max(known.peak_mib, answer["peak_mib"])
            progress(f"{label} round {number + 1}/{count} {name}", answer)
    return seen


def progress(what: str, answer: dict[str, float]) -> None:
    took = f"{answer['seconds']:.2f} s, {answer['peak_mib']:.0f} MiB"
    print(f"{what}: {took}", file=sys.stderr, flush=True)


def compare(case: str, count: int, ablate: bool, model: str, scratch: Path) -> dict[str, float]:
    """Runs one case and prints its tables."""
    with ExitStack() as stack:
        ours = stack.enter_context(side("ours", case, model, scratch))
        report = _beside_trl(case, count, ours, model, scratch)
        if ablate:
            bfloat16 = stack.enter_context(side("bfloat16", case, model, scratch))
            _warm(case, bfloat16)
            steps = {name: (ours, name) for name in ("ours", "one_in_four", *ABLATIONS)}
            steps["bfloat16"] = bfloat16, "ours"
            seen = rounds(count, steps, case)
            for name, figures in seen.items():
                base = seen[AGAINST.get(name, "ours")]
                memory = figures.peak_mib / base.peak_mib
                times = f"× {figures.times(base):.2f} seconds, × {memory:.2f} memory"
                print(f"  {name:18}{figures}  {times}")
            cosine, norms = agreement(bfloat16.gradient, ours.gradient)
            told = f"cosine {cosine:.4f}, norm ratio {norms:.4f}"
            print(f"  bfloat16's gradient against float32's: {told}", flush=True)
    return report


def _warm(case: str, *sides: Side) -> None:
    """All load at once, then take the step that is not counted one after the other."""
    for each in sides:
        each.answer()
    for each in sides:
        progress(f"{case} first step {each.name}", each.step())


def _beside_trl(case: str, count: int, ours: Side, model: str, scratch: Path) -> dict[str, float]:
    with (
        side("trl", case, model, scratch) as trl,
        side("trl_bf16", case, model, scratch) as trl_bf16,
    ):
        _warm(case, ours, trl, trl_bf16)
        ways = {each.name: (each, "ours") for each in (ours, trl, trl_bf16)}
        seen = rounds(count, ways, case)
    shape = CASES[case]
    groups = sampled(shape, vocabulary(model))
    tokens = sum(len(ids) for group in groups for ids in group.completions)
    batch = f"{shape.groups} × {shape.completions} completions, {tokens} tokens"
    print(f"{case}: {batch}, {shape.prompt} of each prompt")
    for name, figures in seen.items():
        print(f"  {name:18}{figures}  {tokens / statistics.median(figures.seconds):7.1f} tokens/s")
    reports = []
    for peer in (trl, trl_bf16):
        cosine, norms = agreement(ours.gradient, peer.gradient)
        mine, theirs = seen["ours"], seen[peer.name]
        report = {
            "speedup": round(theirs.times(mine), 2),
            "memory_ratio": round(mine.peak_mib / theirs.peak_mib, 3),
            "gradient_cosine": round(cosine, 6),
        }
        told = " ".join(f"{name} {value}" for name, value in report.items())
        print(f"  beside {peer.name}: {told} norm_ratio {norms:.4f}", flush=True)
        reports.append(report)
    return reports[0]


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--model", default=".models/SmolLM2-135M-Instruct", help="a local folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--ablations", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        how = options.rounds, options.ablations, options.model, Path(scratch)
        report = {case: compare(case, *how) for case in options.cases}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
