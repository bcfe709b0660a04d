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
from typing import Any

from ttrl_client.metrics import shown

from benchmarks.gateway import UNGUARDED
from demo import questions
from demo.questions import Record
from experiments.cases import Case, finished, markdown, parser, read
from experiments.tables import MOMENTS, Report, scores

HOPELESS: dict[str, object] = {
    "--vote.temperature": 1.0,
    "--train.learning-rate": 3e-4,
    "--train.std-normalise": True,
}
STREAM: dict[str, object] = {"--train.questions": 16, "--vote.samples": 8, "--train.samples": 8}
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
    sets: dict[str, list[Record]] = {"trained": [], "held_out": []}
    for kind, all_of_it in kinds.items():
        chosen = order.sample(all_of_it, 72)
        for i, (text, value) in enumerate(chosen):
            prompt = f"What is {text}? Answer with just the number."
            record = {"id": f"{kind}-{i}", "type": kind, "prompt": prompt, "answer": str(value)}
            sets["trained" if i < 64 else "held_out"].append(record)
    return sets


def impossible(seed: int = 0) -> dict[str, list[Record]]:
    """32 questions far beyond the model to learn from; the demo's held-out ones show the harm."""
    held_out = questions.products(seed)["held_out"]
    return {"trained": mixed(seed)["trained"][-32:], "held_out": held_out}


CASES: dict[str, Case] = {
    "grpo": Case(),
    "labels": Case(mode="oracle"),
    **{name: Case({"--train.algorithm": name}, episodes=1, eval_samples=4) for name in ALGORITHMS},
    "unguarded": Case(UNGUARDED, episodes=1),
    "hopeless": Case(HOPELESS),
    "hopeless_unguarded": Case(HOPELESS | UNGUARDED),
    "impossible": Case(HOPELESS, sets=impossible),
    "impossible_unguarded": Case(HOPELESS | UNGUARDED, sets=impossible),
    "long": Case(STREAM, episodes=1, sets=mixed, eval_samples=4, batch=16),
}


def main() -> None:
    how = parser("learning", __doc__)
    how.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    options = how.parse_args()
    found = {name: _figures(read(finished(name, CASES[name], options))) for name in options.cases}
    print(_table(found))
    print(json.dumps(found))


def _figures(run: Report) -> dict[str, Any]:
    ratios = (batch["ground_truth_ratio"] for batch in run["history"])
    right = [ratio for ratio in ratios if ratio is not None]
    trained, held_out = ([scores(run, s, m) for m in MOMENTS] for s in ("trained", "held_out"))
    return {
        "trained": [found["avg"] for found in trained],
        "held_out": [found["avg"] for found in held_out],
        "held_out_maj": [found["maj"] for found in held_out],
        "served_first": right[0] if right else None,
        "served_least": min(right, default=None),
        "promoted": run["versions_promoted"],
        "rejected": run["rejected"],
        "stopped": run["stopped"],
        "failed": run["requests_failed"],
        "seconds": run["wall_seconds"],
    }


def _table(found: dict[str, dict[str, Any]]) -> str:
    averages = "trained avg | held-out avg | held-out maj"
    rows = []
    for name, row in found.items():
        keys = ("trained", "held_out", "held_out_maj")
        pairs = [" → ".join(map(shown, row[key])) for key in keys]
        served = f"{shown(row['served_first'])}, {shown(row['served_least'])}"
        counts = [str(row["promoted"]), str(row["rejected"]), row["stopped"] or "no"]
        rows.append([name, *pairs, served, *counts])
    heads = f"case | {averages} | served: first, least | made | refused | end"
    return markdown(heads, rows)


if __name__ == "__main__":
    main()
