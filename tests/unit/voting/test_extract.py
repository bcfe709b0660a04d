r"""What each sample answers, from texts as models write them."""

from __future__ import annotations

import time

import pytest

from ttrl_server.voting.extract import answer

CHOICES = "Which acid is the strongest?\n(A) acetic\n(B) nitric\n(C) carbonic\n(D) boric"
LETTERED = "Which is prime?\nA. 4\nB. 7\nC. 9\nD. 12"

WRITTEN = [
    # a box
    (r"So the answer is \boxed{42}.", "42"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"First \boxed{3}, but checking again gives \boxed{5}.", "5"),
    (r"\fbox{17}", "17"),
    (r"\boxed {8}", "8"),
    (r"$\boxed{\text{(C)}}$", r"\text{(C)}"),
    (r"\boxed{ x = 7 }", "x = 7"),
    (r"\boxed{\left\{ 1, 2 \right\}}", r"\left\{ 1, 2 \right\}"),
    (r"\boxed{\boxed{9}}", "9"),
    (r"\boxed{ \fbox{9} }", "9"),
    (r"\boxed{x = \boxed{4}}", r"x = \boxed{4}"),
    (r"I will put it within \boxed{}. The answer is 12.", "12"),
    (r"\boxed{10} and then an open \boxed{11", "10"),
    (r"The set { has a stray brace, \boxed{6}", "6"),
    (r"The answer is 3. \boxed{4} Also 2 + 2 = 5.", "4"),
    (r"\boxed{\begin{pmatrix} 1 \\ 2 \end{pmatrix}}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    # thinking
    ("<think>maybe 3</think>The answer is 4.", "4"),
    ("<think>\\boxed{3}</think>\n\n4", "4"),
    ("so it must be 3</think>\n\nThe answer is 5", "5"),
    ("The answer is 5. <think>really?</think>", "5"),
    ("<think>it is \\boxed{3}", None),
    ("The answer is 4. <think>no, wait", None),
    ("<think>a <think> b </think> 1 </think> 2", "2"),
    # a phrase
    ("The answer is 5.", "5"),
    ("Therefore, the final answer is: $5$", "5"),
    ("The answer is $\\frac{3}{4}$.", r"\frac{3}{4}"),
    ("**Answer:** 12", "12"),
    ("**Answer: 12**", "12"),
    ("Answer: \\(x = 3\\)", "x = 3"),
    ("The answer is **7**. I checked 3 times.", "7"),
    ("**Final Answer**\n\n13", "13"),
    ("### Answer\n21\n", "21"),
    ("The answer is:\n\n\\[\n5\n\\]", "5"),
    ("The answer is:\n$$\n\\sqrt{2}\n$$", r"\sqrt{2}"),
    ("The answer to the question is 16.", "16"),
    ("The answer to 2 + 3 is 5", "5"),
    ("The answer would be 9, since 3 * 3 = 9 and 10 is too large.", "9"),
    ("The answer is 16 because 2*8 = 16 and 17 is odd", "16"),
    ("The answer is 5 apples.", "5"),
    ("The answer is $5.50 per kilogram.", "5.50"),
    ("The answer is 12 cm^2.", "12"),
    ("The answer is 3x + 2.", "3x + 2"),
    ("The answer is 5 million.", "5 million"),
    ("The answer is 2 and 3.", "2 and 3"),
    ("The answer is Paris.", "Paris"),
    ("The answer is Paris because it has been the capital since 987.", "Paris"),
    ("The final answer is 72. I hope it is correct.", "72"),
    ("The answer is the number of ways to choose 3 of 5 people, which is 10.", "10"),
    ("The answer is 0.5", "0.5"),
    ("The answer is -7.", "-7"),
    ("The answer is 42!", "42"),
    ("The answer is (1, 2).", "(1, 2)"),
    ("ANSWER: YES", "YES"),
    (r"The answer is $\boxed{5$", "5"),
    ("Answer = 6", "6"),
    ("We get 3 + 4.\n#### 7", "7"),
    ("The answer: 8\nLet me check with 9.", "8"),
    ("The answer is 4.\nWait, no. The answer is 6.", "6"),
    ("最终答案：\N{FULLWIDTH DIGIT ONE}\N{FULLWIDTH DIGIT TWO}", "12"),
    # the last number
    ("2 * 8 = 16", "16"),
    ("16", "16"),
    ("It costs $1,234.50", "1234.50"),
    ("so we are left with -3", "-3"),
    ("x=-3", "-3"),
    ("it is \N{MINUS SIGN}3", "-3"),
    ("which gives 3/4.", "3/4"),
    ("that makes 12%", "12%"),
    ("about 1.5e3 joules", "1.5e3"),
    ("so 5-3", "3"),
    ("roughly .25 of them", ".25"),
    ("hence $\\frac{2}{7}$", r"\frac{2}{7}"),
    ("there are 1,000,000 of them", "1000000"),
    ("we have 12 from x_1 and x2", "12"),
    ("It is 7. Done.", "7"),
    # nothing
    ("", None),
    ("I do not know.", None),
    ("\x00\u200f \u202e", None),
    ("The answer is", None),
    ("A circle. B is a point on it. C", None),
    (r"\boxed{}", None),
    (r"\boxed{\text{ }}", None),
]


@pytest.mark.parametrize(("text", "expected"), WRITTEN)
def test_a_finished_sample_answers_what_it_says_last_in_the_strongest_form(text: str, expected: str | None) -> None:
    assert answer(text, "stop") == expected


CHOSEN = [
    ("The answer is B because it is a stronger acid than Acetic Acid", CHOICES, "B"),
    ("The answer is B because it is a stronger acid", None, "B"),
    ("The correct answer is (C).", CHOICES, "C"),
    ("The correct option is D) boric", CHOICES, "D"),
    ("The answer is **(A) acetic**.", CHOICES, "A"),
    ("Answer: B. Nitric acid dissociates completely, C does not.", CHOICES, "B"),
    ("Answer: $\\text{B}$", None, "B"),
    ("The answer is option C.", None, "C"),
    ("Option B is correct.", CHOICES, "B"),
    ("(D) is the right answer.", None, "D"),
    ("A stronger acid is nitric.\n\n(B)", CHOICES, "B"),
    ("A is weak, so **B**", CHOICES, "B"),
    ("B", CHOICES, "B"),
    ("B) nitric", CHOICES, "B"),
    ("B. 7", LETTERED, "B"),
    ("It dissociates fully. So it is (B).", CHOICES, "B"),
    ("B. It has no divisors.\nThat is all.", LETTERED, "B"),
    (r"\boxed{B}", CHOICES, "B"),
    (r"\boxed{\textbf{(B)}\ 7}", LETTERED, "B"),
    (r"\boxed{7}", LETTERED, "B"),
    ("The answer is (b)", CHOICES, "B"),
    ("The answer is A + B.", None, "A + B"),
    ("The answer is A circle.", None, "A circle"),
    ("The answer is A and C.", CHOICES, "A and C"),
    ("The answer is Einstein.", CHOICES, "Einstein"),
    ("(B)", None, None),
    ("Nitric acid is stronger than Acid A", CHOICES, None),
    ("(A) is weak.\n(B) is strong.\n(C) is weak.\n(D) is weak.", CHOICES, None),
    ("Could be (A) or (B).", CHOICES, None),
]


@pytest.mark.parametrize(("text", "question", "expected"), CHOSEN)
def test_a_choice_is_read_where_it_is_stated_and_never_from_a_stray_capital(
    text: str, question: str | None, expected: str | None
) -> None:
    assert answer(text, "stop", question) == expected


@pytest.mark.parametrize("text", ["The answer is 5. To check we", "2 * 8 = 16 and 3", r"so \boxed{12", "(B)"])
def test_a_sample_cut_off_without_a_complete_box_has_no_answer(text: str) -> None:
    assert answer(text, "length", CHOICES) is None
    assert answer(text, "abort", CHOICES) is None


def test_a_sample_cut_off_after_a_complete_box_keeps_its_answer() -> None:
    assert answer(r"Hence \boxed{12}. Let me verify that 3", "length") == "12"


HOSTILE = {
    "nested braces": "{" * 10_000 + "}" * 10_000,
    "nested boxes": r"\boxed{" * 10_000 + "1" + "}" * 10_000,
    "open boxes": r"\boxed{" * 15_000,
    "open fractions": r"\boxed{" + r"\frac{" * 10_000 + "}",
    "digits": "9" * 100_000,
    "grouped digits": "1" + ",111" * 25_000,
    "signs": "-" * 100_000 + "1",
    "spaces": "answer" + " " * 100_000 + "is 5",
    "phrases": "the answer is " * 7_000,
    "phrases to something": "answer to " * 10_000,
    "headings": "#### " * 20_000,
    "fillers": "the answer is " + "therefore " * 10_000,
    "stars": "**" * 50_000,
    "letters": "(A) **B** " * 10_000,
    "lines": "\n(B)." * 25_000,
    "think tags": "<think></think>" * 7_000,
    "backslashes": "\\" * 100_000,
    "words": "the answer is 5 " + "apple " * 20_000,
    "NUL": "\x00" * 100_000 + "7",
    "direction marks": "\u202e\u200f" * 50_000 + "7",
    "commas": r"\boxed{" + "," * 19_000 + "}",
    "scripts": r"\boxed{" + "x^{" * 6_000 + "}" * 6_000 + "}",
    "an enormous power": r"\boxed{10^{999999}}",
    "an enormous exponent": "the answer is 1e999999999",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_read_in_well_under_a_second(text: str) -> None:
    started = time.process_time()
    answer(text, "stop", text)
    assert time.process_time() - started < 0.5


def test_invisible_characters_do_not_change_an_answer() -> None:
    assert answer("The \u200fanswer\x00 is \u202e4\u200b2.", "stop") == "42"


def test_nested_boxes_hold_what_the_innermost_holds() -> None:
    assert answer(r"\boxed{" * 1_000 + "1" + "}" * 1_000, "stop") == "1"
