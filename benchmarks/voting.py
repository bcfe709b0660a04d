"""What each stop rule saves and how often it agrees with the full vote, on votes recorded from the
real engine.

    python -m benchmarks.voting [--traces FILE] [--orders 20] [--rule beta --level 0.95] [--wave 8]

The votes are recorded first where FILE is not there yet (benchmarks/traces.py; about ten minutes).
Samples are independent draws, so any order of a question's 64 is one more vote that could have
happened: every question is replayed in ``--orders`` seeded orders. A rule is asked after each wave,
as the server asks it; ``agreement`` is the share of votes with the full vote's winner,
``tokens_saved`` the share of all tokens that were not drawn (long answers to hard questions weigh
most), ``samples_saved`` the mean share of a question's samples. ``length_ratio`` is the mean length
of the samples kept for training (whole waves, at most 32) over that of all 64: 1 is no bias; the
first 32 to finish are shown beside it.

Clustering is timed on the recorded answers, and on groups of 64 different expressions.
The last line is JSON.
"""

from __future__ import annotations

import json
import math
import operator
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import MODEL, argument_parser, traces
from ttrl_server.answering.draw import Waves
from ttrl_server.types import Rollout, StopRule, Vote
from ttrl_server.voting import stopping, vote_over
from ttrl_server.voting.tally import vote

GROUP = 32
LEVELS: dict[StopRule, tuple[float, ...]] = {
    "none": (0.99,),
    "exact": (0.99,),
    "beta": (0.95, 0.99, 0.995, 0.999),
    "certificate": (0.9, 0.95, 0.99),
}


@dataclass(frozen=True)
class Recorded:
    """One question's samples, read and keyed."""

    answers: tuple[str | None, ...]
    keys: tuple[str | None, ...]
    confidences: tuple[float, ...]
    tokens: tuple[int, ...]

    def ordered(self, order: Sequence[int]) -> Recorded:
        by = operator.itemgetter(*order)
        return Recorded(by(self.answers), by(self.keys), by(self.confidences), by(self.tokens))

    def winner(self, drawn: int) -> str | None:
        """The winning key among the first ``drawn``."""
        outcome = vote(self.answers[:drawn], self.confidences[:drawn], keys=self.keys[:drawn])
        return self.keys[outcome.clusters[0].members[0]] if outcome.clusters else None


def read(records: list[dict[str, Any]]) -> tuple[list[Recorded], list[float]]:
    """Every vote read by the server's own code, and the milliseconds each took."""
    recorded, milliseconds = [], []
    for record in records:
        samples = record["samples"]
        confidences = tuple(sample["confidence"] for sample in samples)
        rollouts = [
            Rollout(i, (0,), (sure,), sample["text"], sample["finish_reason"])
            for i, (sure, sample) in enumerate(zip(confidences, samples, strict=True))
        ]
        outcome, taken = counted(rollouts, record["question"])
        milliseconds.append(taken)
        keys: list[str | None] = [None] * len(samples)
        for number, cluster in enumerate(outcome.clusters):
            for member in cluster.members:
                keys[member] = str(number)
        tokens = tuple(sample["tokens"] for sample in samples)
        recorded.append(Recorded(outcome.answers, tuple(keys), confidences, tokens))
    return recorded, milliseconds


def counted(rollouts: list[Rollout], question: str | None) -> tuple[Vote, float]:
    """The vote, and the milliseconds that reading and counting took."""
    started = time.perf_counter()
    outcome = vote_over(rollouts, question)
    return outcome, 1000 * (time.perf_counter() - started)


def drawn_under(rule: StopRule, level: float, question: Recorded, waves: Waves) -> int:
    """How many samples the server would draw."""
    drawn, total = 0, waves.samples
    while drawn < total:
        needed = stopping.needed(rule, level, question.keys[:drawn], total)
        drawn = waves.at_least(drawn + needed)
        if drawn < total and stopping.decided(rule, level, question.keys[:drawn], total):
            break
    return drawn


def replay(rule: StopRule, level: float, votes: list[Recorded], wave: int) -> dict[str, float]:
    """Figures of one rule over all votes."""
    waves = Waves(traces.SAMPLES, GROUP, wave)
    agreed, used, whole, clear_used, clear_whole = 0, 0, 0, 0, 0
    kept, every, quickest, saved = [], [], [], []
    for question in votes:
        drawn = drawn_under(rule, level, question, waves)
        label = question.winner(waves.samples)
        agreed += question.winner(drawn) == label
        spent, total = sum(question.tokens[:drawn]), sum(question.tokens)
        used, whole = used + spent, whole + total
        if label is not None and question.keys.count(label) >= 0.8 * waves.samples:
            clear_used, clear_whole = clear_used + spent, clear_whole + total
        kept.append(statistics.mean(question.tokens[: waves.trainable(range(drawn))]))
        saved.append(1 - drawn / waves.samples)
        every.append(statistics.mean(question.tokens))
        quickest.append(statistics.mean(sorted(question.tokens)[:GROUP]))
    return {
        "agreement": agreed / len(votes),
        "tokens_saved": 1 - used / whole,
        "samples_saved": statistics.mean(saved),
        "tokens_saved_leader_0.8": 1 - clear_used / clear_whole if clear_whole else math.nan,
        "length_ratio": sum(kept) / sum(every),
        "length_ratio_first_finished": sum(quickest) / sum(every),
    }


def hardest(groups: int = 20) -> list[float]:
    """Milliseconds for groups of 64 different expressions, none of them seen before."""
    milliseconds = []
    order = random.Random(0)
    for _ in range(groups):
        texts = [_expression(order) for _ in range(traces.SAMPLES)]
        said = [rf"Therefore the answer is \boxed{{{text}}}." for text in texts]
        rollouts = [Rollout(i, (0,), (-0.1,), text, "stop") for i, text in enumerate(said)]
        milliseconds.append(counted(rollouts, None)[1])
    return milliseconds


def _expression(order: random.Random) -> str:
    a, b, c = (order.randint(2, 99) for _ in range(3))
    shapes = (
        rf"\frac{{{a}\sqrt{{{b}}}}}{{{c}}}",
        rf"{a}\pi + \sqrt{{{b}}}",
        rf"x^2 + {a}x + {b}",
        rf"(x + {a})(x - {b})",
        rf"\left({a}, \frac{{\pi}}{{{b}}}\right)",
        rf"{a}\sin({b}\theta)",
        rf"\log_{{{a}}} {b}",
    )
    return order.choice(shapes)


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--traces", type=Path, default=traces.TRACES)
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--wave", type=int, default=8)
    parser.add_argument("--rule", choices=["beta", "certificate"], default="beta")
    parser.add_argument("--level", type=float, default=0.95)
    options = parser.parse_args()
    questions, milliseconds = read(traces.load(options.traces, options.model))
    shuffle = random.Random(0)
    everything = range(traces.SAMPLES)
    shuffled = (shuffle.sample(everything, traces.SAMPLES) for _ in range(options.orders - 1))
    orders = [list(everything), *shuffled]
    votes = [question.ordered(order) for question in questions for order in orders]
    known = [(rule, level) for rule, levels in LEVELS.items() for level in levels]
    table = {
        (rule, level): replay(rule, level, votes, options.wave)
        for rule, level in dict.fromkeys([*known, (options.rule, options.level)])
    }
    replayed = f"{len(questions)} questions × {len(orders)} orders of {traces.SAMPLES} samples"
    print(f"{replayed}, waves of {options.wave}")
    for (rule, level), figures in table.items():
        shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        print(f"{rule:12}{level:<7g}{shown}")
    hard = hardest()
    ordinary, most = statistics.median(milliseconds), max(milliseconds)
    print(f"clustering 64: recorded p50 {ordinary:.2f} ms, most {most:.1f} ms", end="; ")
    print(f"64 different expressions p50 {statistics.median(hard):.1f} ms, most {max(hard):.1f} ms")
    wanted = "agreement tokens_saved tokens_saved_leader_0.8 samples_saved length_ratio"
    exact, chosen = (
        {name: round(table[which][name], 4) for name in wanted.split()}
        for which in (("exact", 0.99), (options.rule, options.level))
    )
    report = {
        "exact": exact,
        "statistical": {"rule": options.rule, "level": options.level} | chosen,
        "cluster_ms_p50": round(ordinary, 2),
        "cluster_hard_ms_p99": round(max(hard), 1),
        "questions": len(questions),
        "orders": len(orders),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
