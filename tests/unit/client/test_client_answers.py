r"""What a completion answers, found in the forms models write."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from ttrl_client.answers import Form, final_answer, form_of
from ttrl_client.scoring import equivalent


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("56", "56"),
        ("7 * 8 = 56", "56"),
        ("The answer is 54.", "54"),
        ("The answer is 7 * 8 = 56.", "56"),
        ("The answer is **56** because 7 eights are 56, not 54.", "56"),
        ("The final answer is: $\\frac{3}{4}$. Check 12.", "\\frac{3}{4}"),
        ("The answer is B because 3 is odd.", "B"),
        ("The answer is (C).", "C"),
        ("Answer: x^2 + y", "x^2 + y"),
        ("The answer is:\n\n42", "42"),
        ("The answer is 3.14 and nothing else.", "3.14"),
        (r"so \boxed{12} or rather \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{7} and then \boxed{8", "7"),
        (r"\boxed{} hence 9", "9"),
        ("5-3 leaves 2, and 3-5 leaves -2", "-2"),
        ("from 5 to 7-8", "8"),
        ("- 56", "56"),
        ("about 1,234,567 people", "1,234,567"),
        ("one of 1, 2, 3", "3"),
        ("half of it: 1/2", "1/2"),
        (r"it is \frac12", r"\frac12"),
        ("The answer is $(15, -29)$, since 3 is odd.", "(15, -29)"),
        ("The answer is (15, -29).", "(15, -29)"),
        ("The answer is 3, 5, 7.", "3, 5, 7"),
        (r"The answer is $40_9$, not 36.", "40_9"),
        (r"**Answer**: $\$32,400$", r"\$32,400"),
        ("The answer is $32,400, which leaves $3.", "32,400"),
        (r"The answer is $2$ or $3$.", "2$ or $3"),
        ("The answer is:\n\\[\n  x = 5\n\\]\nCheck: 7", "x = 5"),
        (r"The answer is \(\frac{1}{2}\) of 8.", r"\frac{1}{2}"),
        ("The answer is\n$$\n\\sqrt{13}\n$$", r"\sqrt{13}"),
        ("The answer is 5 cm.", "5"),
        (r"\boxed{\boxed{ 5 }}", "5"),
        ("The answer is x = 1 or x = 2.", "x = 1 or x = 2"),
        ("Answer: A total of 56 apples.", "56"),
        ("Answer: I get 42", "42"),
        ("The answer is A because of 3.", "A"),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_the_final_answer_of_a_finished_sample(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Paris", "Paris"),
        ("**Paris.**", "Paris"),
        ("The capital of France is Paris.", "Paris"),
        ("The day before yesterday was a Friday.", "Friday"),
        ("Sure! god", "god"),
        ("The answer is mother-in-law.", "mother-in-law"),
        (r"\boxed{odd}", "odd"),
        ("It has 2 parts, of which the first one is by far the longer.\nParis", None),
        ("It's Paris.", "Paris"),
        ("", None),
    ],
)
def test_a_truth_in_words_is_looked_for_in_words(text: str, answer: str | None) -> None:
    assert final_answer(text, form="words") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes.", "Yes"),
        ("No, 91 is 7 * 13.", "No"),
        ("91 = 7 * 13.\n\n**No**", "No"),
        ("So yes.", "yes"),
        ("Yes it is, as 7 has 2 divisors.", "Yes"),
        ("None of this is true.", None),
        ("The statement is false.", "false"),
        ("The answer is no.", "no"),
        ("No one knows.", None),
        ("7 is a prime number.", None),
    ],
)
def test_where_yes_or_no_is_the_truth_nothing_else_is_an_answer(text: str, answer: str | None) -> None:
    assert final_answer(text, form="verdict") == answer


@pytest.mark.parametrize(
    ("truth", "form"),
    [
        ("Yes", "verdict"),
        ("False", "verdict"),
        ("Paris", "words"),
        ("mother-in-law", "words"),
        ("THOSE FROM MARS", "words"),
        ("J. K. Rowling", "words"),
        ("100, Full, floats", "words"),
        ("2, 3, 5", "figures"),
        ("5 apples", "figures"),
        ("x", "figures"),
        ("56", "figures"),
        (r"\text{east}", "figures"),
        ("x^2 + y", "figures"),
        ("H2O", "figures"),
    ],
)
def test_the_form_of_a_true_answer(truth: str, form: str) -> None:
    assert form_of(truth) == form


@pytest.mark.parametrize(
    "truth",
    [
        *("Paris", "St. Louis", "the cat is black", "Life is beautiful", "Sure", "okay", "Certainly", "mother-in-law"),
        *(
            "100, Full, floats, taking",
            "pear, when, which, ear, for, the, zoo, a, of, it, as, me",
            "A Tale of Two Cities",
        ),
        *("Amelia is a hero, and Elizabeth is a hero.", "Yes", "False", "56", "x^2 + y", "1/2", "2, 3, 5"),
    ],
)
def test_a_reply_that_is_the_truth_is_right(truth: str) -> None:
    assert equivalent(final_answer(truth, form=form_of(truth)), truth) or form_of(truth) == "figures"


def test_a_sample_cut_at_its_limit_has_no_answer_unless_it_boxed_one() -> None:
    assert final_answer("The answer is 56. In other words, 7 times", "length") is None
    assert final_answer(r"\boxed{56} because 7 times", "length") == "56"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B) 42 m", "B"),
        ("The correct choice is B.", "B"),
        ("The correct option is (C).", "C"),
        ("The answer is option B.", "B"),
        ("The answer is B because it is a stronger acid than A.", "B"),
        (r"So it is \boxed{(B)}", "B"),
        (r"\boxed{B) blue}", "B"),
        (r"\boxed{\text{C}}", "C"),
        ("**Final Answer:**\nB", "B"),
        ("<think>The answer is A?</think>\nD", "D"),
        ("A stronger acid gives its proton away, and 42 is its number", None),
        ("The answer is E", None),
        ("I would say 42", None),
        ("Answer: B", "B"),
        ("**Answer: B**", "B"),
        ("The Answer is B.", "B"),
        ("Answer: B) 42", "B"),
        ("The answer is B because option A is weaker.", "B"),
        ("The answer is B, and choice D is wrong", "B"),
        ("Option B is right.", "B"),
        ("The answer is A because it is stronger", "A"),
        ("Answer: A total of four, so D", None),
    ],
)
def test_only_a_letter_answers_a_question_with_choices(text: str, answer: str | None) -> None:
    assert final_answer(text, "stop", "ABCD") == answer


MEGABYTE = 1_000_000
HOSTILE = {
    "backslashes": "\\",
    "open braces": "{",
    "closed braces": "}",
    "open boxes": r"\boxed{",
    "fractions": r"\frac{",
    "statements": "answer is ",
    "formulas": r"answer is \[",
    "dollars": "answer is $",
    "choices": "answer choice ",
    "digits": "9",
    "groups": "111,",
    "ratios": "1/",
    "signs": "-",
    "spaces": " ",
    "verdicts": "yes ",
    "sentences": "It is ",
}


@pytest.mark.parametrize(("letters", "form"), [("", "figures"), ("ABCD", "figures"), ("", "words"), ("", "verdict")])
@pytest.mark.parametrize("part", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_megabyte_costs_no_time(part: str, letters: str, form: Form) -> None:
    started = time.process_time()
    final_answer(part * (MEGABYTE // len(part)), letters=letters, form=form)
    assert time.process_time() - started < 1


def test_boxes_within_boxes_cost_no_memory() -> None:
    depth = MEGABYTE // 8
    tracemalloc.start()
    final_answer(r"\boxed{" * depth + "5" + "}" * depth)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * MEGABYTE
