"""What is learned, by algorithm, by reward, with and without guards: the real gateway, engine and trainer each time.

    python -m benchmarks.learning [--cases grpo labels …] [--out runs/benchmarks/learning]

The demo's questions (``demo.questions``) and its preset with 16 samples, one seed. A case is a server from nothing:
evaluate the trained and the held-out questions, ask the trained ones for some episodes while the server learns,
evaluate again.

    grpo                  the defaults, two episodes
    dapo … prime          each algorithm with its own defaults, one episode
    labels                GRPO on the true answers: the upper bound of the method
    unguarded             GRPO with every guard off
    hopeless              T = 1.0, rate 3e-4, advantages divided by the group's std
    hopeless_unguarded    the same with every guard off
    impossible            the same settings on products of two-digit numbers, which the model never gets right; held out
                          are the demo's products, which it often does
    impossible_unguarded  the same with every guard off
    long                  320 distinct questions of five kinds, two of them beyond the model; one pass

``served_least`` is the least share of right samples (at the vote's own temperature) over all batches, ``served_first``
that of the first one, which the base model drew: with guards what is served must not fall below it by more than chance.
Each case is kept in ``--out`` and not run again; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ttrl_client.run import Run

from benchmarks.gateway import replayed
from demo import questions
from demo.questions import Record

UNGUARDED: dict[str, object] = {
    "--guard.min-majority": 0,
    "--guard.min-margin": 0,
    "--guard.min-extractable": 0,
    "--guard.max-copies": 1000,
    "--guard.max-flips": 1000,
    "--guard.min-entropy": 0,
    "--guard.max-entropy": 0,
    "--guard.min-length": 0,
    "--guard.max-length": 0,
    "--guard.max-kl": 0,
    "--guard.max-questions": 0,
    "--gate.canary-share": 0,
    "--gate.sentinels": False,
}
HOPELESS: dict[str, object] = {
    "--vote.temperature": 1.0,
    "--train.learning-rate": 3e-4,
    "--train.std-normalise": True,
}
SMALL: dict[str, object] = {"--vote.samples": 16, "--train.samples": 16}
"""Of every case: half the demo's samples, in half its time."""
ALGORITHMS = ("dapo", "gspo", "cispo", "rloo", "reinforce++", "ppo", "prime")


@dataclass(frozen=True, slots=True)
class Case:
    """One server and what is asked of it."""

    flags: dict[str, object] = field(default_factory=dict)
    episodes: int = 2
    labels: bool = False
    sets: Callable[[], dict[str, list[Record]]] = questions.question_sets
    eval_samples: int = 8
    batch: int = 8


def mixed(seed: int = 0) -> dict[str, list[Record]]:
    """320 questions to learn from and 40 held out: five kinds, the two last ones beyond the small model."""
    order = random.Random(seed)
    digits, tens = range(2, 10), range(11, 100)
    kinds: dict[str, list[tuple[str, int]]] = {
        "add": [(f"{a} + {b}", a + b) for a in tens for b in digits],
        "subtract": [(f"{a} - {b}", a - b) for a in tens for b in digits],
        "product": [(f"{a} * {b}", a * b) for a in range(2, 13) for b in digits],
        "three": [(f"{a} * {b} + {c}", a * b + c) for a in digits for b in digits for c in digits],
        "tens": [(f"{a} * {b}", a * b) for a in tens for b in tens],
    }
    sets: dict[str, list[Record]] = {questions.TRAINED_NAME: [], "held_out": []}
    for kind, all_of_it in kinds.items():
        chosen = order.sample(all_of_it, 72)
        records = [
            {"id": f"{kind}-{i}", "prompt": f"What is {text}? Answer with just the number.", "answer": str(value)}
            for i, (text, value) in enumerate(chosen)
        ]
        sets[questions.TRAINED_NAME] += records[:64]
        sets["held_out"] += records[64:]
    return sets


def impossible(seed: int = 0) -> dict[str, list[Record]]:
    """32 questions far beyond the small model to learn from; the demo's held-out ones to see what that does to it."""
    return {questions.TRAINED_NAME: mixed(seed)[questions.TRAINED_NAME][-32:]} | {
        "held_out": questions.question_sets(seed)["held_out"]
    }


CASES: dict[str, Case] = {
    "grpo": Case(),
    "labels": Case(labels=True),
    **{name: Case({"--train.algorithm": name}, episodes=1, eval_samples=4) for name in ALGORITHMS},
    "unguarded": Case(UNGUARDED, episodes=1),
    "hopeless": Case(HOPELESS),
    "hopeless_unguarded": Case(HOPELESS | UNGUARDED),
    "impossible": Case(HOPELESS, sets=impossible),
    "impossible_unguarded": Case(HOPELESS | UNGUARDED, sets=impossible),
    "long": Case(
        {"--train.questions": 16, "--vote.samples": 8, "--train.samples": 8},
        episodes=1,
        sets=mixed,
        eval_samples=4,
        batch=16,
    ),
}


def main() -> None:
    options = _parser().parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = {name: _result(name, options) for name in options.cases}
    print(_table(found))
    print(json.dumps(found))


def _result(name: str, options: argparse.Namespace) -> dict[str, Any]:
    kept = options.out / f"{name}.json"
    if not kept.exists():
        kept.write_text(json.dumps(_run(name, CASES[name], options)))
    result: dict[str, Any] = json.loads(kept.read_text())
    return result


def _run(name: str, case: Case, options: argparse.Namespace) -> dict[str, Any]:
    folder = (options.out / name).absolute()
    paths = _write(case.sets(), folder)
    trained, held_out = paths[questions.TRAINED_NAME], paths["held_out"]
    settings = {"episodes": case.episodes, "labels": case.labels, "eval_samples": case.eval_samples}
    run = replayed(
        options.model_dir.absolute(), folder, SMALL | case.flags, trained, [held_out], batch=case.batch, **settings
    )
    return _figures(run, folder)


def _write(sets: dict[str, list[Record]], folder: Path) -> dict[str, Path]:
    files = folder / "asked"
    files.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name in (questions.TRAINED_NAME, "held_out"):
        paths[name] = files / f"{name}.jsonl"
        paths[name].write_text("".join(json.dumps(record) + "\n" for record in sets[name]))
    return paths


def _figures(run: Run, folder: Path) -> dict[str, Any]:
    right = [batch.ground_truth_ratio for batch in run.history if batch.ground_truth_ratio is not None]
    log = (folder / "server.log").read_text(errors="replace")
    return {
        "trained": [run.before["trained"].avg, run.after["trained"].avg],
        "held_out": [run.before["held_out"].avg, run.after["held_out"].avg],
        "held_out_maj": [run.before["held_out"].maj, run.after["held_out"].maj],
        "served_first": right[0] if right else None,
        "served_least": min(right, default=None),
        "promoted": run.versions_promoted,
        "rejected": log.count("version.rejected"),
        "stopped": _stopped(log),
        "failed": run.requests_failed,
        "seconds": run.wall_seconds,
    }


def _stopped(log: str) -> str:
    """Why learning ended, as the server said it; empty while it goes on."""
    said = [line.partition("learning.stopped")[2].strip() for line in log.splitlines() if "learning.stopped" in line]
    return said[0] if said else ""


def _table(found: dict[str, dict[str, Any]]) -> str:
    columns = ("case", "trained avg", "held-out avg", "held-out maj", "served: first, least", "made", "refused", "end")
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for name, row in found.items():
        pairs = [" → ".join(_number(value) for value in row[key]) for key in ("trained", "held_out", "held_out_maj")]
        served = f"{_number(row['served_first'])}, {_number(row['served_least'])}"
        counts = [str(row["promoted"]), str(row["rejected"]), row["stopped"] or "no"]
        lines.append("| " + " | ".join([name, *pairs, served, *counts]) + " |")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--model-dir", type=Path, default=Path(".models/SmolLM2-135M-Instruct"))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/learning"))
    return parser


if __name__ == "__main__":
    main()
