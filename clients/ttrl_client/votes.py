"""What votes were worth against the truth: a row for each, and figures over rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from ttrl_client import ask
from ttrl_client.datasets import Item
from ttrl_client.journal import Row
from ttrl_client.metrics import (
    Graded,
    calibration_error,
    correct_share,
    discrimination,
    majority,
    mean,
    score_vote,
)
from ttrl_client.scoring import answer_of, same

STATED = ("majority_ratio", "confidence")
"""What a vote says of itself, between 0 and 1."""
RATIOS = ("majority_ratio", "ground_truth_ratio", "label_accuracy", "reward_accuracy")


def row(item: Item, reply: ask.Reply) -> Row:
    """What is known of a question that was answered; without a vote, its answer is judged."""
    vote = reply.evidence
    answer = vote.answer if vote else _answer(item, reply)
    right = same(answer, item.answer, item.asked)
    known = {"truth": item.answer, "answer": answer, "right": right, "text": reply.text}
    if vote is None:
        return known | {"vote": None}
    worth = score_vote(vote.answer, vote.counts, vote.votes, item.answer, item.asked)
    return known | {"vote": vote.model_dump()} | asdict(worth)


def drawn_row(item: Item, drawn: ask.Drawn) -> Row:
    """The samples of a question that was not voted on, and whether their majority is right."""
    answers = [_answer(item, reply) for reply in drawn.samples]
    return {
        "truth": item.answer,
        "answers": answers,
        "right": same(majority(answers, item.asked), item.answer, item.asked),
        "share": correct_share(Graded(tuple(answers), item.answer, item.asked)),
        "tokens": drawn.tokens,
    }


def _answer(item: Item, reply: ask.Reply) -> str | None:
    return answer_of(reply.text, reply.calls, reply.finish_reason, item.asked)


def figures(rows: list[Row]) -> Row:
    """Counts, and means over the questions that were voted on (None without one)."""
    answered = [r for r in rows if "error" not in r]
    voted = [r for r in answered if r["vote"]]
    tokens, samples = (sum(r["vote"][name] for r in voted) for name in ("sampled_tokens", "votes"))
    return {
        "answered": len(answered),
        "failed": len(rows) - len(answered),
        **{name: mean((r | r["vote"])[name] for r in voted) for name in RATIOS},
        "sampled_tokens": tokens,
        "adapters": sorted({r["vote"]["adapter"] for r in voted}),
        "entropy": mean(r["vote"]["entropy"] for r in voted if r["vote"]["entropy"] is not None),
        "length": tokens / samples if samples else None,
        "correct": mean(float(r["right"]) for r in answered),
    }


def by_group(rows: Iterable[Row], groups: Mapping[str, str | None]) -> dict[str, Row]:
    """The ratios by level or subject: ``groups`` has that of every question."""
    sorted_out: defaultdict[str, list[Row]] = defaultdict(list)
    for r in rows:
        if r.get("vote") and (group := groups.get(r["id"])) is not None:
            sorted_out[group].append(r)
    return {
        name: {"votes": len(voted)}
        | {ratio: mean((r | r["vote"])[ratio] for r in voted) for ratio in RATIOS}
        for name, voted in sorted(sorted_out.items())
    }


def calibration(rows: Iterable[Row]) -> list[Row]:
    """By episode: how well a vote's own figures (STATED) tell right answers from wrong ones."""
    episodes: defaultdict[str, list[Row]] = defaultdict(list)
    for r in rows:
        if r.get("vote") and r["phase"].startswith("episode"):
            episodes[r["phase"].split()[1]].append(r)
    return [
        {"episode": name, "votes": len(voted)} | {figure: _told(voted, figure) for figure in STATED}
        for name, voted in episodes.items()
    ]


def _told(voted: list[Row], figure: str) -> Row | None:
    """None where the server does not say it."""
    told = [(r["vote"][figure], r["right"]) for r in voted if r["vote"].get(figure) is not None]
    stated, right = [p for p, _ in told], [correct for _, correct in told]
    error, area = calibration_error(stated, right), discrimination(stated, right)
    return {"mean": mean(stated), "ece": error, "auc": area} if told else None
