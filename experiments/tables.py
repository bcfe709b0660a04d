"""What is made of the reports of several replays: rows of a table, and its picture."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ttrl_client.metrics import mean, paired, shown
from ttrl_client.report import set_names
from ttrl_client.votes import RATIOS

from experiments.pictures import bars, lines
from ttrl_server.answers import asked, echoes, same

Report = dict[str, Any]
Reports = dict[str, Report]
"""By case."""
Rows = tuple[str, list[list[str]]]
"""Headings with bars between them, and rows."""
MOMENTS = ("before", "after")
REWARDS = ("majority", "labels", "answered", "random")
"""The last two are controls."""
STUDENT = 4.303
"""Of two degrees of freedom, for 95 %: three seeds."""


def scores(run: Report, name: str, moment: str) -> dict[str, float]:
    """avg and maj of a set at a moment."""
    k = run["settings"]["eval_samples"]
    return {kind: run[name][moment][f"{kind}@{k}"] for kind in ("avg", "maj")}


def gains(runs: Reports) -> Rows:
    heads = "case | set | avg before → after | Δ | maj before → after | promoted | refused | end"
    rows = []
    for case, run in runs.items():
        for name in set_names(run):
            old, new = (scores(run, name, moment) for moment in MOMENTS)
            avg, maj = (f"{shown(old[kind])} → {shown(new[kind])}" for kind in ("avg", "maj"))
            end = [str(run["versions_promoted"]), str(run["rejected"]), run["stopped"] or "no"]
            rows.append([case, name, avg, f"{new['avg'] - old['avg']:+.3f}", maj, *end])
    return heads, rows


def draw_gains(runs: Reports, path: Path) -> None:
    at = [(case, name) for case, run in runs.items() for name in set_names(run)]
    series = {
        f"avg {moment}": [scores(runs[case], name, moment)["avg"] for case, name in at]
        for moment in MOMENTS
    }
    marks = [scores(runs[case], name, "before")["maj"] for case, name in at]
    bars(path, [f"{case}\n{name}" for case, name in at], series, {"first maj": marks})


AGAIN = " again"
"""Ends the id of a question in other words."""


def wordings(runs: Reports) -> Rows:
    """Winners of a question that win it in other words too, beside all of them."""
    heads = "kind | questions | labels right | admitted | of them right | echoes among the wrong"
    rows = []
    for kind, found in _said_twice(runs).items():
        kept = [right for right, agrees, _ in found if agrees]
        wrong = [echo for right, agrees, echo in found if agrees and not right]
        right = sum(right for right, _, _ in found)
        counts = [len(found), right, len(kept), sum(kept), sum(wrong)]
        rows.append([kind, *map(str, counts)])
    return heads, rows


def draw_wordings(runs: Reports, path: Path) -> None:
    found = _said_twice(runs)
    chosen = {kind: [r for r, agrees, _ in each if agrees] for kind, each in found.items()}
    series = {
        "labels right": [mean(float(r) for r, _, _ in each) or 0.0 for each in found.values()],
        "right where both agree": [mean(map(float, each)) or 0.0 for each in chosen.values()],
    }
    bars(path, list(found), series)


def _said_twice(runs: Reports) -> dict[str, list[tuple[bool, bool, bool]]]:
    """By kind: each question's winner, whether it is right, wins in other words, and is an echo."""
    (run,) = runs.values()
    rows = {row["id"]: row for row in run["rows"] if "vote" in row}
    prompts = {each["id"]: each["prompt"] for each in run["asked"]}
    found: dict[str, list[tuple[bool, bool, bool]]] = {}
    for name, row in rows.items():
        again, text = rows.get(name + AGAIN), prompts[name]
        answer = row["vote"]["answer"]
        if again is not None and answer is not None:
            agrees = same(answer, again["vote"]["answer"] or "", asked(text))
            each = bool(row["right"]), agrees, echoes(answer, text)
            found.setdefault(name.rpartition("-")[0], []).append(each)
    return found


CHANCE = 0.01


def fell(then: Mapping[str, float], now: Mapping[str, float]) -> bool:
    """Whether the questions' shares of right samples fell by more than chance (a permutation test
    over the questions, p < CHANCE)."""
    changes = [now[q] - then[q] for q in sorted(then.keys() & now.keys())]
    return sum(changes) < 0 and (paired(changes) or 1) < CHANCE


def course(run: Report, name: str) -> list[tuple[str, dict[str, float]]]:
    """Version served, and the share of right samples of each question, at every evaluation."""
    found = []
    for each in run["evaluations"]:
        phase = f"{name} {each['moment']}"
        shares = {r["id"]: r["share"] for r in run["rows"] if r["phase"] == phase and "share" in r}
        found.append((each["served"].rpartition("@")[2], shares))
    return found


def falls(runs: Reports) -> Rows:
    """How the held-out questions went from version to version; a fall is one between two versions
    that ``fell``."""
    rows = []
    for case, run in runs.items():
        through = course(run, "held_out")
        fallen = []
        for (was, then), (now, after) in itertools.pairwise(through):
            if was != now and fell(then, after):
                fallen.append(f"{was} → {now}")
        shown_course = ", ".join(f"{v} {shown(mean(s.values()))}" for v, s in through)
        counts = [str(run["versions_promoted"]), str(run["rejected"]), run["stopped"] or "no"]
        rows.append([case, shown_course, *counts, ", ".join(fallen) or "none"])
    return "case | held out, by version served | promoted | refused | end | falls", rows


def draw_course(runs: Reports, path: Path) -> None:
    through = {
        case: [
            (float(step), mean(shares.values()) or 0.0)
            for step, (_, shares) in enumerate(course(run, "held_out"))
        ]
        for case, run in runs.items()
    }
    lines(path, through, "steps", "held out, avg@8")


def over_seeds(values: Sequence[float]) -> str:
    """Mean of three seeds and its 95 % interval (Student's t)."""
    assert len(values) == 3
    half = STUDENT * statistics.stdev(values) / math.sqrt(3)
    return f"{statistics.mean(values):.3f} ± {half:.3f}"


def past_majority(runs: Reports) -> Rows:
    columns = "avg before | maj before | avg after | maj after | gain | avg after − maj before"
    rows = []
    for name in set_names(next(iter(runs.values()))):
        old_avg, old_maj, new_avg, new_maj = (
            [scores(run, name, moment)[kind] for run in runs.values()]
            for moment, kind in itertools.product(MOMENTS, ("avg", "maj"))
        )
        gain = [new - old for new, old in zip(new_avg, old_avg, strict=True)]
        past = [new - old for new, old in zip(new_avg, old_maj, strict=True)]
        figures = map(over_seeds, (old_avg, old_maj, new_avg, new_maj, gain, past))
        rows.append([name, *figures, f"{sum(value > 0 for value in past)} of {len(past)}"])
    return f"set | {columns} | passed it", rows


def draw_majority(runs: Reports, path: Path) -> None:
    names = set_names(next(iter(runs.values())))

    def each(moment: str, kind: str) -> list[list[float]]:
        return [[scores(run, name, moment)[kind] for run in runs.values()] for name in names]

    def means(moment: str, kind: str) -> list[float]:
        return [statistics.mean(of_set) for of_set in each(moment, kind)]

    series = {f"avg@16 {moment}": means(moment, "avg") for moment in MOMENTS}
    points = {"after, each seed": each("after", "avg")}
    bars(path, list(names), series, {"maj@16 before": means("before", "maj")}, points)


def oracle_share(runs: Reports) -> Rows:
    heads = "set | avg before | after, from votes | after, from labels | share of the gain"
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
    series: dict[str, list[float]] = {"before": []}
    for name in names:
        firsts = (scores(run, name, "before")["avg"] for run in runs.values())
        series["before"].append(statistics.mean(firsts))
    for case, run in runs.items():
        series[case] = [scores(run, name, "after")["avg"] for name in names]
    bars(path, names, series)


def by_group(runs: Reports) -> Rows:
    (run,) = runs.values()
    return " | ".join(["kind", "questions", *RATIOS]), [
        [kind, str(worth["votes"]), *(shown(worth[ratio]) for ratio in RATIOS)]
        for kind, worth in run["votes"].items()
    ]


def draw_groups(runs: Reports, path: Path) -> None:
    (run,) = runs.values()
    series = {ratio: [worth[ratio] for worth in run["votes"].values()] for ratio in RATIOS}
    bars(path, list(run["votes"]), series)


def first_passes(runs: Reports) -> Rows:
    columns = (
        "prequential accuracy | first half | second half | share of right samples, same halves"
    )
    rows = []
    for case, run in runs.items():
        middle = len(run["history"]) // 2
        halves = [run["history"][:middle], run["history"][middle:]]
        right, samples = (
            [shown(statistics.mean(batch[figure] for batch in half)) for half in halves]
            for figure in ("correct", "ground_truth_ratio")
        )
        promoted = str(run["versions_promoted"])
        rows.append([case, shown(run["prequential"]), *right, ", ".join(samples), promoted])
    return f"stream | {columns} | promoted", rows


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
    heads = "family | questions | trained: avg before → after | held out: avg before → after"
    (run,) = runs.values()
    rows = []
    for family, (count, _) in run["trained"]["before"]["groups"].items():
        sides = []
        for name in ("trained", "held_out"):
            old, new = (run[name][moment]["groups"][family][1] for moment in MOMENTS)
            sides.append(f"{shown(old)} → {shown(new)}")
        rows.append([family, str(count), *sides])
    return heads, rows


def draw_families(runs: Reports, path: Path) -> None:
    (run,) = runs.values()
    names = list(run["trained"]["before"]["groups"])
    series = {
        f"{name} {moment}": [run[name][moment]["groups"][family][1] for family in names]
        for name in ("trained", "held_out")
        for moment in MOMENTS
    }
    bars(path, names, series)


def _held_out(runs: Reports, family: str, moment: str) -> dict[str, list[float]]:
    """By reward: avg of the family's held-out questions, a figure a seed."""
    by_reward: dict[str, list[float]] = {reward: [] for reward in REWARDS}
    for case, run in runs.items():
        by_reward[case.partition("_")[0]].append(run["held_out"][moment]["groups"][family][1])
    return by_reward


def _families(runs: Reports) -> list[str]:
    return list(next(iter(runs.values()))["held_out"]["before"]["groups"])


def beyond_answering(runs: Reports) -> Rows:
    """Gains on held-out questions, and what votes and labels gain over a reward for any answer."""
    columns = " | ".join(f"{reward}: gain" for reward in REWARDS)
    rows = []
    for family in _families(runs):
        before, after = (_held_out(runs, family, moment) for moment in MOMENTS)
        gain = {
            reward: [new - old for new, old in zip(after[reward], before[reward], strict=True)]
            for reward in REWARDS
        }
        beyond = (
            [ours - control for ours, control in zip(gain[reward], gain["answered"], strict=True)]
            for reward in ("majority", "labels")
        )
        first = over_seeds(before["majority"])
        rows.append([family, first, *map(over_seeds, gain.values()), *map(over_seeds, beyond)])
    return f"family | before | {columns} | majority: beyond answering | labels: the same", rows


def draw_controls(runs: Reports, path: Path) -> None:
    names = _families(runs)
    after = {name: _held_out(runs, name, "after") for name in names}
    series = {reward: [statistics.mean(after[n][reward]) for n in names] for reward in REWARDS}
    first = [statistics.mean(_held_out(runs, name, "before")["majority"]) for name in names]
    bars(path, names, series, {"before": first})
