r"""Are expressions worth what they say? Random formulas in LaTeX, valued beside by mpmath from the
trees they show.

    python -m benchmarks.equivalence [--expressions 30000] [--seed 0] [--before REV]

A seeded generator makes a tree, writes it in one of the ways people write it (implicit products,
fractions, mixed numbers, roots, functions with and without brackets, powers, percentages of
notation) and computes its value with mpmath at two points. The reader's key must be the key of that
value: two expressions with other values are a false equality, a refusal to read (the expression
stays as it is spelt) is counted apart. Prints some of what is wrong.

Keys are timed in one run against the reader of commit REV (default: the last one before
``ttrl_server.answers``), taken from git into a temporary folder, in turns, each expression new to
both. Last line: ``{"wrong", "ratio_to_before"}``: the share of wrong values, and the median of the
seconds' ratio.
"""

from __future__ import annotations

import io
import json
import operator
import random
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpmath

from benchmarks import argument_parser
from ttrl_server.answers import Asked
from ttrl_server.answers.keys import key
from ttrl_server.answers.values import _place

BEFORE = "74fa319"
ROUNDS, CHUNK = 7, 400
FRACTIONS = ("\\frac", "\\dfrac", "\\tfrac")
mpmath.mp.dps = 40

Evaluate = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True)
class Formula:
    """A tree as it is written, and what it is worth."""

    text: str
    value: Evaluate
    strength: int
    """How tightly it holds together: 0 a sum, 1 a product, 2 a power, 3 an atom."""
    numeric: bool = False
    """Written as plain figures, so that another figure must not stand right after it."""


def atom(draw: random.Random) -> Formula:
    """A number, a constant or a variable."""
    kind = draw.choice("nnnndfpxxyme")
    if kind == "n":
        n = draw.randint(1, 12)
        return Formula(str(n), lambda at: mpmath.mpf(n), 3, True)
    if kind == "d":
        w, a = draw.randint(0, 9), draw.randint(1, 9)
        return Formula(f"{w}.{a}", lambda at: mpmath.mpf(w) + mpmath.mpf(a) / 10, 3, True)
    if kind == "f":
        a, b = draw.randint(1, 9), draw.randint(2, 9)
        ways = (r"\frac{{{}}}{{{}}}", r"\frac{}{}", r"\dfrac{{{}}}{{{}}}", r"\tfrac{}{{{}}}")
        return Formula(draw.choice(ways).format(a, b), lambda at: mpmath.mpf(a) / b, 3)
    if kind == "m":
        w, b = draw.randint(1, 9), draw.randint(3, 9)
        a = draw.randint(1, b - 1)
        return Formula(rf"{w}\frac{{{a}}}{{{b}}}", lambda at: w + mpmath.mpf(a) / b, 2, True)
    if kind == "p":
        return Formula(draw.choice([r"\pi", "π"]), lambda at: +mpmath.pi, 3)
    if kind == "e":
        return Formula("e", lambda at: +mpmath.e, 3)
    return Formula(kind, lambda at: at[kind], 3)


def bracketed(inner: Formula, draw: random.Random) -> str:
    """In brackets of one of the kinds LaTeX has."""
    kinds = ("({})", r"\left({}\right)", r"\left[{}\right]", r"\big({}\big)")
    return draw.choice(kinds).replace("{}", inner.text)


def held(inner: Formula, least: int, draw: random.Random) -> str:
    """As it stands where it holds together well enough, else in brackets."""
    return inner.text if inner.strength >= least else bracketed(inner, draw)


def total(a: Formula, b: Formula, draw: random.Random) -> Formula:
    """a ± b."""
    sign, right, space = draw.choice("+-"), held(b, 1, draw), draw.choice(["", " "])
    act = operator.add if sign == "+" else operator.sub
    return Formula(
        f"{a.text}{space}{sign}{space}{right}", lambda at: act(a.value(at), b.value(at)), 0
    )


def product(a: Formula, b: Formula, draw: random.Random) -> Formula:
    """a · b with a sign, or side by side where that can be read in one way only."""
    left, right = held(a, 2, draw), held(b, 2, draw)
    sign = draw.choice([r" \cdot ", r" \times ", "*", "·", ""])
    if not sign and (right[0].isdigit() or (left[-1].isdigit() and right.startswith(FRACTIONS))):
        right = f"({right})"  # 2 3 is no product, and 2 1/3 a mixed number
    if not sign and (left[-1].isalpha() and right[0].isalpha()):
        left += " "  # \pi x
    if not sign and a.strength == 2 and not left.endswith((")", "}", "]")):
        sign = r" \cdot "
    return Formula(left + sign + right, lambda at: a.value(at) * b.value(at), 1)


def ratio(a: Formula, b: Formula, draw: random.Random) -> Formula:
    """a over b."""
    if draw.random() < 0.8:
        text, strength = rf"{draw.choice(FRACTIONS)}{{{a.text}}}{{{b.text}}}", 3
    else:
        text, strength = f"{held(a, 3, draw)}/{held(b, 3, draw)}", 0
    return Formula(text, lambda at: a.value(at) / b.value(at), strength)


def power(a: Formula, draw: random.Random) -> Formula:
    """a to a small power."""
    n = draw.choice([2, 2, 3, 4, -1, -2])
    text = str(n) if n in (2, 3, 4) and draw.random() < 0.6 else f"{{{n}}}"
    base = held(a, 3, draw) if not a.text.startswith(FRACTIONS) else bracketed(a, draw)
    return Formula(f"{base}^{text}", lambda at: a.value(at) ** n, 2)


def root(a: Formula, draw: random.Random) -> Formula:
    """A root of the square of a, so that it is real."""
    degree = draw.choice([2, 2, 2, 3])
    opened = r"\sqrt" if degree == 2 else r"\sqrt[3]"
    base = bracketed(a, draw) if a.text.startswith(FRACTIONS) else held(a, 3, draw)
    text = f"{opened}{{{base}^2 + 1}}"
    return Formula(text, lambda at: mpmath.root(a.value(at) ** 2 + 1, degree), 3)


def function(a: Formula, draw: random.Random) -> Formula:
    """A function of a; of a positive number where it must be."""
    name = draw.choice(["sin", "cos", "ln", "arctan", "log2", "abs", "exp", "sinsq"])
    inner, positive = bracketed(a, draw), rf"\left(({a.text})^2 + 2\right)"
    if name == "abs":
        ways = (f"|{a.text}|", rf"\left|{a.text}\right|", rf"\lvert {a.text} \rvert")
        return Formula(draw.choice(ways), lambda at: abs(a.value(at)), 3)
    if name == "ln":
        return Formula(rf"\ln{positive}", lambda at: mpmath.log(a.value(at) ** 2 + 2), 2)
    if name == "log2":
        return Formula(rf"\log_2{positive}", lambda at: mpmath.log(a.value(at) ** 2 + 2, 2), 2)
    if name == "exp":
        return Formula(rf"e^{{{a.text}}}", lambda at: mpmath.exp(a.value(at)), 2)
    if name == "sinsq":
        return Formula(rf"\sin^2{inner}", lambda at: mpmath.sin(a.value(at)) ** 2, 2)
    bare = a.strength == 3 and not a.numeric and a.text.isalpha() and draw.random() < 0.5
    computed = mpmath.atan if name == "arctan" else getattr(mpmath, name)
    text = rf"\{name} {a.text}" if bare else rf"\{name}{inner}"
    return Formula(text, lambda at: computed(a.value(at)), 2)


def formula(draw: random.Random, depth: int) -> Formula:
    """A random formula of at most ``depth`` operations inside each other."""
    if depth == 0 or draw.random() < 0.15:
        return atom(draw)
    kind = draw.choice("ttppprrwqf")
    one = formula(draw, depth - 1)
    if kind in "wqf":
        return {"w": power, "q": root, "f": function}[kind](one, draw)
    return {"t": total, "p": product, "r": ratio}[kind](one, formula(draw, depth - 1), draw)


def formulas(count: int, seed: int) -> list[Formula]:
    """Those that have a finite value of ordinary size at the points where values are taken."""
    draw = random.Random(seed)
    found: list[Formula] = []
    while len(found) < count:
        made = formula(draw, draw.choice([1, 2, 2, 3, 3]))
        if len(made.text) > 250:
            continue
        try:
            values = [made.value(at) for at in _points()]
        except (ZeroDivisionError, OverflowError, ValueError):
            continue
        if all(mpmath.isfinite(v) and 1e-9 < abs(v) < 1e12 for v in values):
            found.append(made)
    return found


def _points() -> list[dict[str, Any]]:
    return [{name: mpmath.mpf(_place(name, point)) for name in "xy"} for point in range(3)]


def judged(made: Formula) -> str:
    """``right``, ``wrong`` or ``refused`` (the key holds the spelling, not a value)."""
    found = key(rf"\boxed{{{made.text}}}", Asked())
    if found and found.full != found.bare:
        return "wrong"  # a unit was seen in it
    said = found.full if found else ""
    if not re.search(r"\d", said) or re.search(r"[\\^(]", said):
        return "refused"
    head, _, rest = said.partition(":")
    numbers = (rest or head).split("|")[0].split(";")
    for at, shown in zip(_points(), numbers if rest else numbers * 3, strict=False):
        try:
            above, _, below = shown.partition("/")
            value = mpmath.mpf(above) / mpmath.mpf(below or 1)
        except ValueError:
            return "refused"
        if abs(value - made.value(at)) > 1e-12 * (1 + abs(value)):
            return "wrong"
    return "right"


_OLD = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from ttrl_server.voting.pool import Pool
pool = Pool(); pool.start()
warm = pool.keys({"\\\\sqrt{8}", "2\\\\sqrt{2}"}, 60).of
if len(set(warm.values())) != 1:
    sys.exit("the keys of before do not work here: are their packages installed?")
print("ready", flush=True)
for line in sys.stdin:
    texts = json.loads(line)
    started = time.perf_counter()
    pool.keys(set(texts), 600)
    print(time.perf_counter() - started, flush=True)
"""


def speed(texts: list[str], revision: str) -> float:
    """Seconds of the new keys over those of ``revision``: the median of rounds in which they
    take turns."""
    root = Path(__file__).resolve().parents[1]
    archive = subprocess.check_output(["git", "archive", revision], cwd=root)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        command, pipe = [sys.executable, "-c", _OLD, folder], subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=folder) as old:
            assert old.stdin
            assert old.stdout
            if not old.stdout.readline():
                sys.exit("nothing to compare with: the reader of before ended")
            ratios = []
            for chunk in (texts[i : i + CHUNK] for i in range(0, ROUNDS * CHUNK, CHUNK)):
                started = time.perf_counter()
                for text in chunk:
                    key(text, Asked())
                ours = time.perf_counter() - started
                old.stdin.write(json.dumps(chunk) + "\n")
                old.stdin.flush()
                ratios.append(ours / float(old.stdout.readline()))
            old.stdin.close()
    print(f"seconds of the new keys over the old ones, {ROUNDS} rounds of {CHUNK}:", end=" ")
    print([round(r, 3) for r in ratios])
    return statistics.median(ratios)


def main() -> None:
    """Console script."""
    parser = argument_parser(__doc__)
    parser.add_argument("--expressions", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=0)
    about = "the commit whose keys are timed beside these"
    parser.add_argument("--before", default=BEFORE, help=about)
    options = parser.parse_args()
    made = formulas(options.expressions, options.seed)
    outcomes: dict[str, list[str]] = {"right": [], "wrong": [], "refused": []}
    for one in made:
        outcomes[judged(one)].append(one.text)
    for name in ("wrong", "refused"):
        print(f"{name}: {len(outcomes[name])} of {len(made)}, such as {outcomes[name][:12]}")
    timed = [one.text for one in formulas(ROUNDS * CHUNK, options.seed + 1)]
    wrong = round(len(outcomes["wrong"]) / len(made), 5)
    ratio_to_before = round(speed(timed, options.before), 4)
    print(json.dumps({"wrong": wrong, "ratio_to_before": ratio_to_before}))


if __name__ == "__main__":
    main()
