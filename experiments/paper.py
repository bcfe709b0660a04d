"""The paper's questions (arXiv 2504.16084, sections 3 to 5), asked of this system over HTTP.

    python -m experiments.paper [--tables majority oracle …] [--out runs/benchmarks/paper]
                                [--pictures docs/pictures]

Each table is made from runs of ttrl-replay against a server from nothing; a run is kept in
``--out`` and not made again. Settings are the demo's preset with 16 votes (rank 16, rate 1e-4, T =
0.6) unless a table says otherwise; "base" is one episode of four steps with them.

    survey       which families of questions have a majority above their average: asked of the base
                 model, frozen
    majority     the demo at three seeds: does the model pass its own first majority, also on sets
                 it never trained on?
    oracle       the same questions with their true answers as labels: the share of that gain that
                 votes bring
    difficulty   label accuracy and reward accuracy by difficulty, 32 votes of the base model,
                 frozen
    wordings     the base model's winners of each question in two wordings, frozen: is a label that
                 wins both more often right? (guard.wording)
    settings     temperature and learning rate: where it fails, and what the guards did
    sweep        temperature × learning rate, guarded, every version evaluated: is one below what
                 was served before it?
    votes        8, 16, 32 or 64 samples vote; the first 16 (8) train
    ranks        LoRA rank 4, 8, 16, 32
    prequential  a stream of distinct questions, each answered before anything was learned from it,
                 beside a frozen one
    families     four families learned together
    controls     the same four at three seeds, rewarded by votes, by true labels, for any answer,
                 and at random: how much of the gain is more than learning to answer?

Each table has its picture in ``--pictures``. The last line is JSON: every case's gains.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ttrl_client.report import set_names

from benchmarks.gateway import UNGUARDED
from demo.questions import Record
from experiments import tables
from experiments.cases import Case, finished, markdown, parser, read
from experiments.families import FAMILIES, family_sets
from experiments.learning import STREAM, mixed

LEARNED = ("product", "larger", "gym_products", "gym_chain_sum")
"""What ``families`` learns: chosen by ``survey``."""
SAID_TWICE = ("product", "sum", "difference", "larger", "half", "capital", "opposite", "parity")
OTHER_WORDS = "Here is a question. {} Do not explain it, give the bare result."
DEMO: dict[str, object] = {"--vote.samples": 32, "--train.samples": 32}
TRANSFER = ("held_out", "addition", "paraphrase")


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


def twice(seed: int) -> dict[str, list[Record]]:
    """Eight kinds of questions, each also in other words."""
    records = family_sets(SAID_TWICE, seed)["trained"]
    again = [
        record | {"id": record["id"] + tables.AGAIN, "prompt": OTHER_WORDS.format(record["prompt"])}
        for record in records
    ]
    return {"trained": [*records, *again]}


def rate(temperature: float, learning_rate: float) -> dict[str, object]:
    return {"--vote.temperature": temperature, "--train.learning-rate": learning_rate}


@dataclass(frozen=True, slots=True)
class Table:
    """The runs that answer a question, and what is made of their reports."""

    cases: dict[str, Case]
    rows: Callable[[tables.Reports], tables.Rows]
    draw: Callable[[tables.Reports, Path], None]


def beside_base(tried: dict[str, dict[str, object]]) -> Table:
    """One episode of four steps with some flags, and without them."""
    flags: dict[str, dict[str, object]] = {"base": {}} | tried
    cases = {name: Case(each, episodes=1, eval_samples=4) for name, each in flags.items()}
    return Table(cases, tables.gains, tables.draw_gains)


# ---------------------------------------------------------------- the tables

FROZEN: dict[str, object] = {"--train.enabled": False}
FULL = FROZEN | {"--vote.stop": "none"}
"""Every sample counts in a tally that is measured."""
ALWAYS = FULL | {"--vote.policy": "always"}
UNJUDGED: dict[str, object] = {"--vote.samples": 8, "--train.samples": 8, "--gate.mode": "off"}
"""What a reward teaches is looked at, and not what the gate thinks of it."""
WIDE = STREAM | {"--vote.samples": 16, "--train.samples": 16}

TABLES: dict[str, Table] = {
    "survey": Table(
        {"survey": Case(ALWAYS, surveyed, (), 1, 16, 2, "frozen", max_tokens=32)},
        tables.by_group,
        tables.draw_groups,
    ),
    "majority": Table(
        {
            f"demo_{seed}": Case(DEMO, held_out=TRANSFER, episodes=3, eval_samples=16, seed=seed)
            for seed in range(3)
        },
        tables.past_majority,
        tables.draw_majority,
    ),
    "oracle": Table(
        {
            "from_votes": Case(held_out=TRANSFER),
            "from_labels": Case(held_out=TRANSFER, mode="oracle"),
        },
        tables.oracle_share,
        tables.draw_oracle,
    ),
    "difficulty": Table(
        {"difficulty": Case(FULL | DEMO, by_difficulty, (), 1, 16, 2, "frozen")},
        tables.by_group,
        tables.draw_groups,
    ),
    "wordings": Table(
        {"wordings": Case(ALWAYS, twice, (), 1, 16, 2, "frozen", max_tokens=32)},
        tables.wordings,
        tables.draw_wordings,
    ),
    "settings": beside_base(
        {
            "T_1.0_lr_1e-4": rate(1.0, 1e-4),
            "T_0.6_lr_1e-3": rate(0.6, 1e-3),
            "T_1.0_lr_1e-3": rate(1.0, 1e-3),
            "T_0.6_lr_1e-2": rate(0.6, 1e-2),
            "T_0.6_lr_1e-2_unguarded": rate(0.6, 1e-2) | UNGUARDED,
        }
    ),
    "sweep": Table(
        {
            f"T_{temperature}_lr_{learning_rate:g}": Case(
                rate(temperature, learning_rate), episodes=1, eval_samples=8, eval_every=1
            )
            for temperature in (0.6, 1.0)
            for learning_rate in (1e-4, 1e-3, 1e-2)
        },
        tables.falls,
        tables.draw_course,
    ),
    "votes": beside_base(
        {
            f"votes_{count}": {"--vote.samples": count, "--train.samples": min(16, count)}
            for count in (8, 32, 64)
        }
    ),
    "ranks": beside_base(
        {f"rank_{rank}": {"--train.rank": rank, "--train.alpha": 2 * rank} for rank in (4, 8, 32)}
    ),
    "prequential": Table(
        {
            "learning": Case(STREAM, stream, (), 1, 16, 2, "prequential"),
            "frozen": Case(STREAM | FROZEN, stream, (), 1, 16, 2, "frozen"),
        },
        tables.first_passes,
        tables.draw_stream,
    ),
    "families": Table(
        {"families": Case(WIDE, partial(family_sets, LEARNED), batch=16, eval_samples=4)},
        tables.gains_by_family,
        tables.draw_families,
    ),
    "controls": Table(
        {
            f"{reward}_{seed}": Case(
                UNJUDGED | ({} if reward == "labels" else {"--train.reward": reward}),
                partial(family_sets, LEARNED),
                episodes=1,
                eval_samples=4,
                mode="oracle" if reward == "labels" else "learn",
                seed=seed,
            )
            for seed in range(3)
            for reward in tables.REWARDS
        },
        tables.beyond_answering,
        tables.draw_controls,
    ),
}


def main() -> None:
    flags, known = parser("paper", __doc__), list(TABLES)
    flags.add_argument("--tables", nargs="+", choices=known, default=known, metavar="TABLE")
    flags.add_argument("--pictures", type=Path, default=Path("docs/pictures"))
    options = flags.parse_args()
    options.pictures.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name in options.tables:
        table = TABLES[name]
        runs = {case: read(finished(case, how, options)) for case, how in table.cases.items()}
        print(f"\n{name}\n\n{markdown(*table.rows(runs))}", flush=True)
        table.draw(runs, options.pictures / f"{name}.png")
        for case, run in runs.items():
            found[case] = {
                moment: {s: tables.scores(run, s, moment) for s in set_names(run)}
                for moment in tables.MOMENTS
            }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
