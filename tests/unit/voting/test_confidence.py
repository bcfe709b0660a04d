"""How sure one may be of a winner."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from ttrl_server.types import Vote
from ttrl_server.voting.confidence import ALONE, FORMS, QUESTIONS, Alike, Forms, anchored
from ttrl_server.voting.tally import vote


def parity(number: int) -> str:
    return f"Is {number} even or odd? Answer with just the word."


def capital(country: str) -> str:
    return f"What is the capital of {country}?"


def said(answer: str, agree: int, of: int) -> list[str | None]:
    return [*[answer] * agree, *(f"other {i}" for i in range(of - agree))]


def voted(answer: str, agree: int = 16) -> Vote:
    answers = said(answer, agree, 16)
    return vote(answers, [-1.0] * 16)


def test_one_answer_to_all_says_nothing_of_a_question_even_where_the_base_model_gives_it() -> None:
    forms = Forms()
    for number in range(11, 17):
        assert not forms.note(parity(number), "odd").constant  # five others are too few to tell
    known = forms.note(parity(17), "Odd")  # another spelling of the same
    assert known.constant
    assert known.same == 6 / 8
    assert forms.note(parity(17), "odd") == known  # the same question again
    other = forms.note(parity(18), "even")
    assert (other.same, other.constant) == (0, False)  # seven of eight: there is a question
    assert forms.note("Is the house red or blue?", "odd") == ALONE


def test_a_form_is_constant_again_whoever_wins_the_next_of_many() -> None:
    """Else only what differs would be taught, and taught to all."""
    forms = Forms()
    for number in range(11, 30):
        forms.note(parity(number), "odd")
    assert forms.note(parity(30), "even").constant


def test_what_is_remembered_is_bounded() -> None:
    forms = Forms()
    for i in range(2 * FORMS):
        forms.note("word " * (i + 1), "7")
    assert len(forms._winners) == FORMS
    for number in range(10 * QUESTIONS):
        forms.note(parity(number), str(number % 2))
    assert max(map(len, forms._winners.values())) == QUESTIONS


def test_without_a_text_or_a_winner_nothing_is_noted() -> None:
    forms = Forms()
    assert forms.note(None, "7") == forms.note("", "7") == forms.note("1 + 1?", None) == ALONE


def test_a_confidence_by_hand() -> None:
    text = capital("Chile")
    answers: list[str | None] = [*["Santiago"] * 3, "Lima", None]
    counted = vote(answers, [-1.0] * 5)
    base: list[str | None] = ["santiago", "Lima", None, None]
    found = anchored(counted, base, text)
    stated = found.confidence()
    assert stated == pytest.approx((3.5 / 5 + 1.5 / 3) / 2)
    assert (found.base_ratio, found.support) == (1 / 4, 1)
    halved = anchored(counted, base, text).confidence(Alike(same=1.0))
    assert halved == pytest.approx(stated / 2)
    echo = vote(["Chile"] * 3, [-1.0] * 3)
    assert anchored(echo, ["Chile"] * 3, text).confidence() == pytest.approx(3.5 / 4 * 2 / 3)


def test_the_same_share_is_worth_less_where_the_base_model_does_not_agree() -> None:
    text, counted = capital("Chile"), voted("Santiago")
    all_of = [anchored(counted, said("Santiago", n, 8), text) for n in range(9)]
    stated = [found.confidence() for found in all_of]
    assert stated == sorted(stated)
    assert stated[0] < 0.6 < 0.9 < stated[-1] < 1


def test_the_base_models_agreement_is_counted_whatever_its_spelling() -> None:
    base = ["0.5", r"\frac{1}{2}", None, "0.7"]
    assert anchored(voted("1/2"), base, "What is 1/4 + 1/4?").base_ratio == 2 / 4


def test_no_answer_of_the_base_model_is_no_agreement() -> None:
    none = anchored(voted("7"), [None] * 8, "What is 3 + 4?")
    assert (none.base_ratio, none.support) == (0, 1)  # it contradicts nobody either
    half = anchored(voted("7"), ["7"] * 4 + [None] * 4, "What is 3 + 4?")
    assert none.confidence() < half.confidence()


def test_support_is_a_part_of_what_the_base_models_own_winner_has() -> None:
    """A version came to answer "84 or 37?" with 8, which its base model hardly ever said."""
    text = "Which number is larger, 84 or 37?"
    base = ["37", "37", "37", "37", "84", "84", "8", None]
    found = {said: anchored(voted(said), base, text).support for said in ("37", "84", "8", "3")}
    assert found == {"37": 1, "84": 2 / 4, "8": 1 / 4, "3": 0}


@pytest.mark.parametrize("agree", [4, 10, 16])
def test_an_echo_and_one_answer_to_all_are_trusted_less(agree: int) -> None:
    forms, text = Forms(), parity(30)
    for number in range(11, 25):
        forms.note(parity(number), "odd")
    base = said("odd", 4, 8)
    alone = anchored(voted("odd", agree), base, text).confidence()
    alike = anchored(voted("odd", agree), base, text).confidence(forms.note(text, "odd"))
    assert alike < alone
    base = said("Chile", 4, 8)
    names = anchored(voted("Chile", agree), base, capital("Chile")).confidence()
    assert names < anchored(voted("Chile", agree), base, capital("Peru")).confidence()


def test_a_form_whose_winners_the_base_model_hardly_gives_is_guessed_at() -> None:
    forms = Forms()
    for number in range(6):
        assert forms.note(f"What is 2{number} minus 9?", str(number), 1 / 8).known == 1
    assert forms.note("What is 27 minus 9?", "7", None).known == 1  # the base model was not asked
    assert forms.note("What is 28 minus 9?", "8", 1 / 8).known == pytest.approx(1 / 8)
    for number in range(30, 30 + QUESTIONS):  # what is learned elsewhere may come to help
        last = forms.note(f"What is {number} minus 9?", str(number - 9), 7 / 8)
    assert last.known == pytest.approx(7 / 8)


def test_questions_that_are_noted_at_once_do_not_lose_each_others_forms() -> None:
    """Votes are weighed in threads, and a form may be forgotten while another is noted."""
    forms = Forms()

    def note(start: int) -> list[Alike]:
        return [forms.note("word " * (start + i), "7") for i in range(2 * FORMS)]

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(note, range(1, 200, 50)))
    assert [len(noted) for noted in found] == [2 * FORMS] * 4
    assert len(forms._winners) == FORMS
