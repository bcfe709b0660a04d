"""What a rollout earns: by the vote, with a consensus window, by a label, by a person."""

from __future__ import annotations

import pytest

from ttrl_server.answers import Asked
from ttrl_server.types import Vote
from ttrl_server.voting import agreement, any_answer, at_random, feedback, labelled, signed
from ttrl_server.voting.tally import vote

WINDOW = {"majority": 0.5, "margin": 0.15, "rare": 0.15}


def counted(answers: str) -> Vote:
    """One answer a letter, a dot for none."""
    return vote([None if letter == "." else letter for letter in answers], [-1.0] * len(answers))


@pytest.mark.parametrize(
    ("answers", "earned"),
    [
        ("aaaaaabbcd", (1, 1, 1, 1, 1, 1, 0, 0, -1, -1)),  # 0.6, 0.2, 0.1, 0.1: inside the window
        ("aaaabbbbcd", (0, 0, 0, 0, 0, 0, 0, 0, -1, -1)),  # no margin: negatives only
        ("aaaaaa...b", (1, 1, 1, 1, 1, 1, 0, 0, 0, -1)),  # no answer earns nothing
        ("abcdefghij", (-1,) * 10),  # every answer is rare
    ],
)
def test_a_signed_reward_has_a_consensus_window(answers: str, earned: tuple[float, ...]) -> None:
    assert signed(counted(answers), 10, **WINDOW) == earned


def test_only_the_rollouts_that_train_earn() -> None:
    assert agreement(counted("abaa"), 2) == (1, 0)
    assert signed(counted("aaab"), 2, **WINDOW) == (1, 1)
    assert labelled(counted("aaab"), "b", 3, Asked()) == (0, 0, 0)
    assert feedback(counted("baaa"), 1, 2) == (0, 1)
    assert any_answer(counted("ab.a"), 3) == (1, 1, 0)
    assert len(at_random("question", 3)) == 3


def test_a_coin_is_fair_and_tossed_by_the_question_alone() -> None:
    tosses = [at_random(f"question {n}", 8) for n in range(200)]
    assert 700 < sum(map(sum, tosses)) < 900
    assert len(set(tosses)) > 100
    assert tosses == [at_random(f"question {n}", 8) for n in range(200)]


def test_a_label_rewards_what_is_equivalent_to_it() -> None:
    outcome = vote(["0.5", "1/2", "2", None], [-1.0] * 4)
    assert labelled(outcome, "\\frac{1}{2}", 4, Asked()) == (1, 1, 0, 0)


def test_a_persons_score_is_for_every_rollout_with_the_returned_answer() -> None:
    assert feedback(counted("abaa"), 1, 4) == (1, 0, 1, 1)
    assert feedback(counted("abaa"), -1, 4) == (-1, 0, -1, -1)
    assert feedback(counted("..."), -1, 3) == (-1, 0, 0)  # without a vote for that rollout alone
