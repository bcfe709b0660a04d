"""One server from nothing and one replay of it, kept in a folder: what tables of several runs
are made from."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ttrl_client.run import Mode

from benchmarks.gateway import replayed
from demo import questions
from demo.questions import Record

SMALL: dict[str, object] = {"--vote.samples": 16, "--train.samples": 16}
"""Half the demo's samples, in half its time."""


@dataclass(frozen=True, slots=True)
class Case:
    """One server and what is asked of it."""

    flags: dict[str, object] = field(default_factory=dict)
    """Over the demo's preset."""
    sets: Callable[[int], dict[str, list[Record]]] = questions.question_sets
    """By seed: what is learned from is called "trained"; the others are only evaluated."""
    held_out: tuple[str, ...] = ("held_out",)
    """Those of the others that are."""
    episodes: int = 2
    batch: int = 8
    eval_samples: int = 8
    mode: Mode = "learn"
    seed: int = 0
    """Of the questions, of their order and of the trainer."""
    max_tokens: int = 24


def finished(name: str, case: Case, options: argparse.Namespace) -> Path:
    """The folder of the case's run; it is run where it has no report yet."""
    folder: Path = (options.out / name).absolute()
    if not (folder / "report.json").exists():
        sets = case.sets(case.seed)
        files = questions.write_sets(
            {name: sets[name] for name in ("trained", *case.held_out)}, folder / "asked"
        )
        trained, *held_out = files.values()
        replayed(
            options.model_dir.absolute(),
            folder,
            SMALL | {"--train.seed": case.seed} | case.flags,
            trained,
            held_out,
            batch=case.batch,
            episodes=case.episodes,
            eval_samples=case.eval_samples,
            mode=case.mode,
            seed=case.seed,
            max_tokens=case.max_tokens,
        )
    return folder


def read(folder: Path) -> dict[str, Any]:
    """The replay's report, and what the server's log says of versions refused and of the end of
    learning."""
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    log = (folder / "server.log").read_text(errors="replace")
    said = [
        line.partition("learning.stopped")[2].strip()
        for line in log.splitlines()
        if "learning.stopped" in line
    ]
    return report | {"rejected": log.count("version.rejected"), "stopped": said[0] if said else ""}


def parser(module: str, doc: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog=f"python -m experiments.{module}", description=(doc or "").splitlines()[0]
    )
    made.add_argument("--model-dir", type=Path, default=Path(".models/SmolLM2-135M-Instruct"))
    made.add_argument("--out", type=Path, default=Path(f"runs/benchmarks/{module}"))
    return made


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
