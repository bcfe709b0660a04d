"""Whether one group can teach anything, seen by itself."""

from __future__ import annotations

from typing import Any

from ttrl_server.settings.sections import GuardConfig
from ttrl_server.types import Admission, Group, Question, Vote
from ttrl_server.voting.signals import answered

QUEUED = Admission(True, "queued")
UNSOUND = frozenset(
    {"aborted", "incomplete_samples", "sampling_parameters", "cancelled", "held_back"}
)
"""Reasons that no label can mend: these rollouts are not what the trainer would score, or must
not be trained on."""


def admit(
    question: Question, group: Group, vote: Vote, rewards: tuple[float, ...], guard: GuardConfig
) -> Admission:
    """The one reason why a group is not trained on, or ``queued``.

    A label that was given (``Question.label``) stands by itself; the vote's own must be fit to
    learn from.
    """
    reason = _unsound(question, group)
    if reason is None and question.label is None:
        reason = _no_label(vote, rewards, guard)
    if reason is None and len(set(rewards)) < 2:
        reason = "unanimous"  # zero advantage for every sample (docs/method.md, section 4.9)
    return Admission(False, reason) if reason else QUEUED


def _unsound(question: Question, group: Group) -> str | None:
    """Only what was sampled as the trainer will score it."""
    if any(rollout.finish_reason == "abort" for rollout in group.rollouts):
        return "aborted"
    if any(len(r.token_ids) != len(r.logprobs) or not r.token_ids for r in group.rollouts):
        return "incomplete_samples"
    given = question.sampling.extra.items()
    if any(value not in CHANGES_NOTHING.get(name, (value,)) for name, value in given):
        return "sampling_parameters"
    return None


def _no_label(vote: Vote, rewards: tuple[float, ...], guard: GuardConfig) -> str | None:
    """Why the vote names no label: no answer, too few, or none inside SCRL's consensus window
    (arXiv 2603.19880)."""
    if vote.pseudo_label is None:
        return "unvotable" if vote.stopped == "unvotable" else "no_answer"
    if vote.stopped == "deadline":  # a label from the quickest samples
        return vote.stopped
    if answered(vote.answers) < guard.min_extractable:
        return "unextractable"
    majority, margin = vote.majority_ratio or 0.0, vote.margin or 0.0
    inside = majority >= guard.min_majority and margin >= guard.min_margin
    return "no_consensus" if not inside and any(reward > 0 for reward in rewards) else None


CHANGES_NOTHING: dict[str, tuple[Any, ...]] = {
    "top_p": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "min_tokens": (0,),
    "ignore_eos": (False,),
    "allowed_token_ids": ([],),
    "bad_words": ([],),
}
"""Parameters that bend the sampled distribution away from softmax(logits / T), which is what the
trainer learns, with the values at which they do not."""
