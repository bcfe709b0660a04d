"""Runs side by side: ``ttrl-replay compare RUN RUN …``, with paired tests on the questions they
share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttrl_client import journal
from ttrl_client.metrics import bootstrap, mean, paired
from ttrl_client.report import BadFolder, change, moments, set_names
from ttrl_client.report import read as read_report

Question = tuple[str, str]
"""Id and truth: a question of the same number in another file is another one."""
Shares = dict[Question, float]
"""avg@k by question."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A run as its folder tells it."""

    name: str
    report: dict[str, Any]
    after: dict[str, Shares]
    """By set."""


def read(folder: Path) -> Finished:
    """Raises BadFolder."""
    report = read_report(folder)
    try:
        rows = journal.read(folder / "rows.jsonl")
    except OSError as error:
        raise BadFolder(f"{folder} holds no finished run ({error})") from error
    names = set_names(report)
    after: dict[str, Shares] = {name: {} for name in names}
    for row in rows:
        name, _, moment = row["phase"].rpartition(" ")
        if moment == moments(report)[-1] and name in after and "answers" in row:
            after[name][row["id"], row["truth"]] = row["share"]
    return Finished(folder.name, report, after)


def table(runs: list[Finished]) -> str:
    """Markdown: every set after each run, beside the first run; p is two-sided, by flipping
    signs."""
    first = runs[0]
    lines = [
        "| set | run | avg before → after | against the first | 95 % | p | questions |",
        "|---" * 7 + "|",
    ]
    names = dict.fromkeys(name for run in runs for name in run.after)
    for name, run in ((name, run) for name in names for run in runs if name in run.after):
        k = run.report["settings"]["eval_samples"]
        moved = change(run.report, name, f"avg@{k}")
        shared = sorted(run.after[name].keys() & first.after.get(name, {}).keys())
        if run is first or not shared:
            lines.append(f"| {name} | {run.name} | {moved} | | | | {len(run.after[name])} |")
            continue
        differences = [run.after[name][q] - first.after[name][q] for q in shared]
        interval, p = bootstrap(differences), paired(differences)
        bounds = f"{interval[0]:+.3f} to {interval[1]:+.3f}" if interval else "-"
        lines.append(
            f"| {name} | {run.name} | {moved} | {mean(differences):+.3f} | {bounds} | {p:.3f} | "
            f"{len(shared)} |"
        )
    return "\n".join(lines)
