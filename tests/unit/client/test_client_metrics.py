from __future__ import annotations

import pytest
from ttrl_client.metrics import (
    Graded,
    calibration_error,
    discrimination,
    majority,
    score,
    score_vote,
)
from ttrl_client.report import beyond_answering
from ttrl_client.votes import calibration

from ttrl_server.answers import asked


def test_avg_maj_and_pass_of_three_questions_by_hand() -> None:
    result = score(
        [
            Graded(("56", "56.0", "54", None), "56"),
            Graded(("1", "2", "2", "3"), "1"),
            Graded((None, None, "7", "8"), "9"),
        ],
        failed=2,
    )
    assert result.avg == pytest.approx((2 / 4 + 1 / 4 + 0) / 3)
    assert result.maj == pytest.approx(1 / 3)
    assert result.passed == pytest.approx(2 / 3)
    assert (result.answered, result.failed) == (3, 2)


def test_equivalent_spellings_vote_together_and_the_first_one_is_named() -> None:
    assert majority(("3", "1/2", "3", "0.5", "\\frac12")) == "1/2"


def test_a_tie_goes_to_the_answer_seen_first() -> None:
    assert majority((None, "8", "7", "7", "8")) == "8"


def test_samples_without_an_answer_have_no_majority() -> None:
    assert majority((None, None)) is None
    assert score([Graded((None, None), "1")]).maj == 0


def test_a_set_without_answers_has_no_figures_rather_than_zero() -> None:
    result = score([], failed=3)
    assert (result.avg, result.maj, result.passed) == (None, None, None)


def test_the_papers_example_of_a_wrong_label_with_mostly_right_rewards() -> None:
    # truth 3, answers 1 1 2 2 2 4 5 6: the label 2 is wrong, five of eight rewards are right
    graded = score_vote("2", {"1": 2, "2": 3, "4": 1, "5": 1, "6": 1}, votes=8, truth="3")
    assert (graded.label_accuracy, graded.ground_truth_ratio) == (0.0, 0.0)
    assert graded.reward_accuracy == pytest.approx(0.625)


def test_a_right_label_gives_every_sample_its_true_reward() -> None:
    graded = score_vote("56.0", {"56": 5, "54": 2}, votes=8, truth="56")
    assert (graded.label_accuracy, graded.reward_accuracy) == (1.0, 1.0)
    assert graded.ground_truth_ratio == pytest.approx(5 / 8)


def test_the_servers_word_decides_which_samples_were_rewarded() -> None:
    """The server counted two spellings apart: only the winner's voters earned the reward."""
    graded = score_vote("5 cm", {"5 cm": 5, "5": 3}, votes=8, truth="5")
    assert (graded.label_accuracy, graded.ground_truth_ratio) == (1.0, 1.0)
    assert graded.reward_accuracy == pytest.approx(5 / 8)


def test_an_answer_for_another_variable_is_another_answer() -> None:
    assert majority(["y = 5", "x = 5", "x=5"], asked("x + y = 9. What is x?")) == "x = 5"


def test_a_vote_without_a_winner_still_grades_its_samples() -> None:
    assert score_vote(None, {}, votes=8, truth="56").reward_accuracy == 1.0


def test_a_vote_for_another_variable_is_wrong_and_so_are_its_rewards() -> None:
    graded = score_vote(
        "y = 5", {"y = 5": 3, "x = 4": 1}, votes=4, truth="x = 5", asked=asked("Find x and y.")
    )
    assert (graded.label_accuracy, graded.ground_truth_ratio) == (0.0, 0.0)
    assert graded.reward_accuracy == pytest.approx(1 / 4)


def test_what_was_gained_beyond_learning_to_answer_by_hand() -> None:
    """Half answered and half of those right; then all answer: 0.5 right would be just that."""
    before, after = {"avg@2": 0.25, "extractable": 0.5}, {"avg@2": 0.8, "extractable": 1.0}
    found = beyond_answering(before, after, "avg@2")
    assert found == pytest.approx(0.3)
    assert beyond_answering(before | {"extractable": 0.0}, after, "avg@2") is None
    assert beyond_answering({"avg@2": 0.25}, after, "avg@2") is None  # a report of 0.1


def test_the_share_of_samples_that_answer_is_scored() -> None:
    found = score([Graded(("7", None), "7"), Graded(("1", "2"), "2")])
    assert found.extractable == 0.75


def test_how_far_stated_probabilities_are_from_the_share_that_is_right() -> None:
    """Two answers at 0.9 of which one is right, two at 0.1 of which none is: by hand."""
    stated, right = [0.9, 0.9, 0.1, 0.1], [True, False, False, False]
    assert calibration_error(stated, right) == pytest.approx((2 * 0.4 + 2 * 0.1) / 4)
    assert discrimination(stated, right) == pytest.approx((1 + 1 + 0.5) / 3)
    assert calibration_error([1.0, 1.0], [True, True]) == 0
    assert discrimination([1.0, 1.0], [True, True]) is None
    assert calibration_error([], []) == 0


def test_what_votes_say_of_themselves_is_measured_by_episode() -> None:
    def row(episode: int, right: bool, **vote: float) -> dict[str, object]:
        return {"phase": f"episode {episode}/2 batch 1/1", "right": right, "vote": vote}

    found = calibration(
        [
            row(1, right=True, majority_ratio=0.9),
            row(2, right=True, majority_ratio=1.0, confidence=0.8),
            row(2, right=False, majority_ratio=1.0, confidence=0.2),
            {"phase": "held_out after", "right": True},
            {"phase": "episode 2/2 batch 1/1", "error": "gone"},
        ]
    )
    assert [(each["episode"], each["votes"]) for each in found] == [("1/2", 1), ("2/2", 2)]
    assert found[0]["confidence"] is None  # a server of 0.1
    assert found[1]["majority_ratio"] == {"mean": 1.0, "ece": 0.5, "auc": 0.5}
    assert found[1]["confidence"]["auc"] == 1
    assert found[1]["confidence"]["ece"] == pytest.approx(0.2)
