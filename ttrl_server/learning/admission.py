"""Admission of one group, without the history of its question."""

from __future__ import annotations

from typing import Any

from ttrl_server.answers import by_chance, echoes
from ttrl_server.settings.sections import GuardConfig
from ttrl_server.types import Admission, Group, Question, Vote
from ttrl_server.voting.confidence import ALONE, Alike
from ttrl_server.voting.signals import answered

QUEUED = Admission(True, "queued")
UNSOUND = (
    *("aborted", "incomplete_samples", "sampling_parameters", "grammar", "cancelled"),
    "held_back",
)
"""Reasons that a label cannot change: the trainer cannot score these rollouts, or must not."""


def admit(
    question: Question,
    group: Group,
    vote: Vote,
    rewards: tuple[float, ...],
    guard: GuardConfig,
    alike: Alike = ALONE,
    *,
    weighs: bool = True,
) -> Admission:
    """The admission of a group: ``queued``, or the one reason why it is not trained on.

    ``weighs``: the trainer weighs every token by its own π_θ / π_engine. A given label
    (``Question.label``) is always good enough; a pseudo-label must pass the guards.
    """
    reason = _unsound(question, group)
    if reason is None and group.bent.get("grammar") and not weighs:
        reason = "grammar"
    if reason is None and question.label is None:
        reason = _no_label(question, vote, rewards, guard)
        if reason is None and guard.attractors and alike.constant:
            reason = "constant"
        if reason is None and alike.support < guard.min_support:
            reason = "unsupported"
        if reason is None and (vote.confidence or 1.0) < guard.min_confidence:
            reason = "unsure"
        if reason is None and alike.known < guard.min_known:
            reason = "guessed"
        if reason is None and alike.unread:
            reason = "unread"
        if reason is None and not alike.agreed:
            reason = "wording"
    if reason is None and len(set(rewards)) < 2:
        reason = "unanimous"  # zero advantage for every sample (docs/method.md, section 4.9)
    return Admission(False, reason) if reason else QUEUED


def _unsound(question: Question, group: Group) -> str | None:
    """Why the trainer cannot score these rollouts as they were sampled; else None."""
    if any(rollout.finish_reason == "abort" for rollout in group.rollouts):
        return "aborted"
    if any(len(r.token_ids) != len(r.logprobs) or not r.token_ids for r in group.rollouts):
        return "incomplete_samples"
    given = question.sampling.extra.items()
    if group.bent.get(BUDGET):  # the engine has ended the thinking itself
        return "sampling_parameters"
    if any(value not in CHANGES_NOTHING.get(name, (value,)) for name, value in given):
        return "sampling_parameters"
    return None


def _no_label(
    question: Question, vote: Vote, rewards: tuple[float, ...], guard: GuardConfig
) -> str | None:
    """Why the vote has no usable pseudo-label; else None. SCRL's window is arXiv 2603.19880."""
    if vote.pseudo_label is None:
        return "unvotable" if vote.stopped == "unvotable" else "no_answer"
    if vote.stopped == "deadline":  # only the quickest samples, which are short, have voted
        return vote.stopped
    if answered(vote.answers) < guard.min_extractable:
        return "unextractable"
    wanted, margin = question.wanted, vote.margin or 0.0
    # Of two offered answers one wins half of the votes of a model that does not read the question.
    chance = by_chance(vote.pseudo_label, wanted)
    majority = max(0.0, ((vote.majority_ratio or 0.0) - chance) / (1 - chance))
    inside = majority >= guard.min_majority and margin >= guard.min_margin
    if not any(reward > 0 for reward in rewards):
        return None
    if not inside:
        return "no_consensus"
    if majority < guard.min_echo and echoes(vote.pseudo_label, wanted):
        return "echo"
    return None


BUDGET = "thinking_token_budget"
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
"""Sampling parameters, each with the values that do not change the sampled distribution.
The trainer scores with softmax(logits / T): any other value makes engine and trainer differ."""
