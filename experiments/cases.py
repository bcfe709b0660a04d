"""One server from nothing and one replay of it, kept in a folder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ttrl_client.run import Mode

from benchmarks import MODEL, argument_parser
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
    sets: Callable[[int], dict[str, list[Record]]] = questions.products
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
    eval_every: int = 0
    """Batches between evaluations under way; 0: none."""


def finished(name: str, case: Case, options: argparse.Namespace) -> Path:
    """The folder of the case's run; it is run where it has no report yet."""
    folder: Path = (options.out / name).absolute()
    if not (folder / "report.json").exists():
        sets = case.sets(case.seed)
        asked = {name: sets[name] for name in ("trained", *case.held_out)}
        trained, *held_out = questions.write_sets(asked, folder / "asked").values()
        flags = SMALL | {"--train.seed": case.seed} | case.flags
        names = ("batch", "episodes", "eval_samples", "eval_every", "mode", "seed", "max_tokens")
        how = {name: getattr(case, name) for name in names}
        replayed(options.model_dir.absolute(), folder, flags, trained, held_out, **how)
    return folder


def read(folder: Path) -> dict[str, Any]:
    """The replay's report, with its rows and what was ``asked``, and with what the server's log
    says: how many versions were ``rejected``, and why learning ``stopped``."""
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    log = (folder / "server.log").read_text(errors="replace")
    stopped = log.partition("learning.stopped")[2].partition("\n")[0].strip()
    rows, asked = (
        [json.loads(line) for line in (folder / name).read_text().splitlines()]
        for name in ("rows.jsonl", "asked.jsonl")
    )
    more = {
        "rows": rows,
        "asked": asked,
        "rejected": log.count("version.rejected"),
        "stopped": stopped,
    }
    return report | more


def parser(module: str, doc: str | None) -> argparse.ArgumentParser:
    made = argument_parser(doc)
    made.add_argument("--model-dir", type=Path, default=Path(MODEL))
    made.add_argument("--out", type=Path, default=Path(f"runs/benchmarks/{module}"))
    return made


def markdown(heads: str, rows: list[list[str]]) -> str:
    """A table; the headings have bars between them."""
    rule = " | ".join("---" for _ in heads.split(" | "))
    return "\n".join(f"| {line} |" for line in (heads, rule, *map(" | ".join, rows)))
