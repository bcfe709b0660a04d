"""What is learned, by algorithm, by reward, with and without guards.

The real gateway, engine and trainer each time.

    python -m experiments.learning [--cases grpo labels …] [--out runs/benchmarks/learning]

The demo's questions (``demo.questions``) and its preset with 16 samples, one seed. A case is a
server from nothing: evaluate the trained and the held-out questions, ask the trained ones for some
episodes while the server learns, evaluate again.

    grpo                  the defaults, two episodes
    dapo … prime          each algorithm with its own defaults, one episode
    labels                GRPO on the true answers: the upper bound of the method
    unguarded             GRPO with every guard off
    hopeless              T = 1.0, rate 3e-4, advantages divided by the group's std
    hopeless_unguarded    the same with every guard off
    impossible            the same settings on products of two-digit numbers, which the model never
                          gets right; held out are the demo's products, which it often does
    impossible_unguarded  the same with every guard off
    long                  320 distinct questions of five kinds, two of them beyond the model; one
                          pass

``served_least`` is the least share of right samples (at the vote's own temperature) over all
batches, ``served_first`` that of the first one, which the base model drew: with guards what is
served must not fall below it by more than chance. Each case is kept in ``--out`` and not run again;
the last line is JSON.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from ttrl_client.metrics import shown

from benchmarks.gateway import UNGUARDED
from demo import questions
from demo.questions import Record
from experiments.cases import Case, finished, markdown, parser, read

HOPELESS: dict[str, object] = {
    "--vote.temperature": 1.0,
    "--train.learning-rate": 3e-4,
    "--train.std-normalise": True,
}
ALGORITHMS = ("dapo", "gspo", "cispo", "rloo", "reinforce++", "ppo", "prime")


def mixed(seed: int = 0) -> dict[str, list[Record]]:
    """320 questions to learn from and 40 held out: five kinds, the two last ones beyond the
    small model."""
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
            {
                "id": f"{kind}-{i}",
                "type": kind,
                "prompt": f"What is {text}? Answer with just the number.",
                "answer": str(value),
            }
            for i, (text, value) in enumerate(chosen)
        ]
        sets[questions.TRAINED_NAME] += records[:64]
        sets["held_out"] += records[64:]
    return sets


def impossible(seed: int = 0) -> dict[str, list[Record]]:
    """32 questions far beyond the small model to learn from; the demo's held-out ones to see
    what that does to it."""
    return {questions.TRAINED_NAME: mixed(seed)[questions.TRAINED_NAME][-32:]} | {
        "held_out": questions.question_sets(seed)["held_out"]
    }


CASES: dict[str, Case] = {
    "grpo": Case(),
    "labels": Case(mode="oracle"),
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
    how = parser("learning", __doc__)
    how.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    options = how.parse_args()
    found = {
        name: _figures(finished(name, CASES[name], options), CASES[name].eval_samples)
        for name in options.cases
    }
    print(_table(found))
    print(json.dumps(found))


def _figures(folder: Path, k: int) -> dict[str, Any]:
    run = read(folder)
    right = [
        batch["ground_truth_ratio"]
        for batch in run["history"]
        if batch["ground_truth_ratio"] is not None
    ]
    return {
        "trained": [run["trained"][moment][f"avg@{k}"] for moment in ("before", "after")],
        "held_out": [run["held_out"][moment][f"avg@{k}"] for moment in ("before", "after")],
        "held_out_maj": [run["held_out"][moment][f"maj@{k}"] for moment in ("before", "after")],
        "served_first": right[0] if right else None,
        "served_least": min(right, default=None),
        "promoted": run["versions_promoted"],
        "rejected": run["rejected"],
        "stopped": run["stopped"],
        "failed": run["requests_failed"],
        "seconds": run["wall_seconds"],
    }


def _table(found: dict[str, dict[str, Any]]) -> str:
    heads = [
        "case",
        "trained avg",
        "held-out avg",
        "held-out maj",
        "served: first, least",
        "made",
        "refused",
        "end",
    ]
    rows = []
    for name, row in found.items():
        pairs = [
            " → ".join(map(shown, row[key])) for key in ("trained", "held_out", "held_out_maj")
        ]
        served = f"{shown(row['served_first'])}, {shown(row['served_least'])}"
        counts = [str(row["promoted"]), str(row["rejected"]), row["stopped"] or "no"]
        rows.append([name, *pairs, served, *counts])
    return markdown(heads, rows)


if __name__ == "__main__":
    main()
