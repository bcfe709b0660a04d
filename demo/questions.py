"""The demo's questions, the same for the same seed; and multiplications, which experiments ask.

trained      32 of 64 countries: which city is their capital? In words that the small model answers
             more than nine times in ten: what it learns is more than to answer
held_out     the other half: never asked while learning
paraphrase   the held-out capitals in other words
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TRAINED_NAME = "trained"
FACTORS = range(2, 10)
SET_SIZE = 32

CAPITALS = (
    "Austria Vienna, Belgium Brussels, Brazil Brasilia, Bulgaria Sofia, Chile Santiago, China"
    " Beijing, Cuba Havana, Denmark Copenhagen, Finland Helsinki, Germany Berlin, Greece "
    "Athens, Hungary Budapest, Latvia Riga, Iran Tehran, Iraq Baghdad, Ireland Dublin, Italy "
    "Rome, Lebanon Beirut, Nepal Kathmandu, Norway Oslo, Peru Lima, Poland Warsaw, Portugal "
    "Lisbon, Romania Bucharest, Russia Moscow, Serbia Belgrade, Spain Madrid, Sweden "
    "Stockholm, Syria Damascus, Thailand Bangkok, Morocco Rabat, Vietnam Hanoi, Afghanistan "
    "Kabul, Albania Tirana, Armenia Yerevan, Australia Canberra, Canada Ottawa, Colombia "
    "Bogota, Croatia Zagreb, Ecuador Quito, Egypt Cairo, Estonia Tallinn, France Paris, "
    "Georgia Tbilisi, Ghana Accra, Iceland Reykjavik, Indonesia Jakarta, Jamaica Kingston, "
    "Japan Tokyo, Kenya Nairobi, Libya Tripoli, Lithuania Vilnius, Mongolia Ulaanbaatar, "
    "Netherlands Amsterdam, Pakistan Islamabad, Philippines Manila, Senegal Dakar, Slovakia "
    "Bratislava, Slovenia Ljubljana, Sudan Khartoum, Zambia Lusaka, Turkey Ankara, Uruguay "
    "Montevideo, Venezuela Caracas"
)
OPPOSITES = (
    "big small, black white, day night, deep shallow, dry wet, fast slow, first last, good "
    "bad, happy sad, heavy light, high low, left right, long short, empty full, old young, "
    "open closed, poor rich, push pull, soft hard, strong weak, thick thin, up down, win "
    "lose, wide narrow, inside outside, love hate, more less, north south, question answer, "
    "above below, buy sell, true false"
)

Record = dict[str, Any]


def pairs(text: str) -> list[tuple[str, str]]:
    """The two words of each entry between commas."""
    return [(first, second) for first, second in map(str.split, text.split(", "))]


def question_sets(seed: int = 0) -> dict[str, list[Record]]:
    """Records of id, prompt and answer by set name."""
    order = random.Random(seed)
    countries = order.sample(pairs(CAPITALS), 2 * SET_SIZE)
    trained, held_out = countries[:SET_SIZE], countries[SET_SIZE:]
    return {
        TRAINED_NAME: [city(*each) for each in trained],
        "held_out": [city(*each) for each in held_out],
        "paraphrase": [capital(*each) for each in held_out],
    }


def capital(country: str, answer: str) -> Record:
    prompt = f"What is the capital of {country}? Answer with just the name of the city."
    return {"id": f"capital-{country}", "prompt": prompt, "answer": answer}


def city(country: str, answer: str) -> Record:
    prompt = f"Which city is {country}'s capital? Reply with its name only."
    return {"id": f"city-{country}", "prompt": prompt, "answer": answer}


def opposite(word: str, answer: str) -> Record:
    prompt = f"What is the opposite of {word}? Answer with just the word."
    return {"id": f"opposite-{word}", "prompt": prompt, "answer": answer}


def products(seed: int = 0) -> dict[str, list[Record]]:
    """Half of the 64 ordered products a * b with a, b in 2..9, and the other half, also in other
    words: 7 * 8 is possibly held out where 8 * 7 was trained on. And additions."""
    order = random.Random(seed)
    factors = [(a, b) for a in FACTORS for b in FACTORS]
    both = order.sample(factors, len(factors))
    trained, held_out = both[:SET_SIZE], both[SET_SIZE:]
    return {
        TRAINED_NAME: [product(a, b) for a, b in trained],
        "held_out": [product(a, b) for a, b in held_out],
        "addition": [addition(a, b) for a, b in order.sample(factors, SET_SIZE)],
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
