"""The paper's questions (arXiv 2504.16084, sections 3 to 5) asked of this system, through its own front door.

    python -m benchmarks.paper [--tables majority oracle …] [--out runs/benchmarks/paper] [--pictures docs/pictures]

Each table is made from runs of ttrl-replay against a server from nothing; a run is kept in ``--out`` and not made
again. Settings are the demo's preset with 16 votes (rank 16, rate 1e-4, T = 0.6) unless a table says otherwise; "base"
is one episode of four steps with them.

    survey       which families of questions have a majority above their average: asked of the base model, frozen
    majority     the demo at three seeds: does the model pass its own first majority, also on sets it never trained on?
    oracle       the same questions with their true answers as labels: the share of that gain that votes bring
    difficulty   label accuracy and reward accuracy by difficulty, 32 votes of the base model, frozen
    settings     temperature and learning rate: where it fails, and what the guards did
    votes        8, 16, 32 or 64 samples vote; the first 16 (8) train
    ranks        LoRA rank 4, 8, 16, 32
    prequential  a stream of distinct questions, each answered before anything was learned from it, beside a frozen one
    families     four families learned together

Each table has its picture in ``--pictures``. The last line is JSON: every case's gains.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttrl_client.report import set_names

from benchmarks.cases import Case, finished, markdown, number, parser, read
from benchmarks.families import FAMILIES, family_sets
from benchmarks.learning import mixed
from benchmarks.pictures import bars, lines
from demo.questions import Record

Report = dict[str, Any]
Reports = dict[str, Report]
Rows = tuple[list[str], list[list[str]]]
"""Headings, and rows."""
SEEDS = (0, 1, 2)
STUDENT = 4.303
"""Of two degrees of freedom, for 95 %."""
LEARNED = ("product", "larger", "gym_products", "gym_chain_sum")
"""What ``families`` learns: chosen by ``survey``."""
DEMO: dict[str, object] = {"--vote.samples": 32, "--train.samples": 32}
TRANSFER = ("held_out", "addition", "paraphrase")


def brief(flags: dict[str, object]) -> Case:
    """One episode of four steps: what the tables of settings compare."""
    return Case(flags, episodes=1, eval_samples=4)


def stream(seed: int) -> dict[str, list[Record]]:
    """160 of the mixed questions, every kind as often; nothing of them comes twice."""
    sets = mixed(seed)
    return {"trained": sets["trained"][::2], "held_out": sets["held_out"]}


def by_difficulty(seed: int) -> dict[str, list[Record]]:
    """16 questions of each of the mixed kinds."""
    return {"trained": mixed(seed)["trained"][::4]}


def surveyed(seed: int) -> dict[str, list[Record]]:
    """12 of every family."""
    return {"trained": [r for name in FAMILIES for r in family_sets((name,), seed)["trained"][:12]]}


def rate(temperature: float, learning_rate: float) -> Case:
    return brief({"--vote.temperature": temperature, "--train.learning-rate": learning_rate})


def votes(count: int) -> Case:
    return brief({"--vote.samples": count, "--train.samples": min(16, count)})


FROZEN: dict[str, object] = {"--train.enabled": False}
STREAM: dict[str, object] = {"--train.questions": 16, "--vote.samples": 8, "--train.samples": 8}
BASE = brief({})


@dataclass(frozen=True, slots=True)
class Table:
    """The runs that answer a question, and what is made of their reports."""

    cases: dict[str, Case]
    rows: Callable[[Reports], Rows]
    draw: Callable[[Reports, Path], None]


# ---------------------------------------------------------------- what is made of reports


def scores(run: Report, name: str, moment: str) -> dict[str, float]:
    """avg and maj of a set at a moment."""
    k = run["settings"]["eval_samples"]
    return {kind: run[name][moment][f"{kind}@{k}"] for kind in ("avg", "maj")}


def gains(runs: Reports) -> Rows:
    heads = ["case", "set", "avg before → after", "Δ", "maj before → after", "made", "refused", "alarm"]
    rows = []
    for case, run in runs.items():
        for name in set_names(run):
            old, new = (scores(run, name, moment) for moment in ("before", "after"))
            change = [" → ".join(number(side[kind]) for side in (old, new)) for kind in ("avg", "maj")]
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
    """Mean and its 95 % interval (Student's t)."""
    half = STUDENT * statistics.stdev(values) / math.sqrt(len(values)) if len(values) == len(SEEDS) else math.nan
    return f"{statistics.mean(values):.3f} ± {half:.3f}"


def past_majority(runs: Reports) -> Rows:
    heads = ["set", "avg before", "maj before", "avg after", "maj after", "gain", "avg after − maj before", "passed it"]
    rows = []
    for name in ("trained", *TRANSFER):
        old, new = ([scores(run, name, moment) for run in runs.values()] for moment in ("before", "after"))
        past = [b["avg"] - a["maj"] for a, b in zip(old, new, strict=True)]
        gain = [b["avg"] - a["avg"] for a, b in zip(old, new, strict=True)]
        sides = [over_seeds([side[kind] for side in moment]) for moment in (old, new) for kind in ("avg", "maj")]
        passed = f"{sum(value > 0 for value in past)} of {len(past)}"
        rows.append([name, *sides, over_seeds(gain), over_seeds(past), passed])
    return heads, rows


def draw_majority(runs: Reports, path: Path) -> None:
    names = ("trained", *TRANSFER)

    def each(moment: str, kind: str) -> list[list[float]]:
        return [[scores(run, name, moment)[kind] for run in runs.values()] for name in names]

    def means(values: list[list[float]]) -> list[float]:
        return [statistics.mean(of_set) for of_set in values]

    series = {"avg@16 before": means(each("before", "avg")), "avg@16 after": means(each("after", "avg"))}
    points = {"after, each seed": each("after", "avg")}
    bars(path, list(names), series, {"maj@16 before": means(each("before", "maj"))}, points)


def oracle_share(runs: Reports) -> Rows:
    heads = ["set", "avg before", "after, from votes", "after, from labels", "share of the gain"]
    rows = []
    for name in ("trained", *TRANSFER):
        ours, true = (runs[case] for case in ("from_votes", "from_labels"))
        before = statistics.mean(scores(run, name, "before")["avg"] for run in (ours, true))
        after = [scores(run, name, "after")["avg"] for run in (ours, true)]
        share = (after[0] - before) / (after[1] - before)
        rows.append([name, number(before), *map(number, after), f"{share:.0%}"])
    return heads, rows


def draw_oracle(runs: Reports, path: Path) -> None:
    names = ["trained", *TRANSFER]
    series = {"before": [scores(runs["from_votes"], name, "before")["avg"] for name in names]}
    series |= {case: [scores(run, name, "after")["avg"] for name in names] for case, run in runs.items()}
    bars(path, names, series)


RATIOS = ("ground_truth_ratio", "majority_ratio", "label_accuracy", "reward_accuracy")


def by_group(runs: Reports) -> Rows:
    (run,) = runs.values()
    heads = ["kind", "questions", *RATIOS]
    return heads, [
        [kind, str(worth["votes"]), *(number(worth[ratio]) for ratio in RATIOS)] for kind, worth in run["votes"].items()
    ]


def draw_groups(runs: Reports, path: Path) -> None:
    (run,) = runs.values()
    bars(path, list(run["votes"]), {ratio: [worth[ratio] for worth in run["votes"].values()] for ratio in RATIOS})


def first_passes(runs: Reports) -> Rows:
    heads = [
        "stream",
        "prequential accuracy",
        "first half",
        "second half",
        "share of right samples, same halves",
        "made",
    ]
    rows = []
    for case, run in runs.items():
        middle = len(run["history"]) // 2
        halves = [run["history"][:middle], run["history"][middle:]]
        right = [statistics.mean(batch["correct"] for batch in half) for half in halves]
        samples = [statistics.mean(batch["ground_truth_ratio"] for batch in half) for half in halves]
        both = ", ".join(map(number, samples))
        rows.append([case, number(run["prequential"]), *map(number, right), both, str(run["versions_promoted"])])
    return heads, rows


def draw_stream(runs: Reports, path: Path) -> None:
    """Accuracy over all questions so far."""
    course = {}
    for case, run in runs.items():
        total, answered, so_far = 0.0, 0, []
        for batch in run["history"]:
            total, answered = total + batch["correct"] * batch["answered"], answered + batch["answered"]
            so_far.append((float(answered), total / answered))
        course[case] = so_far
    lines(path, course, "questions answered", "right so far")


def gains_by_family(runs: Reports) -> Rows:
    heads = ["family", "questions", "trained: avg before → after", "held out: avg before → after"]
    (run,) = runs.values()
    rows = []
    for family, (count, _) in run["trained"]["before"]["groups"].items():
        sides = [
            " → ".join(number(run[name][moment]["groups"][family][1]) for moment in ("before", "after"))
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


# ---------------------------------------------------------------- the tables

FULL: dict[str, object] = {"--vote.stop": "none"}
"""Every sample counts in a tally that is measured."""

TABLES: dict[str, Table] = {
    "survey": Table(
        {"survey": Case(FROZEN | FULL | {"--vote.policy": "always"}, surveyed, (), 1, 16, 2, "frozen", max_tokens=32)},
        by_group,
        draw_groups,
    ),
    "majority": Table(
        {f"demo_{seed}": Case(DEMO, held_out=TRANSFER, episodes=3, eval_samples=16, seed=seed) for seed in SEEDS},
        past_majority,
        draw_majority,
    ),
    "oracle": Table(
        {
            "from_votes": Case(held_out=TRANSFER),
            "from_labels": Case(held_out=TRANSFER, mode="oracle"),
        },
        oracle_share,
        draw_oracle,
    ),
    "difficulty": Table(
        {"difficulty": Case(FROZEN | FULL | DEMO, by_difficulty, (), 1, 16, 2, "frozen")}, by_group, draw_groups
    ),
    "settings": Table(
        {
            "base": BASE,
            "T_1.0_lr_1e-4": rate(1.0, 1e-4),
            "T_0.6_lr_1e-3": rate(0.6, 1e-3),
            "T_1.0_lr_1e-3": rate(1.0, 1e-3),
        },
        gains,
        draw_gains,
    ),
    "votes": Table({"base": BASE} | {f"votes_{count}": votes(count) for count in (8, 32, 64)}, gains, draw_gains),
    "ranks": Table(
        {"base": BASE}
        | {f"rank_{rank}": brief({"--train.rank": rank, "--train.alpha": 2 * rank}) for rank in (4, 8, 32)},
        gains,
        draw_gains,
    ),
    "prequential": Table(
        {
            "learning": Case(STREAM, stream, (), 1, 16, 2, "prequential"),
            "frozen": Case(STREAM | FROZEN, stream, (), 1, 16, 2, "frozen"),
        },
        first_passes,
        draw_stream,
    ),
    "families": Table(
        {
            "families": Case(
                STREAM | {"--vote.samples": 16, "--train.samples": 16},
                lambda seed: family_sets(LEARNED, seed),
                batch=16,
                eval_samples=4,
            )
        },
        gains_by_family,
        draw_families,
    ),
}


def main() -> None:
    options = _parser().parse_args()
    options.pictures.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name in options.tables:
        table = TABLES[name]
        runs = {case: read(finished(case, how, options)) for case, how in table.cases.items()}
        print(f"\n{name}\n\n{markdown(*table.rows(runs))}", flush=True)
        table.draw(runs, options.pictures / f"{name}.png")
        found |= {
            case: {kind: {s: scores(run, s, kind) for s in set_names(run)} for kind in ("before", "after")}
            for case, run in runs.items()
        }
    print(json.dumps(found))


def _parser() -> argparse.ArgumentParser:
    how = parser("paper", __doc__)
    how.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES), metavar="TABLE")
    how.add_argument("--pictures", type=Path, default=Path("docs/pictures"))
    return how


if __name__ == "__main__":
    main()
