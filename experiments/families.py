"""Questions that a small model can be asked: ours, and some of reasoning-gym's at their easiest.

``python -m experiments.paper --tables survey`` shows how far the model's majority is above its
average on each.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ttrl_client.datasets import Fields, load

from demo.questions import CAPITALS, OPPOSITES, Record, capital, opposite, pairs

Asked = tuple[str, str]
"""A question and its answer."""
NUMBER, WORD = " Answer with just the number.", " Answer with just the word."
SIZE = 16
"""Questions of one family to learn from, and as many held out."""


def _product(order: random.Random) -> Asked:
    a, b = order.randint(2, 12), order.randint(2, 9)
    return f"What is {a} * {b}?{NUMBER}", str(a * b)


def _sum(order: random.Random) -> Asked:
    a, b = order.randint(11, 89), order.randint(2, 9)
    return f"What is {a} + {b}?{NUMBER}", str(a + b)


def _difference(order: random.Random) -> Asked:
    a, b = order.randint(11, 40), order.randint(2, 9)
    return f"What is {a} - {b}?{NUMBER}", str(a - b)


def _larger(order: random.Random) -> Asked:
    a, b = order.sample(range(10, 100), 2)
    return f"Which number is larger, {a} or {b}?{NUMBER}", str(max(a, b))


def _series(order: random.Random) -> Asked:
    start, step = order.randint(1, 20), order.randint(2, 9)
    shown = ", ".join(str(start + step * i) for i in range(4))
    return f"What number comes next: {shown}?{NUMBER}", str(start + 4 * step)


def _half(order: random.Random) -> Asked:
    whole = 2 * order.randint(5, 60)
    return f"What is half of {whole}?{NUMBER}", str(whole // 2)


def _apples(order: random.Random) -> Asked:
    had, more = order.randint(3, 30), order.randint(2, 9)
    text = f"Tom has {had} apples and gets {more} more. How many apples has he now?{NUMBER}"
    return text, str(had + more)


_COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown")
_THINGS = ("car", "house", "hat", "cup", "book", "door", "boat")


def _recall(order: random.Random) -> Asked:
    things, colours = order.sample(_THINGS, 3), order.sample(_COLOURS, 3)
    said = " ".join(map("The {} is {}.".format, things, colours))
    asked = order.randrange(3)
    return f"{said} What colour is the {things[asked]}?{WORD}", colours[asked]


def _capital(order: random.Random) -> Asked:
    record = capital(*order.choice(pairs(CAPITALS)[:32]))
    return record["prompt"], record["answer"]


def _opposite(order: random.Random) -> Asked:
    record = opposite(*order.choice(pairs(OPPOSITES)))
    return record["prompt"], record["answer"]


def _parity(order: random.Random) -> Asked:
    number = order.randint(11, 99)
    return f"Is {number} even or odd?{WORD}", ("even", "odd")[number % 2]


def _ours(make: Callable[[random.Random], Asked]) -> Callable[[int], list[Asked]]:
    def drawn(seed: int) -> list[Asked]:
        order = random.Random(seed)
        found: dict[str, str] = {}
        while len(found) < 2 * SIZE:
            question, answer = make(order)
            found[question] = answer
        return list(found.items())

    return drawn


def _gym(query: str, suffix: str = NUMBER) -> Callable[[int], list[Asked]]:
    def drawn(seed: int) -> list[Asked]:
        source = f"reasoning-gym:{query}&size={8 * SIZE}&seed={seed}"
        items = load(source, fields=Fields(suffix=suffix)).items
        return list({item.prompt: item.answer for item in items}.items())[: 2 * SIZE]

    return drawn


OURS = (
    *(_product, _sum, _difference, _larger, _series, _half, _apples, _recall),
    *(_capital, _opposite, _parity),
)
FAMILIES: dict[str, Callable[[int], list[Asked]]] = {
    **{make.__name__.removeprefix("_"): _ours(make) for make in OURS},
    "gym_products": _gym("products?min_digits=1&max_digits=1"),
    "gym_chain_sum": _gym("chain_sum?min_terms=2&max_terms=2&min_digits=1&max_digits=2"),
    "gym_gcd": _gym("gcd?max_value=20"),
    "gym_leg_counting": _gym("leg_counting?min_animals=1&max_animals=2&max_instances=5"),
    "gym_needle": _gym("needle_haystack?min_num_statements=2&max_num_statements=4", suffix=""),
    "gym_syllogism": _gym("syllogism?invalid_ratio=0.3", suffix=""),
}


def family_sets(names: tuple[str, ...], seed: int = 0, size: int = SIZE) -> dict[str, list[Record]]:
    """Of each family ``size`` questions to learn from and up to as many held out; it is their
    type."""
    sets: dict[str, list[Record]] = {"trained": [], "held_out": []}
    for name in names:
        for i, (question, answer) in enumerate(FAMILIES[name](seed)[: 2 * size]):
            record = {"id": f"{name}-{i}", "type": name, "prompt": question, "answer": answer}
            sets["trained" if i < size else "held_out"].append(record)
    return sets
