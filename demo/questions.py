"""The demo's four question sets, the same for the same seed.

trained      half of the 64 ordered products a * b with a, b in 2..9
held_out     the other half: never asked while learning, 7 * 8 possibly where 8 * 7 was trained
addition     another operation
paraphrase   the held-out products in other words
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path

TRAINED_NAME = "trained"
FACTORS = range(2, 10)
SET_SIZE = 32

Record = dict[str, str]


def question_sets(seed: int = 0) -> dict[str, list[Record]]:
    """Records of id, prompt and answer by set name."""
    order = random.Random(seed)
    pairs = [(a, b) for a in FACTORS for b in FACTORS]
    products = order.sample(pairs, len(pairs))
    trained, held_out = products[:SET_SIZE], products[SET_SIZE:]
    return {
        TRAINED_NAME: [product(a, b) for a, b in trained],
        "held_out": [product(a, b) for a, b in held_out],
        "addition": [addition(a, b) for a, b in order.sample(pairs, SET_SIZE)],
        "paraphrase": [paraphrase(a, b) for a, b in held_out],
    }


def product(a: int, b: int) -> Record:
    return _record("mul", a, b, f"What is {a} * {b}? Answer with just the number.", a * b)


def addition(a: int, b: int) -> Record:
    return _record("add", a, b, f"What is {a} + {b}? Answer with just the number.", a + b)


def paraphrase(a: int, b: int) -> Record:
    return _record("times", a, b, f"Calculate {a} times {b}. Reply with the result only.", a * b)


def write(folder: Path, seed: int = 0) -> dict[str, Path]:
    """The demo's sets; the paths by set name."""
    return write_sets(question_sets(seed), folder)


def write_sets(sets: Mapping[str, list[Record]], folder: Path) -> dict[str, Path]:
    """One JSONL file a set in ``folder``; the paths by set name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, records in sets.items():
        paths[name] = folder / f"{name}.jsonl"
        lines = "".join(json.dumps(record) + "\n" for record in records)
        paths[name].write_text(lines, encoding="utf-8")
    return paths


def _record(kind: str, a: int, b: int, prompt: str, answer: int) -> Record:
    return {"id": f"{kind}-{a}-{b}", "prompt": prompt, "answer": str(answer)}
