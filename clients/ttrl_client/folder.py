"""A run's folder: replayed into, resumed from, drawn from again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ttrl_client import Unusable, journal, page, report
from ttrl_client.datasets import QuestionSet
from ttrl_client.progress import Display
from ttrl_client.replay import replay
from ttrl_client.run import Run, Settings, asked_for, read_questions


def run_replay(
    settings: Settings,
    trained: QuestionSet,
    held_out: Sequence[QuestionSet],
    out: Path,
    console: Console,
    *,
    resume: bool = False,
    oracle: Path | None = None,
) -> Run:
    """Replay, then leave the reports and rows.jsonl in ``out`` and the table on ``console``.

    ``oracle`` is the folder of a run on true labels, drawn beside this one. Raises Unusable.
    """
    sets = (trained, *held_out)
    out.mkdir(parents=True, exist_ok=True)
    asked = asked_for(settings, sets)
    if resume and (out / "run.json").exists():
        # Other questions or another seed cannot go on from its rows.
        begun = _asked(out)
        changed = [n for n in sorted(asked.keys() | begun.keys()) if asked.get(n) != begun.get(n)]
        if changed:
            other = f"{out} was begun with other {', '.join(changed)}"
            raise Unusable(f"--resume: {other}; use the same, or another --out")
    beside = _oracle(oracle, asked) if oracle else {}  # before hours are spent
    with Display(console) as display:
        run = asyncio.run(replay(settings, sets, asked, out, display, resume=resume))
    rows = journal.read(out / "rows.jsonl")
    data = report.as_dict(run, rows)
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    journal.write_whole(text + "\n", out / "report.json")
    _draw_all(data, sets, rows, out, console, beside)
    return run


def redraw(out: Path, console: Console, oracle: Path | None = None) -> None:
    """The reports and the table of a finished run, from what else is in its folder."""
    data = report.read(out)
    with report.finished(out):
        sets, rows = read_questions(out / "asked.jsonl"), journal.read(out / "rows.jsonl")
        beside = _oracle(oracle, _asked(out)) if oracle else {}
    _draw_all(data, sets, rows, out, console, beside)


def _draw_all(
    data: report.Report,
    sets: Sequence[QuestionSet],
    rows: list[journal.Row],
    out: Path,
    console: Console,
    beside: dict[str, float],
) -> None:
    journal.write_whole(report.markdown(data), out / "report.md")
    picture = None
    try:
        from ttrl_client import plot
    except ImportError as error:
        said = f"no learning.png: {error}; install matplotlib to get it"
        console.print(said, markup=False, highlight=False)
    else:
        picture = plot.write(data, out / "learning.png", beside)
    journal.write_whole(page.html(data, sets, rows, picture), out / "report.html")
    console.print(report.table(data))
    console.print(f"written to {out}", markup=False, highlight=False)


def _asked(out: Path) -> dict[str, Any]:
    """What a run was asked to do, as it is kept beside its rows."""
    try:
        asked: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise Unusable(f"{out / 'run.json'} cannot be read: {error}") from error
    return asked


def _oracle(folder: Path, asked: dict[str, Any]) -> dict[str, float]:
    """avg@k after a run on true labels, of the sets that both runs were asked."""
    finished = report.read(folder)
    if (mode := finished["settings"]["mode"]) != "oracle":
        raise Unusable(f"--oracle: {folder} is a run in mode {mode}, not oracle")
    theirs, ours = _asked(folder)["questions"], asked["questions"]
    key = f"avg@{finished['settings']['eval_samples']}"
    both = [name for name in theirs if theirs[name] == ours.get(name)]
    if not both:
        raise Unusable(f"--oracle: {folder} asked none of the sets of this run")
    after = {name: finished[name]["after"][key] for name in both}
    return {name: value for name, value in after.items() if value is not None}
