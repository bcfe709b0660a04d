"""Counting votes, breaking ties and rewarding agreement."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttrl_server.types import FinishReason, Rollout, Vote
from ttrl_server.voting import Ballot, agreement, vote_over
from ttrl_server.voting.tally import confidence, most_certain, vote, weight


def rollout(
    index: int, text: str, logprobs: tuple[float, ...] = (-0.5, -0.5), finish: FinishReason = "stop"
) -> Rollout:
    return Rollout(index, tuple(range(len(logprobs))), logprobs, text, finish)


def ballot_of(*texts: str, question: str | None = None) -> Ballot:
    ballot = Ballot(question)
    for index, text in enumerate(texts):
        ballot.add(rollout(index, text))
    return ballot


def test_the_worked_example_of_the_method_rewards_those_who_said_two() -> None:
    outcome = vote(list("11222456"), [-1.0] * 8)
    assert (outcome.pseudo_label, outcome.majority_ratio, outcome.margin) == ("2", 3 / 8, 1 / 8)
    assert agreement(outcome, 8) == (0, 0, 1, 1, 1, 0, 0, 0)
    truth = (0.0,) * 8
    assert sum(a == b for a, b in zip(agreement(outcome, 8), truth, strict=True)) / 8 == 0.625


def test_equivalent_spellings_vote_together_under_the_form_of_the_lowest_index() -> None:
    outcome = vote(["3", "0.5", "1/2", "3", r"\frac12"], [-1.0] * 5)
    assert outcome.clusters[0].members == (1, 2, 4)
    assert outcome.pseudo_label == outcome.clusters[0].answer == "0.5"


def test_rollouts_without_an_answer_do_not_vote_but_stay_in_the_denominator() -> None:
    outcome = vote([None, None, None, "7"], [-1.0] * 4)
    assert (outcome.pseudo_label, outcome.majority_ratio, outcome.margin) == ("7", 0.25, 0.25)
    assert agreement(outcome, 4) == (0, 0, 0, 1)


def test_no_answers_at_all_reward_nobody() -> None:
    outcome = vote([None, None], [-1.0, -2.0], "deadline")
    assert outcome == Vote((None, None), (), None, None, None, chosen=0, stopped="deadline")
    assert agreement(outcome, 2) == (0, 0)


def test_a_tie_goes_to_the_more_confident_cluster_and_then_to_the_lowest_index() -> None:
    assert vote(["a", "b", "a", "b"], [-2.0, -1.0, -2.0, -1.5]).pseudo_label == "b"
    assert vote(["a", "b"], [-math.inf, -9.0]).pseudo_label == "b"  # a rollout without tokens
    outcome = vote(["b", "a", "a", "b"], [-1.0] * 4)
    assert (outcome.pseudo_label, outcome.margin, outcome.chosen) == ("b", 0.0, 0)


def test_the_chosen_rollout_is_the_most_confident_winner_not_the_most_confident_of_all() -> None:
    assert vote(["a", "b", "a", "a"], [-3.0, -0.1, -1.0, -1.0]).chosen == 2


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 answers but 1 confidences"):
        vote(["a", "b"], [-1.0])


def test_confidence_is_the_mean_log_probability_of_the_tokens() -> None:
    assert confidence(rollout(0, "", (-1.0, -3.0))) == -2.0
    assert confidence(rollout(0, "", ())) == -math.inf
    assert confidence(rollout(0, "", (math.nan, -1.0))) == -math.inf


def test_a_group_is_judged_by_index_whatever_the_order_of_arrival() -> None:
    first = rollout(0, "The answer is 4.", (-0.9,))
    second = rollout(1, r"\boxed{4}", (-0.1,))
    cut = rollout(2, "so far 4", (-0.1,), "length")
    other = rollout(3, "It is 5", (-0.1,))
    outcome = vote_over((other, cut, second, first))
    assert outcome == vote_over((first, second, cut, other))
    assert outcome.answers == ("4", "4", None, "5")
    assert (outcome.pseudo_label, outcome.majority_ratio, outcome.margin) == ("4", 0.5, 0.25)
    assert (outcome.chosen, outcome.stopped) == (1, "full")


def test_a_question_that_lists_choices_is_judged_by_letter() -> None:
    outcome = ballot_of("(B)", "B) seven", "A", question="Pick: (A) six (B) seven").count()
    assert (outcome.pseudo_label, outcome.majority_ratio) == ("B", 2 / 3)


SPELLINGS = st.sampled_from(
    [None, "1/2", "0.5", r"\frac12", "2", "2.0", "x = 2", "B", "(b)", "1, 2", "2, 1", "west"]
)
CONFIDENCES = st.floats(min_value=-20, max_value=0) | st.just(-math.inf)
SAMPLES = st.lists(st.tuples(SPELLINGS, CONFIDENCES), min_size=1, max_size=24)


@given(SAMPLES, st.data())
def test_the_order_of_the_samples_changes_neither_clusters_nor_counts(
    samples: list[tuple[str | None, float]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(samples))))
    plain = vote([answer for answer, _ in samples], [nats for _, nats in samples])
    shuffled = vote([samples[i][0] for i in order], [samples[i][1] for i in order])
    assert {frozenset(order[i] for i in cluster.members) for cluster in shuffled.clusters} == {
        frozenset(cluster.members) for cluster in plain.clusters
    }
    assert (shuffled.majority_ratio, shuffled.margin) == (plain.majority_ratio, plain.margin)


@given(SAMPLES)
def test_the_reward_is_the_share_of_the_winner_and_the_chosen_rollout_earns_it(
    samples: list[tuple[str | None, float]],
) -> None:
    outcome = vote([answer for answer, _ in samples], [nats for _, nats in samples])
    earned = agreement(outcome, len(samples))
    assert sum(earned) / len(samples) == (outcome.majority_ratio or 0)
    assert earned[outcome.chosen] == 1 or outcome.pseudo_label is None
    sizes = [len(cluster.members) for cluster in outcome.clusters]
    assert sizes == sorted(sizes, reverse=True)


def test_a_confident_minority_wins_a_weighted_vote_and_counts_stay_counts() -> None:
    answers, nats = ["a", "a", "a", "b", "b"], [-3.0, -3.0, -3.0, -0.1, -0.1]
    assert vote(answers, nats).pseudo_label == "a"
    weighted = vote(answers, nats, weights=[weight(each) for each in nats])
    assert (weighted.pseudo_label, weighted.majority_ratio, weighted.margin) == ("b", 2 / 5, -1 / 5)
    assert [len(cluster.members) for cluster in weighted.clusters] == [2, 3]


def test_a_vote_weighs_the_geometric_mean_of_its_tokens_probabilities() -> None:
    assert weight(math.log(0.25)) == pytest.approx(0.25)
    assert weight(-math.inf) == 0
    assert weight(0.1) == 1  # rounding must not make a vote heavier than the exact rule allows for


def test_the_best_of_n_is_the_most_certain_that_was_not_cut_off() -> None:
    cut = replace(rollout(0, "a", finish="length"), certainty=9.0)
    less, more = (replace(rollout(int(nats), "b"), certainty=nats) for nats in (1.0, 2.0))
    assert most_certain([cut, less, more]) == 2
    assert most_certain([cut]) == 0
    # Without a certainty the mean log-probability counts.
    assert most_certain([rollout(i, "a", (nats,)) for i, nats in enumerate((-2, -1, -1))]) == 1


# ---------------------------------------------------------------- while samples come in


def test_an_answer_that_has_no_value_is_counted_as_it_is_spelt_and_the_others_by_theirs() -> None:
    answers = ("9^{9^{9^9}}", r"\sqrt{8}", r"2\sqrt2", "9^{9^{9^9}}", "2^{3/2}")
    texts = (f"\\boxed{{{answer}}}" for answer in answers)
    outcome = ballot_of(*texts, question="What is it?").count("exact")
    assert outcome.stopped == "exact"
    assert [cluster.members for cluster in outcome.clusters] == [(1, 2, 4), (0, 3)]


def test_a_vote_is_not_decided_by_values_that_may_yet_turn_out_to_have_another_unit() -> None:
    """Twelve of twenty say 5 or 5 cm; should one still say 5 m, the 5 would belong to nobody."""
    texts = (f"The answer is {length}." for length in ["5 cm"] * 6 + ["5"] * 6 + ["7 cm"] * 3)
    ballot = ballot_of(*texts, question="How long is it?")
    assert ballot.count().majority_ratio == 12 / 15
    assert not ballot.decided("exact", 0.99, 20)
    for i in range(15, 19):
        ballot.add(rollout(i, "The answer is 5 cm."))
    assert ballot.decided("exact", 0.99, 20)


@pytest.mark.parametrize(
    ("texts", "votable"),
    [
        (["The answer is 7."] * 4, True),
        ([r"\boxed{7}", r"\boxed{8}", "Hm.", "Hm."], True),
        ([r"\boxed{7}", "Hm.", "Hm.", "Hm."], False),
        (["Hello!", "Hi there.", "How are you?", "Good day."], False),
        (["So it is 12", "That makes 13", "14", "It is 15"], True),
        (["In 1492 he sailed.\nThe end.", "By 1500 he was old.\nSo it goes."], False),
        (["It took 3 days.\nThat is all.", "3 days, I think.\nYes."], True),
    ],
)
def test_prose_is_not_voted_on_though_it_has_numbers(texts: list[str], votable: bool) -> None:
    assert ballot_of(*texts).votable() is votable


def test_samples_that_were_cut_off_do_not_make_a_question_unvotable() -> None:
    ballot = ballot_of(r"\boxed{7}")
    for i, text in enumerate(["Let me think", "First we", "Note that"], 1):
        ballot.add(rollout(i, text, finish="length"))
    assert ballot.votable()


# ---------------------------------------------------------------- verified votes


def test_a_minority_that_reckons_rightly_wins_a_verified_vote() -> None:
    texts = ["7 * 8 = 54"] * 3 + ["7 * 8 = 56"] * 2 + ["I think 54"]
    ballots = {how: Ballot("What is 7 * 8?", weighting=how) for how in ("uniform", "verified")}
    for ballot in ballots.values():
        for index, text in enumerate(texts):
            ballot.add(rollout(index, text))
    assert ballots["uniform"].count().pseudo_label == "54"
    found = ballots["verified"].count()
    assert (found.pseudo_label, found.majority_ratio) == ("56", pytest.approx(2 / 6))


def test_a_verified_vote_is_settled_by_weights_and_not_by_counting() -> None:
    """Four of six agree, each with a third of a vote: the two others may both check."""
    ballot = Ballot("What is 7 * 8?", weighting="verified")
    for index in range(4):
        ballot.add(rollout(index, "54"))
    assert not ballot.decided("exact", 0.99, 6)
    for index in range(4, 8):
        ballot.add(rollout(index, "7 * 8 = 56"))
    assert ballot.decided("exact", 0.99, 9)
    assert ballot.count().pseudo_label == "56"
