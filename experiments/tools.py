"""Do agents learn? Which tool is called with which arguments, and which fields a text has, learned
from the votes on calls and on JSON, without labels.

    python -m experiments.tools [--families tools json] [--out runs/benchmarks/tools]

Every family is learned by a server of its own, from nothing: 32 questions, twice, in batches of
eight, 16 votes each; 32 others are held out. A run is kept in ``--out`` and not made again. The
model's own chat template shows it no tools, so ``tools.jinja`` does.

    avg@8 before → after      share of single samples that are the right action, all of it
    maj@8 before → after      share of questions whose most common action is right

A family of your own is a file for ``--files``: JSON lines of prompt, answer (a call, as
``{"name": …, "arguments": {…}}``, or JSON) and request (tools, tool_choice or response_format), the
first half of which is learned from. The last line is JSON.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ttrl_client.metrics import shown

from demo.questions import CAPITALS, Record, pairs
from experiments.cases import Case, finished, markdown, parser, read

SIZE = 32
TEMPLATE = Path(__file__).with_name("tools.jinja")
ENGINE = ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
ENGINE += ["--chat-template", str(TEMPLATE)]
FLAGS: dict[str, object] = {"--engine.extra-args": json.dumps(ENGINE)}
LANGUAGES = ("French", "German", "Spanish", "Italian", "Dutch")
WORDS = ("cat", "house", "bread", "water", "tree", "school", "friend", "winter", "milk", "road")
THINGS = ("apple", "pencil", "chair", "lamp", "book", "ticket", "shirt", "battery", "plate")
NAMES = ("Anna", "Tom", "Maria", "Peter", "Lucy", "Omar", "Ivan", "Julia", "Nina", "Paul", "Zoe")


def function(called: str, about: str, **arguments: str) -> dict[str, Any]:
    """A tool; every argument is needed, and has the type that is named."""
    properties = {
        argument: {"type": kind} | ({"maxLength": 24} if kind == "string" else {})
        for argument, kind in arguments.items()
    }
    schema = {"type": "object", "properties": properties, "required": list(arguments)}
    parameters = schema | {"additionalProperties": False}
    # strict: else vLLM's grammar takes any JSON for the arguments.
    about_it = {"name": called, "description": about, "parameters": parameters, "strict": True}
    return {"type": "function", "function": about_it}


TOOLS = [
    function("weather", "The weather in a city", city="string"),
    function("add", "The sum of two numbers", a="integer", b="integer"),
    function("translate", "A word in another language", word="string", language="string"),
    function("buy", "Orders things from the shop", item="string", count="integer"),
]
CALLS: dict[str, object] = {"tools": TOOLS, "tool_choice": "required"}
PERSON = function("person", "", name="string", age="integer", city="string")["function"]
FIELDS: dict[str, object] = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "person", "schema": PERSON["parameters"]},
    }
}


def _call(order: random.Random) -> tuple[str, Any]:
    """A request that one of the tools serves, and the call that does."""
    city = order.choice(pairs(CAPITALS))[1]
    a, b = order.randint(2, 99), order.randint(2, 99)
    word, language = order.choice(WORDS), order.choice(LANGUAGES)
    thing, count = order.choice(THINGS), order.randint(2, 9)
    asked, name, arguments = order.choice(
        [
            (f"What is the weather in {city}?", "weather", {"city": city}),
            (f"Will it rain in {city} today?", "weather", {"city": city}),
            (f"How much is {a} plus {b}?", "add", {"a": a, "b": b}),
            (f"Add {a} and {b}.", "add", {"a": a, "b": b}),
            (
                f"What is the {language} word for {word}?",
                "translate",
                {"word": word, "language": language},
            ),
            (
                f"How do you say {word} in {language}?",
                "translate",
                {"word": word, "language": language},
            ),
            (f"Please order {count} pieces of: {thing}.", "buy", {"item": thing, "count": count}),
        ]
    )
    return asked, {"name": name, "arguments": arguments}


def _person(order: random.Random) -> tuple[str, Any]:
    """A sentence about a person, and its fields."""
    name, age, city = order.choice(NAMES), order.randint(18, 80), order.choice(pairs(CAPITALS))[1]
    said = order.choice(
        [
            f"{name} is {age} years old and lives in {city}.",
            f"In {city} there lives {name}, aged {age}.",
            f"My friend {name} moved to {city} at the age of {age}.",
        ]
    )
    return f"Give name, age and city as JSON. {said}", {"name": name, "age": age, "city": city}


FAMILIES: dict[str, tuple[Callable[[random.Random], tuple[str, Any]], dict[str, object]]] = {
    "tools": (_call, CALLS),
    "json": (_person, FIELDS),
}


def sets_of(name: str, seed: int) -> dict[str, list[Record]]:
    """Distinct questions of a family: half of them to learn from, half held out."""
    (make, request), order = FAMILIES[name], random.Random(f"{name} {seed}")
    found: dict[str, Any] = {}
    while len(found) < 2 * SIZE:
        asked, answer = make(order)
        found.setdefault(asked, answer)
    return halves(
        [
            {"id": f"{name}-{n}", "prompt": text, "answer": json.dumps(answer), "request": request}
            for n, (text, answer) in enumerate(found.items())
        ]
    )


def halves(records: list[Record]) -> dict[str, list[Record]]:
    half = len(records) // 2
    return {"trained": records[:half], "held_out": records[half:]}


def from_file(path: Path, _seed: int) -> dict[str, list[Record]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return halves([{"id": f"{path.stem}-{n}"} | record for n, record in enumerate(lines)])


def main() -> None:
    flags = parser("tools", __doc__)
    flags.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    flags.add_argument("--files", nargs="*", type=Path, default=[], metavar="FILE")
    options = flags.parse_args()
    made = {name: partial(sets_of, name) for name in options.families}
    made |= {path.stem: partial(from_file, path.absolute()) for path in options.files}
    rows, last = [], {}
    for name, sets in made.items():
        report = read(finished(name, Case(FLAGS, sets, max_tokens=64), options))
        first, *_, end = report["evaluations"]
        for group in ("trained", "held_out"):
            before, after = (each["sets"][group] for each in (first, end))
            cells = (f"{shown(before[f])} → {shown(after[f])}" for f in ("avg@8", "maj@8"))
            rows.append([name, group, *cells])
        figures = {"before": before["avg@8"], "after": after["avg@8"]}
        last[name] = {"held_out": figures | {"majority_before": before["maj@8"]}}
    print(markdown("family | questions | avg@8 before → after | maj@8 before → after", rows), "\n")
    print(json.dumps({"families": last}))


if __name__ == "__main__":
    main()
