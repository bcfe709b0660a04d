"""Each guard on a group, acting: the one reason why it is not trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ttrl_server.learning.admission import admit
from ttrl_server.settings.sections import GuardConfig
from ttrl_server.types import Group, Question, Rollout, Sampling, VoteOptions
from ttrl_server.voting import agreement
from ttrl_server.voting.tally import vote

GUARD = GuardConfig(min_majority=0.5, min_margin=0.15, min_extractable=0.5)
QUESTION = Question("q", "t", "1 + 1?", "completion", "m", None, Sampling(0.6), VoteOptions(10))


def admission(
    answers: str, question: Question = QUESTION, guard: GuardConfig = GUARD, **rollout: Any
) -> str:
    """The admission on a group that answers one letter each, a dot for no answer."""
    said = [None if letter == "." else letter for letter in answers]
    outcome = vote(said, [-1.0] * len(answers))
    drawn = [Rollout(i, (1, 2), (-0.1, -0.2), letter, "stop") for i, letter in enumerate(answers)]
    drawn[0] = replace(drawn[0], **rollout)
    group = Group("q", (1,), tuple(drawn), 0, 0.6)
    return admit(question, group, outcome, agreement(outcome, len(answers)), guard).reason


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ("aaaaaaabbc", "queued"),
        ("aaaaaaaaaa", "unanimous"),
        ("..........", "no_answer"),
        ("aaaa......", "unextractable"),
        ("aaaabbcdef", "no_consensus"),  # 0.4 of the votes
        ("aaaaabbbbb", "no_consensus"),  # no lead
        ("aaaaaabbbb", "queued"),
    ],
)
def test_a_group_is_admitted_inside_the_consensus_window(answers: str, reason: str) -> None:
    assert admission(answers) == reason


def test_without_a_window_any_majority_will_do() -> None:
    assert admission("aabcdefghi", guard=GuardConfig(min_majority=0, min_margin=0)) == "queued"


def test_a_given_label_needs_no_consensus() -> None:
    assert admission("aaaabbcdef", replace(QUESTION, label="b")) == "queued"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"finish_reason": "abort"}, "aborted"),
        ({"logprobs": (-0.1,)}, "incomplete_samples"),
        ({"token_ids": (), "logprobs": ()}, "incomplete_samples"),
    ],
)
def test_samples_that_cannot_be_scored_never_train(change: dict[str, Any], reason: str) -> None:
    assert admission("aaaaaaabbc", **change) == reason
    assert admission("aaaaaaabbc", replace(QUESTION, label="a"), **change) == reason


def test_bent_sampling_is_not_trained_on() -> None:
    bent = replace(QUESTION, sampling=Sampling(0.6, extra={"top_p": 0.9}))
    assert admission("aaaaaaabbc", bent) == "sampling_parameters"
    straight = replace(QUESTION, sampling=Sampling(0.6, extra={"top_p": 1.0}))
    assert admission("aaaaaaabbc", straight) == "queued"


TWO = "Which is heavier?\nA) a cat\nB) a horse\nAnswer with the letter."


@pytest.mark.parametrize(
    ("question", "votes", "reason"),
    [
        (TWO, "AAAAAABBBB", "no_consensus"),  # 0.6, where chance has half
        (TWO, "AAAAAAAABB", "queued"),
        ("1 + 1?", "AAAAAABBBB", "queued"),
    ],
)
def test_a_consensus_is_one_above_chance(question: str, votes: str, reason: str) -> None:
    assert admission(votes, replace(QUESTION, prompt=question)) == reason


@pytest.mark.parametrize(("agree", "reason"), [(7, "echo"), (8, "queued")])
def test_one_of_two_numbers_of_its_own_question_needs_three_quarters(
    agree: int, reason: str
) -> None:
    """The smaller of two numbers had won with 0.56 to 0.69, and was learned."""
    asked, guard = replace(QUESTION, prompt="Which is larger, 3 or 7?"), GuardConfig()
    assert admission("3" * agree + "7" * (10 - agree), asked, guard) == reason


def test_without_the_guard_what_wins_less_than_chance_is_learned_too() -> None:
    guard = GuardConfig(min_majority=0)
    assert admission("AAAAB.....", replace(QUESTION, prompt=TWO), guard) == "queued"
