"""Counting votes, breaking ties and rewarding agreement."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttrl_server.types import Rollout
from ttrl_server.voting import Ballot, agreement, vote_over
from ttrl_server.voting.tally import confidence, most_certain, vote, weight


def rollout(
    index: int, text: str, logprobs: tuple[float, ...] = (-0.5, -0.5), finish: str = "stop"
) -> Rollout:
    tokens = tuple(range(len(logprobs)))
    return Rollout(index, tokens, logprobs, text, finish)  # type: ignore[arg-type]


def test_the_worked_example_of_the_method_rewards_those_who_said_two() -> None:
    outcome = vote(list("11222456"), [-1.0] * 8)
    assert outcome.pseudo_label == "2"
    assert outcome.majority_ratio == 3 / 8
    assert outcome.margin == 1 / 8
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
    assert (outcome.pseudo_label, outcome.majority_ratio, outcome.margin, outcome.chosen) == (
        None,
        None,
        None,
        0,
    )
    assert outcome.clusters == ()
    assert outcome.stopped == "deadline"
    assert agreement(outcome, 2) == (0, 0)


def test_a_tie_goes_to_the_more_confident_cluster() -> None:
    assert vote(["a", "b", "a", "b"], [-2.0, -1.0, -2.0, -1.5]).pseudo_label == "b"


def test_a_tie_in_confidence_goes_to_the_lowest_index() -> None:
    outcome = vote(["b", "a", "a", "b"], [-1.0] * 4)
    assert (outcome.pseudo_label, outcome.margin, outcome.chosen) == ("b", 0.0, 0)


def test_the_chosen_rollout_is_the_most_confident_winner_not_the_most_confident_of_all() -> None:
    assert vote(["a", "b", "a", "a"], [-3.0, -0.1, -1.0, -1.0]).chosen == 2


def test_only_the_rollouts_that_train_are_rewarded() -> None:
    assert agreement(vote(["a", "b", "a", "a"], [-1.0] * 4), 2) == (1, 0)


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 answers but 1 confidences"):
        vote(["a", "b"], [-1.0])


def test_confidence_is_the_mean_log_probability_of_the_tokens() -> None:
    assert confidence(rollout(0, "", (-1.0, -3.0))) == -2.0
    assert confidence(rollout(0, "", ())) == -math.inf
    assert confidence(rollout(0, "", (math.nan, -1.0))) == -math.inf


def test_a_rollout_without_tokens_never_wins_a_tie() -> None:
    assert vote(["a", "b"], [-math.inf, -9.0]).pseudo_label == "b"


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
    outcome = vote_over(
        (rollout(0, "(B)"), rollout(1, "B) seven"), rollout(2, "A")), "Pick: (A) six (B) seven"
    )
    assert (outcome.pseudo_label, outcome.majority_ratio) == ("B", 2 / 3)


SPELLINGS = st.sampled_from(
    [None, "1/2", "0.5", r"\frac12", "2", "2.0", "x = 2", "B", "(b)", "1, 2", "2, 1", "west"]
)
CONFIDENCES = st.floats(min_value=-20, max_value=0) | st.just(-math.inf)


@given(
    st.lists(st.tuples(SPELLINGS, CONFIDENCES), min_size=1, max_size=24),
    st.randoms(use_true_random=False),
)
def test_the_order_of_the_samples_changes_neither_clusters_nor_counts(
    samples: list[tuple[str | None, float]], random: object
) -> None:
    order = list(range(len(samples)))
    random.shuffle(order)  # type: ignore[attr-defined]
    plain = vote([answer for answer, _ in samples], [nats for _, nats in samples])
    shuffled = vote([samples[i][0] for i in order], [samples[i][1] for i in order])
    assert {frozenset(order[i] for i in cluster.members) for cluster in shuffled.clusters} == {
        frozenset(cluster.members) for cluster in plain.clusters
    }
    assert (shuffled.majority_ratio, shuffled.margin) == (plain.majority_ratio, plain.margin)


@given(st.lists(st.tuples(SPELLINGS, CONFIDENCES), min_size=1, max_size=24))
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
    weighted = vote(answers, nats, weighting="confidence")
    assert (weighted.pseudo_label, weighted.majority_ratio, weighted.margin) == ("b", 2 / 5, -1 / 5)
    assert [len(cluster.members) for cluster in weighted.clusters] == [2, 3]


def test_a_vote_weighs_the_geometric_mean_of_its_tokens_probabilities() -> None:
    assert weight(math.log(0.25)) == pytest.approx(0.25)
    assert weight(-math.inf) == 0
    assert weight(0.1) == 1  # rounding must not make a vote heavier than the exact rule allows for


def test_the_best_of_n_is_the_most_certain_that_was_not_cut_off() -> None:
    certain = replace(rollout(0, "a", finish="length"), certainty=9.0)
    rollouts = [
        certain,
        replace(rollout(1, "b"), certainty=2.0),
        replace(rollout(2, "c"), certainty=3.0),
    ]
    assert most_certain(rollouts) == 2
    assert most_certain([certain]) == 0
    assert (
        most_certain([rollout(0, "a", (-2.0,)), rollout(1, "b", (-1.0,)), rollout(2, "c", (-1.0,))])
        == 1
    )


# ---------------------------------------------------------------- while samples come in


def test_an_answer_that_has_no_value_is_counted_as_it_is_spelt_and_the_others_by_theirs() -> None:
    ballot = Ballot("What is it?")
    for i, text in enumerate(
        [
            r"\boxed{9^{9^{9^9}}}",
            r"\boxed{\sqrt{8}}",
            r"\boxed{2\sqrt2}",
            r"\boxed{9^{9^{9^9}}}",
            r"\boxed{2^{3/2}}",
        ]
    ):
        ballot.add(rollout(i, text))
    outcome = ballot.count("exact")
    assert (outcome.stopped, [c.members for c in outcome.clusters]) == (
        "exact",
        [(1, 2, 4), (0, 3)],
    )


def test_a_vote_is_not_decided_by_values_that_may_yet_turn_out_to_have_another_unit() -> None:
    """Twelve of twenty say 5 or 5 cm; should one still say 5 m, the 5 would belong to nobody."""
    ballot = Ballot("How long is it?")
    for i, text in enumerate(["5 cm"] * 6 + ["5"] * 6 + ["7 cm"] * 3):
        ballot.add(rollout(i, f"The answer is {text}."))
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
    ballot = Ballot()
    for i, text in enumerate(texts):
        ballot.add(rollout(i, text))
    assert ballot.votable() is votable


def test_samples_that_were_cut_off_do_not_make_a_question_unvotable() -> None:
    ballot = Ballot()
    for i, text in enumerate([r"\boxed{7}", "Let me think", "First we", "Note that"]):
        ballot.add(rollout(i, text, finish="stop" if i == 0 else "length"))
    assert ballot.votable()
