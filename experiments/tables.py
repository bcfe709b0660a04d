"""What is made of the reports of several replays: rows of a table, and its picture."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ttrl_client.metrics import shown
from ttrl_client.report import set_names
from ttrl_client.votes import RATIOS

from experiments.pictures import bars, lines

Report = dict[str, Any]
Reports = dict[str, Report]
"""By case."""
Rows = tuple[list[str], list[list[str]]]
"""Headings, and rows."""
STUDENT = 4.303
"""Of two degrees of freedom, for 95 %: three seeds."""


def scores(run: Report, name: str, moment: str) -> dict[str, float]:
    """avg and maj of a set at a moment."""
    k = run["settings"]["eval_samples"]
    return {kind: run[name][moment][f"{kind}@{k}"] for kind in ("avg", "maj")}


def gains(runs: Reports) -> Rows:
    heads = [
        "case",
        "set",
        "avg before → after",
        "Δ",
        "maj before → after",
        "promoted",
        "refused",
        "end",
    ]
    rows = []
    for case, run in runs.items():
        for name in set_names(run):
            old, new = (scores(run, name, moment) for moment in ("before", "after"))
            change = [
                " → ".join(shown(side[kind]) for side in (old, new)) for kind in ("avg", "maj")
            ]
            end = [str(run["versions_promoted"]), str(run["rejected"]), run["stopped"] or "no"]
            rows.append([case, name, change[0], f"{new['avg'] - old['avg']:+.3f}", change[1], *end])
    return heads, rows


def draw_gains(runs: Reports, path: Path) -> None:
    at = [(case, name) for case, run in runs.items() for name in set_names(run)]
    series = {
        f"avg {moment}": [scores(runs[case], name, moment)["avg"] for case, name in at]
        for moment in ("before", "after")
    }
    marks = [scores(runs[case], name, "before")["maj"] for case, name in at]
    bars(path, [f"{case}\n{name}" for case, name in at], series, {"first maj": marks})


def over_seeds(values: Sequence[float]) -> str:
    """Mean of three seeds and its 95 % interval (Student's t)."""
    assert len(values) == 3
    return (
        f"{statistics.mean(values):.3f} ± {STUDENT * statistics.stdev(values) / math.sqrt(3):.3f}"
    )


def past_majority(runs: Reports) -> Rows:
    heads = [
        "set",
        "avg before",
        "maj before",
        "avg after",
        "maj after",
        "gain",
        "avg after − maj before",
        "passed it",
    ]
    rows = []
    for name in set_names(next(iter(runs.values()))):
        old, new = (
            [scores(run, name, moment) for run in runs.values()] for moment in ("before", "after")
        )
        past = [b["avg"] - a["maj"] for a, b in zip(old, new, strict=True)]
        gain = [b["avg"] - a["avg"] for a, b in zip(old, new, strict=True)]
        sides = [
            over_seeds([side[kind] for side in moment])
            for moment in (old, new)
            for kind in ("avg", "maj")
        ]
        passed = f"{sum(value > 0 for value in past)} of {len(past)}"
        rows.append([name, *sides, over_seeds(gain), over_seeds(past), passed])
    return heads, rows


def draw_majority(runs: Reports, path: Path) -> None:
    names = set_names(next(iter(runs.values())))

    def each(moment: str, kind: str) -> list[list[float]]:
        return [[scores(run, name, moment)[kind] for run in runs.values()] for name in names]

    def means(values: list[list[float]]) -> list[float]:
        return [statistics.mean(of_set) for of_set in values]

    series = {
        "avg@16 before": means(each("before", "avg")),
        "avg@16 after": means(each("after", "avg")),
    }
    points = {"after, each seed": each("after", "avg")}
    bars(path, list(names), series, {"maj@16 before": means(each("before", "maj"))}, points)


def oracle_share(runs: Reports) -> Rows:
    heads = ["set", "avg before", "after, from votes", "after, from labels", "share of the gain"]
    rows = []
    for name in set_names(next(iter(runs.values()))):
        ours, true = (runs[case] for case in ("from_votes", "from_labels"))
        before = statistics.mean(scores(run, name, "before")["avg"] for run in (ours, true))
        after = [scores(run, name, "after")["avg"] for run in (ours, true)]
        share = f"{(after[0] - before) / (after[1] - before):.0%}" if after[1] > before else "–"
        rows.append([name, shown(before), *map(shown, after), share])
    return heads, rows


def draw_oracle(runs: Reports, path: Path) -> None:
    names = set_names(runs["from_votes"])
    series = {
        "before": [
            statistics.mean(scores(run, name, "before")["avg"] for run in runs.values())
            for name in names
        ]
    }
    series |= {
        case: [scores(run, name, "after")["avg"] for name in names] for case, run in runs.items()
    }
    bars(path, names, series)


def by_group(runs: Reports) -> Rows:
    (run,) = runs.values()
    heads = ["kind", "questions", *RATIOS]
    return heads, [
        [kind, str(worth["votes"]), *(shown(worth[ratio]) for ratio in RATIOS)]
        for kind, worth in run["votes"].items()
    ]


def draw_groups(runs: Reports, path: Path) -> None:
    (run,) = runs.values()
    bars(
        path,
        list(run["votes"]),
        {ratio: [worth[ratio] for worth in run["votes"].values()] for ratio in RATIOS},
    )


def first_passes(runs: Reports) -> Rows:
    heads = [
        "stream",
        "prequential accuracy",
        "first half",
        "second half",
        "share of right samples, same halves",
        "promoted",
    ]
    rows = []
    for case, run in runs.items():
        middle = len(run["history"]) // 2
        halves = [run["history"][:middle], run["history"][middle:]]
        right = [statistics.mean(batch["correct"] for batch in half) for half in halves]
        samples = [
            statistics.mean(batch["ground_truth_ratio"] for batch in half) for half in halves
        ]
        both = ", ".join(map(shown, samples))
        rows.append(
            [
                case,
                shown(run["prequential"]),
                *map(shown, right),
                both,
                str(run["versions_promoted"]),
            ]
        )
    return heads, rows


def draw_stream(runs: Reports, path: Path) -> None:
    """Accuracy over all questions so far."""
    course = {}
    for case, run in runs.items():
        total, answered, so_far = 0.0, 0, []
        for batch in run["history"]:
            total += batch["correct"] * batch["answered"]
            answered += batch["answered"]
            so_far.append((float(answered), total / answered))
        course[case] = so_far
    lines(path, course, "questions answered", "right so far")


def gains_by_family(runs: Reports) -> Rows:
    heads = ["family", "questions", "trained: avg before → after", "held out: avg before → after"]
    (run,) = runs.values()
    rows = []
    for family, (count, _) in run["trained"]["before"]["groups"].items():
        sides = [
            " → ".join(
                shown(run[name][moment]["groups"][family][1]) for moment in ("before", "after")
            )
            for name in ("trained", "held_out")
        ]
        rows.append([family, str(count), *sides])
    return heads, rows


def draw_families(runs: Reports, path: Path) -> None:
    (run,) = runs.values()
    names = list(run["trained"]["before"]["groups"])
    series = {
        f"{name} {moment}": [run[name][moment]["groups"][family][1] for family in names]
        for name in ("trained", "held_out")
        for moment in ("before", "after")
    }
    bars(path, names, series)
