"""Which answers are the same, which only look alike, and whether worked solutions score right."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ttrl_client.answers import final_answer
from ttrl_client.scoring import canonical, equivalent

SAME = [
    # numbers
    ("142.0", "142"),
    ("025", "25"),
    ("5.", "5"),
    ("(5)", "5"),
    ("+5", "5"),
    ("- 5", "\u22125"),
    ("1{,}234", "$1,234$"),
    (r"10,\!080", "10080"),
    (r"11,\! 111,\! 111,\! 100", "11111111100"),
    (r"10\,000", "10,000"),
    ("2^{8}", "2^8"),
    ("2^8", "256"),
    ("2^{-3}", "1/8"),
    (r"6.72 \times 10^{-5}", ".0000672"),
    # fractions
    (".5", "1/2"),
    ("0.1", "1/10"),
    (r"\frac12", r"\frac{1}{2}"),
    (r"\frac 12", "0.5"),
    (r"\frac9{18}", "0.5"),
    (r"\dfrac{1}{2}", "1/2"),
    (r"\frac{-1}{2}", r"-\frac{1}{2}"),
    (r"\frac{1}{-2}", "-0.5"),
    (r"2\frac{1}{4}", r"\frac{9}{4}"),
    (r"-2 \frac14", "-2.25"),
    ("2 1/4", "9/4"),
    (r"\frac{\sqrt{3}}{3}", r"\sqrt3/3"),
    (r"3\frac{\pi}{2}", r"\frac{3\pi}{2}"),
    # signs and units
    (r"50\%", "50"),
    (r"\$32,400", "32400"),
    ("32,400 dollars", "$32400"),
    (r"90^\circ", "90"),
    (r"90^{\circ}", "90°"),
    (r"25^\circ \text{C}", "25"),
    (r"5 \text{ cm}", "5"),
    ("5cm", "5 cm"),
    (r"5\,\text{units}", "5"),
    (r"15\mbox{ cm}^2", "15"),
    (r"9.8\text{ m/s}^2", "9.8"),
    (r"16\pi \text{ square feet}", r"16\pi"),
    ("3 1/2 feet", "3.5"),
    ("5 apples", "5"),
    (r"2^8 \text{ cm}^2", "256"),
    # names
    ("x = 5", "5"),
    ("x=5", "$x = 5.0$"),
    (r"\theta = 30^\circ", "30"),
    ("y = -2x", "-2x"),
    ("f(x) = 2x + 1", "y = 2x+1"),
    ("m+n = 204", "204"),
    (r"\text{Area} = 5\text{ cm}^2", "5"),
    ("7 * 8 = 56", "56"),
    (r"x \approx 3.14", "3.14"),
    (r"x \in [-2,7]", "[-2, 7]"),
    (r"x = 1 \text{ or } x = 2", "1, 2"),
    # roots, signs, expressions
    (r"\sqrt2", r"\sqrt{2}"),
    ("sqrt(2)", "√2"),
    (r"\sqrt[3]2", r"\sqrt[3]{2}"),
    (r"3\cdot\sqrt{5}", r"3 \sqrt 5"),
    (r"288 \pi", "288pi"),
    (r"\frac{1}{2}x", r"\frac12 x"),
    (r"\frac{11+9a}{20}", "(11+9a)/20"),
    ("-2 + 7i", "-2+7i"),
    ("4210_{5}", "4210_5"),
    # several values
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
    ("(1, 2)", r"\left( 1,2 \right)"),
    ("(0.5, 1)", r"(\frac12,1.0)"),
    (r"(-\infty, 0]", r"\left(-\infty,0\right]"),
    (r"(0,9) \cup (9,36)", "(0, 9)∪(9, 36)"),
    (r"\{1, 2, 3\}", r"\left\{ 3,1,2 \right\}"),
    (r"\{(1,2),(3,4)\}", r"\{(3,4),(1,2)\}"),
    (r"\{0.5\}", r"\frac12"),
    (r"\begin{pmatrix} 1/2 \\ -14 \end{pmatrix}", r"\begin{bmatrix}0.5\\-14\end{bmatrix}"),
    # words
    ("2**8", "2^8"),
    ("**56**", "56"),
    (r"\frac{1}{2}\frac{1}{3}", r"\frac{1}{2} \cdot \frac{1}{3}"),
    (r"\text{Evelyn}", "Evelyn"),
    (r"\text{Monday}.", "monday"),
    ("(C)", "C"),
    (r"\textbf{(C)}", "C"),
]

DIFFERENT = [
    ("56", "54"),
    ("5", "-5"),
    ("1.5", "15"),
    ("1.5", "1,5"),
    ("1 2", "12"),
    ("0.333", "1/3"),
    ("1/2", "2/1"),
    ("1/0", "0"),
    ("1e3", "1000"),
    ("2^3", "23"),
    (r"2^{8}3", "2^{83}"),
    (r"2\frac14", r"\frac24"),
    (r"2\frac14", r"\frac{21}{4}"),
    (r"\frac{1}{2x}", r"\frac{1}{2}x"),
    (r"\frac{a+b}{2}", "a+b/2"),
    ("50%", "0.5"),
    ("5x", "5"),
    ("5 i", "5"),
    ("5 million", "5"),
    ("3 am", "3 pm"),
    ("10:30", "1030"),
    ("10!", "10"),
    ("|x|", "x"),
    ("x", "y"),
    ("2x", "x2"),
    ("x^2", "x2"),
    ("(x)+2", "(x)2"),
    ("11_5", "11_6"),
    ("11_5", "11"),
    ("x=5", "y=5"),
    ("x_1=5", "x_2=5"),
    ("x < 5", r"x \le 5"),
    ("5x - 7y + 11z + 4 = 0", "0"),
    ("x^2+y^2 = 25", "25"),
    (r"\sqrt{2}", "2"),
    (r"\sqrt{2}3", r"\sqrt{23}"),
    ("(1,234)", "1234"),
    ("1, 234", "1234"),
    ("(1,2)", "[1,2]"),
    ("(1,2)", "(2,1)"),
    ("1,2", "2,1"),
    (r"\{1,2\}", "(1,2)"),
    (r"\{1,2\}", r"\{1,3\}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \end{pmatrix}"),
    (r"\begin{vmatrix} 1 \end{vmatrix}", r"\begin{pmatrix} 1 \end{pmatrix}"),
    ("", "0"),
    ("2**8", "28"),
    ("3 sevenths", "3"),
    ("2 millions", "2"),
    (r"2 \cos \theta", "2"),
    (r"\frac{1}{2}\frac{1}{3}", r"\frac{1}{21}/3"),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_equal_answers_in_different_writing(a: str, b: str) -> None:
    assert equivalent(a, b), (canonical(a), canonical(b))
    assert equivalent(b, a)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_different_answers_stay_different(a: str, b: str) -> None:
    assert not equivalent(a, b), canonical(a)
    assert not equivalent(b, a)


def test_no_answer_is_equal_to_nothing_not_even_to_another_none() -> None:
    assert not equivalent(None, None)
    assert not equivalent(None, "1")


def test_a_minus_may_be_written_as_one() -> None:
    assert equivalent(final_answer("The answer is \u22125."), "-5")


def test_model_text_is_never_evaluated() -> None:
    assert canonical("2+2") == "2+2"
    assert canonical("9^{9^{9^{9}}}") == "9^(9^(9^(9)))"
    assert canonical("10^{999999}") == "10^(999999)"


# ---------------------------------------------------------------- properties

INTEGERS = st.integers(-999, 999).map(str)
VALUES = st.recursive(
    INTEGERS | st.decimals(-99, 99, places=2).map(str) | st.sampled_from(["x", r"\pi", r"\infty", r"\text{even}"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: rf"\frac{{{pair[0]}}}{{{pair[1]}}}"),
        st.tuples(inner, inner).map(lambda pair: f"{pair[0]} + {pair[1]}"),
        st.tuples(inner, inner).map(lambda pair: rf"\left( {pair[0]}, {pair[1]} \right]"),
        st.lists(inner, min_size=1, max_size=3).map(lambda items: rf"\{{{','.join(items)}\}}"),
        inner.map(lambda value: rf"\sqrt{{{value}}}"),
        inner.map(lambda value: rf"x^{{{value}}}"),
    ),
    max_leaves=6,
)
ANSWERS = st.tuples(
    st.sampled_from(["", "x = ", "y=", "$", "m+n="]),
    VALUES,
    st.sampled_from(["", ".", r"\text{ cm}^2", "^\\circ", r"\%"]),
).map("".join)
SCRAPS = st.text(alphabet="0123456789.,;:-+/^_*=(){}[]\\ abfcrtxπ√°%$!&", max_size=60)


@given(ANSWERS)
def test_a_canonical_form_is_its_own_canonical_form(answer: str) -> None:
    assert canonical(str(canonical(answer))) == canonical(answer)


@given(ANSWERS | SCRAPS | st.text())
def test_every_answer_is_equal_to_itself(answer: str) -> None:
    assert equivalent(answer, answer)


@given(ANSWERS | SCRAPS, ANSWERS | SCRAPS)
def test_equal_one_way_is_equal_the_other_way_and_counted_together(a: str, b: str) -> None:
    assert equivalent(a, b) is equivalent(b, a)
    assert canonical(a) == canonical(b) or not equivalent(a, b)


@given(st.fractions(max_denominator=10**6))
def test_every_spelling_of_a_rational_is_one_answer(value: object) -> None:
    above, _, below = str(value).partition("/")
    assert canonical(rf"\frac{{{above}}}{{{below or 1}}}") == canonical(str(value)) == value


# ---------------------------------------------------------------- time

HOSTILE = [
    "\\",
    "{",
    "}",
    "(",
    r"\text{",
    r"\frac{",
    r"\frac12",
    r"\sqrt{",
    "√",
    "x^",
    "x=",
    "1,",
    "1 ",
    "1/",
    "a ",
    "=",
    "9",
]


@pytest.mark.parametrize("length", [400, 1_000_000])
@pytest.mark.parametrize("part", HOSTILE)
def test_a_hostile_answer_costs_no_time(part: str, length: int) -> None:
    started = time.process_time()
    for text in (part, "5 " + part, "{" + part):
        canonical((text * length)[:length])
    assert time.process_time() - started < 1


# ---------------------------------------------------------------- benchmarks

DATA = Path(os.environ.get("TTRL_TEST_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
with_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no benchmark data in {DATA} (TTRL_TEST_DATA)")


def records(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@with_data
def test_the_worked_solutions_of_math_score_right() -> None:
    math = records("math_l1_l4")
    wrong = [r["id"] for r in math if not equivalent(final_answer(r["solution"]), r["answer"])]
    assert wrong == []


@with_data
def test_answers_of_math_score_right_when_stated_in_a_sentence() -> None:
    math = records("math_l1_l4")
    wrong = [r["id"] for r in math if not equivalent(final_answer(f"So the answer is ${r['answer']}$."), r["answer"])]
    assert wrong == []


@with_data
def test_only_other_writing_makes_two_answers_of_math_equal() -> None:
    answers = sorted({r["answer"] for r in records("math_l1_l4")})
    equal = [(a, b) for i, a in enumerate(answers) for b in answers[i + 1 :] if canonical(a) == canonical(b)]
    assert equal == [
        (r"10,\!080", "10080"),
        ("120", r"120^\circ"),
        ("15", r"15\mbox{ cm}^2"),
        ("30", r"30^\circ"),
        ("36", r"36^\circ"),
        ("90", r"90^\circ"),
        (r"\frac14", r"\frac{1}{4}"),
    ]


@with_data
@pytest.mark.parametrize("name", ["aime24", "amc"])
@pytest.mark.parametrize(
    "said",
    [
        "The answer is {}.",
        "Thus $m+n = {}$.",
        "**Answer:** {}",
        r"\[ m+n = \boxed{{{}}} \]",
        r"So $\boxed{{{:03}}}$ it is.",
        r"\boxed{{{:,}}}",
        r"\boxed{{x = {}}}",
    ],
)
def test_integers_score_right_boxed_and_stated(name: str, said: str) -> None:
    for record in records(name):
        assert equivalent(final_answer(said.format(int(float(record["answer"])))), record["answer"]), record["id"]
