"""Forms of questions that are won by their own words, or by one answer."""

from __future__ import annotations

import random

import pytest

from ttrl_server.answers import echoes
from ttrl_server.promotion.attractors import Attractors, Suspicion
from ttrl_server.types import Group, Rollout, Vote
from ttrl_server.voting.tally import vote

COUNTRIES = [
    "Chile",
    "Peru",
    "Kenya",
    "Japan",
    "Norway",
    "Egypt",
    "Cuba",
    "Ghana",
    "Nepal",
    "Spain",
]


def capital(country: str) -> str:
    return f"What is the capital of {country}? Answer with just the word."


def show(
    forms: Attractors, text: str, answer: str, version: int, share: float = 1.0, trains: bool = True
) -> Suspicion | None:
    """One group in which a share of ten samples gave the answer."""
    most = round(10 * share)
    said: list[str | None] = [*[answer] * most, *(f"other{i}" for i in range(10 - most))]
    prompt = tuple(text.encode())
    rollouts = (Rollout(0, (1,), (-0.1,), answer, "stop"),)
    counted: Vote = vote(said, [-1.0] * 10)
    forms.see(Group("q", prompt, rollouts, version, 0.6), counted, text, trains=trains)
    return forms.suspicion()


@pytest.mark.parametrize(
    ("answer", "question", "is_one"),
    [
        ("Chile", "What is the capital of Chile?", True),
        ("chile", "What is the capital of Chile?", True),
        ("18", "What is 18 - 1?", True),
        ("8", "What is 18 - 1?", False),
        ("1", "What is 1.5 + 1.5?", False),
        ("Santiago", "What is the capital of Chile?", False),
        ("B", "Which is right?\nA) cats\nB) dogs\nC) birds\nAnswer with the letter.", False),
        ("yes", "Is 7 prime? Answer yes or no.", False),
        (None, "What is 18 - 1?", False),
        ("18", None, False),
    ],
)
def test_an_echo_is_a_word_of_a_question_that_did_not_offer_it(
    answer: str | None, question: str | None, is_one: bool
) -> None:
    assert echoes(answer, question) is is_one


def test_echoes_that_come_with_learning_are_suspected_within_two_versions() -> None:
    """Capital of Chile → Chile had won with 0.31 of the votes; two versions later all did."""
    forms = Attractors()
    for country in COUNTRIES[:4]:
        assert show(forms, capital(country), country if country == "Chile" else "X", 0, 0.3) is None
    found = [show(forms, capital(c), c, 1 + (i > 3)) for i, c in enumerate(COUNTRIES[2:])]
    suspicion = next(each for each in found if each)
    assert suspicion.winner is None
    assert suspicion.before == 0  # the label that began it was drawn by the base model
    assert "capital of" in str(suspicion)


def test_answers_that_always_stood_in_their_questions_are_not() -> None:
    forms, order = Attractors(), random.Random(0)
    for version in (0, 1, 2, 3):
        for _ in range(8):
            a, b = order.sample(range(10, 99), 2)
            text = f"Take the larger number of {a} and {b}."
            assert show(forms, text, str(max(a, b)), version) is None


def test_one_answer_for_all_is_suspected_and_its_form_alone_is_withheld() -> None:
    forms = Attractors()
    for i, country in enumerate(COUNTRIES[:5]):
        show(forms, capital(country), f"city{i}", 0, 0.3)
    found = None
    for country in COUNTRIES[5:]:
        found = found or show(forms, capital(country), "Paris", 1)
    for country in COUNTRIES[:3]:
        found = found or show(forms, capital(country), "Paris", 2)
    assert found
    assert found.winner == "Paris"
    forms.withhold(found)
    label = vote(["Paris"] * 3, [-1.0] * 3)
    assert forms.withholds(label, capital("France"))
    assert not forms.withholds(vote(["Rome"] * 3, [-1.0] * 3), capital("Italy"))
    assert not forms.withholds(label, "Where was the treaty of 1783 signed?")


def test_a_suspicion_is_confirmed_only_where_the_base_model_answers_otherwise() -> None:
    forms = Attractors()
    for i, country in enumerate(COUNTRIES[:4]):
        show(forms, capital(country), f"city{i}", 0, 0.3)
    found = None
    for country in COUNTRIES[2:]:
        found = show(forms, capital(country), country, 1) or found
    assert found
    served = [canary.text.split("of ")[1].split("?")[0] for canary in found.asked if canary.text]
    assert found.is_of(["X"] * len(served), served)
    assert found.is_of([None] * len(served), served)
    assert not found.is_of(served, served)
    forms.clear(found)
    assert show(forms, capital("Malta"), "Malta", 1) is None


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_healthy_lineage_is_hardly_ever_suspected(share: float) -> None:
    """Ten versions over four forms that sharpen; every suspicion is a false one, which costs some
    draws of the base model: 3,200 groups are looked at."""
    order, suspected = random.Random(1), 0
    for _ in range(20):
        forms = Attractors()
        for version in range(10):
            for _ in range(4):
                for kind in ("+", "-", "*", "/"):
                    a, b = order.randint(2, 99), order.randint(2, 99)
                    right = order.random() < 0.3 + 0.06 * version
                    wrong = str(a) if order.random() < 0.3 else str(order.randint(1, 200))
                    text = f"What is {a} {kind} {b}?"
                    answer = f"r{a}{kind}{b}" if right else wrong
                    suspected += bool(show(forms, text, answer, version, share))
    assert suspected <= 2
