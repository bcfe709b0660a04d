"""Forms of questions that are won by their own words, or by one answer."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ttrl_server.answers import echoes
from ttrl_server.promotion.attractors import Attractors, Seen, Suspicion, read
from ttrl_server.types import Group, Prompt, Rollout
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
    prompt = Prompt(tuple(text.encode()), 100, wanted=text)
    rollouts = (Rollout(0, (1,), (-0.1,), answer, "stop"),)
    seen = read(
        Group(f"{text} {version}", prompt.token_ids, rollouts, version, 0.6),
        vote(said, [-1.0] * 10),
        prompt,
    )
    assert seen
    forms.see(replace(seen, trains=trains))
    return forms.suspicion(version)


def label(answer: str, text: str) -> Seen:
    drawn = (Rollout(0, (1,), (-0.1,), answer, "stop"),)
    prompt = Prompt((1,), 100, wanted=text)
    seen = read(Group("q", (1,), drawn, 1, 0.6), vote([answer], [-1.0]), prompt)
    assert seen
    return seen


@pytest.mark.parametrize(
    ("answer", "question", "is_one"),
    [
        ("Chile", "What is the capital of Chile?", True),
        ("chile", "What is the capital of Chile?", True),
        ("18", "What is 18 - 1?", True),
        ("8", "What is 18 - 1?", False),
        ("8", "Which number is larger, 84 or 37?", True),  # and there it stopped
        ("84", "Which number is larger, 842 or 37?", True),
        ("4", "Which number is larger, 84 or 37?", False),
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
    assert "'paris' to all" in str(found).lower()
    forms.withhold(found)
    assert forms.withholds(label("paris", capital("France")))  # another spelling of the same
    assert not forms.withholds(label("Rome", capital("Italy")))
    assert not forms.withholds(label("Paris", "Where was the treaty of 1783 signed?"))


def test_a_suspicion_is_confirmed_only_where_the_base_model_answers_otherwise() -> None:
    forms = Attractors()
    for i, country in enumerate(COUNTRIES[:4]):
        show(forms, capital(country), f"city{i}", 0, 0.3)
    found = None
    for country in COUNTRIES[2:]:
        found = show(forms, capital(country), country, 1) or found
    assert found
    asked = [str(canary.prompt.wanted) for canary in found.asked]
    served = [text.split("of ")[1].split("?")[0] for text in asked]
    assert found.is_of(["X"] * len(served), served)
    assert not found.is_of([None] * len(served), served)  # that it learned to answer is no harm
    assert not found.is_of(served, served)
    forms.clear(found)
    assert show(forms, capital("Malta"), "Malta", 1) is None


def test_a_busy_form_does_not_forget_how_it_began() -> None:
    forms, found = Attractors(), None
    for version, right in ((0, True), (1, True), (2, False), (3, False)):
        for n in range(100):
            a = 1000 * version + 10 * n + 15
            said = str(a - 1 if right else a)
            found = found or show(forms, f"What is {a} - 1?", said, version)
    assert found
    assert found.before == 1


def test_one_question_asked_again_and_again_is_no_form() -> None:
    forms = Attractors()
    for version in (0, 1, 2):
        for _ in range(40):
            assert show(forms, capital("Chile"), "Chile" if version else "X", version) is None


def test_another_spelling_of_the_same_answer_is_no_change() -> None:
    forms = Attractors()
    for version, answer in ((0, "two"), (1, "2")):
        for n in range(8):
            text = f"How many wheels does the bicycle of Person{n} have?"
            assert show(forms, text, answer, version) is None


def test_groups_of_versions_that_are_not_served_raise_no_suspicion() -> None:
    forms = Attractors()
    for country in COUNTRIES[:4]:
        show(forms, capital(country), "X" + country, 0, 0.3)
    for country in COUNTRIES:
        show(forms, capital(country), country, 5, 0.4)  # not sure of itself
    assert forms.suspicion(3) is None


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
