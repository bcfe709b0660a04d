"""Votes recorded once from the real engine: every sample of many questions, to try stop rules on
afterwards.

    python -m benchmarks.traces [--model .models/SmolLM2-135M-Instruct]
                                [--out runs/benchmarks/traces.jsonl.gz]

Eight families of questions, from what the model nearly always gets right (plain completions after
three examples) to what it cannot do (asked in words); 64 samples of each at T = 0.6 with seeds of
their own. A line of the file is one question: ``{id, family, kind, question, answer, samples:
[{text, finish_reason, tokens, confidence}]}``.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import MODEL, argument_parser
from benchmarks.engine import prompt_of, running, small
from ttrl_server.engine.client import EngineClient
from ttrl_server.registry.names import version_name
from ttrl_server.types import Sampling
from ttrl_server.voting.tally import confidence

TRACES = Path("runs/benchmarks/traces.jsonl.gz")
SAMPLES = 64
TEMPERATURE = 0.6
AT_ONCE = 4
"""Questions in the engine at a time."""

NUMBER = "Answer with just the number."
SHOWN = {"shown sums": 25, "shown products": 25, "shown long sums": 25, "shown long products": 15}
ASKED = {"asked products": 20, "word problems": 10, "choices": 10, "fractions": 10}
"""How many questions of each family: texts to complete, and questions in words."""
WORDS = (
    "{name} has {a} {things} and buys {b} more. How many {things} does {name} have now?",
    "There are {a} boxes with {b} {things} in each. How many {things} are there?",
    "{name} had {a} {things} and gave {b} of them away. How many are left?",
)


def questions(seed: int = 0) -> Iterator[dict[str, Any]]:
    """Records of id, family, kind, question, answer and max_tokens, the same for the same seed."""
    order = random.Random(seed)
    for family, count in (SHOWN | ASKED).items():
        for i in range(count):
            question, answer, tokens = _question(family, order)
            kind = "completion" if family in SHOWN else "chat"
            record = {"id": f"{family}-{i}", "family": family, "kind": kind, "question": question}
            yield record | {"answer": answer, "max_tokens": tokens}


def _question(family: str, order: random.Random) -> tuple[str, str, int]:
    a, b = order.randint(2, 9), order.randint(2, 9)
    c, d = order.randint(11, 99), order.randint(11, 99)
    match family:
        case "shown sums":
            return f"3 + 4 = 7\n5 + 1 = 6\n6 + 2 = 8\n{a} + {b} =", str(a + b), 16
        case "shown products":
            return f"3 * 4 = 12\n5 * 2 = 10\n6 * 2 = 12\n{a} * {b} =", str(a * b), 16
        case "shown long sums":
            return f"13 + 14 = 27\n25 + 31 = 56\n46 + 22 = 68\n{c} + {d} =", str(c + d), 16
        case "shown long products":
            return f"13 * 4 = 52\n25 * 3 = 75\n41 * 2 = 82\n{c} * {a} =", str(c * a), 16
        case "asked products":
            return f"What is {a} * {b}? {NUMBER}", str(a * b), 24
        case "word problems":
            which, (a, b) = order.randrange(3), sorted((a + 8, b), reverse=True)
            name, things = order.choice(["Mia", "Omar"]), order.choice(["pens", "cups"])
            text = WORDS[which].format(a=a, b=b, name=name, things=things)
            return text, str((a + b, a * b, a - b)[which]), 96
        case "choices":
            options = order.sample([a * b, a * b + 1, a * b - 1, a * b + 10], 4)
            listed = " ".join(map("({}) {}".format, "ABCD", options))
            text = f"What is {a} * {b}? {listed} Answer with the letter."
            return text, "ABCD"[options.index(a * b)], 32
    text = f"Write {a}/{a * b} in lowest terms. End with: The answer is \\boxed{{...}}."
    return text, f"1/{b}", 96


async def record(model: str, out: Path) -> None:
    """Draws every sample and writes the file; what a run that was ended had drawn is not drawn
    again."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    partial.touch()
    lines = partial.read_text(encoding="utf-8").splitlines(keepends=True)
    todo = list(questions())
    config = small(model, out.parent / "engine")
    base = version_name(config.name, 0)
    async with running(config) as client:
        for i in range(len(lines), len(todo), AT_ONCE):
            batch = enumerate(todo[i : i + AT_ONCE], i)
            lines += await asyncio.gather(*(_draw(client, base, r, n) for n, r in batch))
            partial.write_text("".join(lines), encoding="utf-8")
            print(f"{len(lines)}/{len(todo)} questions", flush=True)
    with gzip.open(out, "wt", encoding="utf-8") as file:
        file.writelines(lines)
    partial.unlink()


async def _draw(client: EngineClient, model: str, record: dict[str, Any], number: int) -> str:
    stop = {"stop": ["\n"]} if record["kind"] == "completion" else {}
    sampling = Sampling(TEMPERATURE, record["max_tokens"], seed=1_000 * number, extra=stop)
    prompt = await prompt_of(client, model, record["question"], record["kind"])
    drawing = (client.sample(prompt, model, sampling, i) for i in range(SAMPLES))
    samples = [
        {
            "text": r.text,
            "finish_reason": r.finish_reason,
            "tokens": len(r.token_ids),
            "confidence": round(confidence(r), 6),
        }
        for r in await asyncio.gather(*drawing)
    ]
    return json.dumps({**record, "samples": samples}) + "\n"


def load(path: Path, model: str) -> list[dict[str, Any]]:
    """The recorded votes; recorded first where the file is not there yet."""
    if not path.exists():
        asyncio.run(record(model, path))
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--out", type=Path, default=TRACES)
    options = parser.parse_args()
    asyncio.run(record(options.model, options.out))


if __name__ == "__main__":
    main()
