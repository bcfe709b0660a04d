"""Voted questions through the gateway beside raw vLLM, and beside its-hub's self-consistency on the
same engine.

    python -m benchmarks.sampling [--rounds 2] [--questions 8] [--votes 64]

One engine, started with ttrl-serve's own command line on a loopback port; ``ttrl-serve
--engine-url`` in front of it with learning on and no trainer, so that every group's ids and
log-probabilities are recorded and stored. In each round the same questions go, interleaved,
through: raw vLLM (chat completions, ``n`` = votes), the gateway with ``stop: none`` (all samples),
``exact`` (the default) and ``beta``, and its-hub (in an environment of its own), which is given a
pattern for the last number as its vote. Two questions are in flight at a time, for all.

``ratio_to_raw`` is the gateway's tokens/s over raw vLLM's, the median of the rounds' ratios. A
round takes four to five minutes on two cores. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import itertools
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import MODEL, argument_parser, peers, traces
from benchmarks.engine import KEY, START_S, small
from demo.server import free_port
from ttrl_server.answers import asked, same
from ttrl_server.engine.command import engine_command
from ttrl_server.process import ChildTree
from ttrl_server.settings.config import Config

RULES = ("none", "exact", "beta")
AT_ONCE = 2
MAX_TOKENS = 48
TEMPERATURE = 0.6
ITS_HUB = "its-hub[lm]==1.2.0"
LAST_NUMBER = r"(-?[0-9]+)[^0-9]*$"

_PEER = """
import asyncio, json, re, sys, time
from its_hub import SelfConsistency
from its_hub.core.lms.openai_lm import OpenAICompatibleLanguageModel
asked = json.load(sys.stdin)
def final(text):
    found = re.search(asked["pattern"], text)
    return found[1] if found else text
async def main():
    limits = {"max_completion_tokens": asked["max_tokens"], "temperature": asked["temperature"]}
    lm = OpenAICompatibleLanguageModel(asked["url"], asked["key"], asked["model"], **limits)
    vote, room = SelfConsistency(final), asyncio.Semaphore(asked["at_once"])
    async def one(question):
        async with room:
            drawn = {"budget": asked["votes"], "return_response_only": False}
            result = await vote.ainfer(lm, question, **drawn)
        return {"text": result.the_one["content"], "tokens": result.usage.completion_tokens}
    started = time.monotonic()
    rows = await asyncio.gather(*(one(question) for question in asked["questions"]))
    print(json.dumps({"seconds": time.monotonic() - started, "rows": rows}))
    await lm.close()
asyncio.run(main())
"""


@dataclass(frozen=True)
class Outcome:
    """What one way of voting on all questions took and got."""

    seconds: float
    tokens: int
    correct: int

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds

    def __str__(self) -> str:
        taken = f"{self.seconds:7.2f} s {self.tokens:7} tokens {self.rate:7.1f} tokens/s"
        return f"{taken} {self.correct} right"


@dataclass(frozen=True)
class Bench:
    """The two servers, and the work."""

    session: aiohttp.ClientSession
    engine_url: str
    gateway_url: str
    model: str
    questions: list[dict[str, Any]]
    votes: int

    async def raw(self, round: int) -> Outcome:
        """n = votes in one request; nothing is voted on, so nothing can be correct."""

        async def one(i: int, question: dict[str, Any]) -> tuple[int, bool]:
            more = {"n": self.votes, "seed": 10_000 * round + 100 * i}
            reply = await self._ask(self.engine_url, f"{self.model}@base", question, more)
            return reply["usage"]["completion_tokens"], False

        return await self._all(one)

    async def voted(self, stop: str, round: int) -> Outcome:
        """A vote of the gateway under one stop rule."""
        vote = {"samples": self.votes, "stop": stop}

        async def one(i: int, question: dict[str, Any]) -> tuple[int, bool]:
            more = {"seed": 10_000 * round + 100 * i, "ttrl": vote}
            reply = await self._ask(self.gateway_url, self.model, question, more)
            evidence = reply["ttrl"]
            assert evidence["train"] not in ("off", "not stored", "learning is off"), evidence
            return evidence["sampled_tokens"], _right(evidence["answer"], question)

        return await self._all(one)

    async def its_hub(self, round: int) -> Outcome:
        work = {
            "url": f"{self.engine_url}/v1",
            "key": KEY,
            "model": f"{self.model}@base",
            "max_tokens": MAX_TOKENS,
            "temperature": TEMPERATURE,
            "votes": self.votes,
            "at_once": AT_ONCE,
            "pattern": LAST_NUMBER,
            "questions": [question["question"] for question in self.questions],
        }
        python = str(peers.environment("its-hub", ITS_HUB))
        process = await asyncio.create_subprocess_exec(
            python, "-c", _PEER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate(json.dumps(work).encode())
        result = json.loads(out.splitlines()[-1])
        correct = 0
        for row, question in zip(result["rows"], self.questions, strict=True):
            found = re.search(LAST_NUMBER, row["text"])
            correct += found is not None and _right(found[1], question)
        return Outcome(result["seconds"], sum(row["tokens"] for row in result["rows"]), correct)

    async def _all(
        self, one: Callable[[int, dict[str, Any]], Awaitable[tuple[int, bool]]]
    ) -> Outcome:
        room = asyncio.Semaphore(AT_ONCE)

        async def admitted(i: int, question: dict[str, Any]) -> tuple[int, bool]:
            async with room:
                return await one(i, question)

        started = time.monotonic()
        rows = await asyncio.gather(*itertools.starmap(admitted, enumerate(self.questions)))
        return Outcome(time.monotonic() - started, sum(t for t, _ in rows), sum(c for _, c in rows))

    async def _ask(
        self, url: str, model: str, question: dict[str, Any], more: dict[str, Any]
    ) -> dict[str, Any]:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": question["question"]}],
            "temperature": TEMPERATURE,
            "max_tokens": MAX_TOKENS,
            **{"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
        }
        where, headers = f"{url}/v1/chat/completions", {"authorization": f"Bearer {KEY}"}
        async with self.session.post(where, json=body | more, headers=headers) as reply:
            assert reply.status == 200, await reply.text()
            answer: dict[str, Any] = await reply.json()
            return answer


def _right(answer: str | None, question: dict[str, Any]) -> bool:
    return same(answer, question["answer"], asked(question["question"]))


@asynccontextmanager
async def servers(config: Config, scratch: Path) -> AsyncIterator[tuple[str, str]]:
    """URLs of a vLLM and of a ttrl-serve in front of it; both are gone afterwards."""
    engine_port, gateway_port = free_port(), free_port()
    argv, env = engine_command(config, 0)
    at = argv.index("--uds")
    argv[at : at + 2] = ["--host", "127.0.0.1", "--port", str(engine_port)]
    env |= {"VLLM_API_KEY": KEY}
    engine = ChildTree("engine", argv, env, scratch / "engine.log", grace_s=5)
    engine_url, gateway_url = f"http://127.0.0.1:{engine_port}", f"http://127.0.0.1:{gateway_port}"
    flags = {
        "--model": config.model,
        "--hardware": "cpu",
        "--served-model-name": config.name,
        "--engine-url": engine_url,
        "--engine.key": KEY,
        "--engine.max-num-seqs": config.engine.max_num_seqs,
        "--port": gateway_port,
        "--run-dir": scratch / "run",
        "--adapters.dir": scratch / "adapters",
        "--api.admin-key": "unused",
        "--train.launch": "elsewhere",
    }
    argv = [sys.executable, "-m", "ttrl_server.commands.serve"]
    argv += [str(part) for flag in flags.items() for part in flag]
    front = ChildTree("gateway", argv, {}, scratch / "gateway.log", grace_s=5)
    await engine.start()
    await front.start()
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(START_S):
            # The state of another process: there is no event to wait for.
            while not await _ready(session, gateway_url):  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        yield engine_url, gateway_url
    finally:
        await front.stop()
        await engine.stop()


async def _ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/ready") as reply:
            return reply.status == 200
    except aiohttp.ClientError:
        return False


async def compare(options: argparse.Namespace) -> dict[str, list[Outcome]]:
    """Every way of voting in turn, round after round; the first round is not counted."""
    pool = [question for question in traces.questions(seed=1) if question["kind"] == "chat"]
    questions = pool[:: max(1, len(pool) // options.questions)][: options.questions]
    seen: dict[str, list[Outcome]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        config = small(options.model, Path(scratch) / "engine")
        session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        async with session, servers(config, Path(scratch)) as urls:
            bench = Bench(session, *urls, config.name, questions, options.votes)
            ways: dict[str, Callable[[int], Awaitable[Outcome]]] = {
                "raw": bench.raw,
                **{rule: functools.partial(bench.voted, rule) for rule in RULES},
                "its_hub": bench.its_hub,
            }
            for round in range(options.rounds + 1):
                # Back and forth, so that no way always runs on a warmer machine.
                for name in list(ways) if round % 2 else reversed(list(ways)):
                    outcome = await ways[name](round)
                    print(f"round {round} {name:8} {outcome}", flush=True)
                    if round:
                        seen.setdefault(name, []).append(outcome)
    return seen


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--votes", type=int, default=64)
    options = parser.parse_args()
    peers.environment("its-hub", ITS_HUB)
    seen = asyncio.run(compare(options))
    ratios = [ours.rate / raw.rate for ours, raw in zip(seen["none"], seen["raw"], strict=True)]
    report: dict[str, Any] = {
        "ratio_to_raw": round(statistics.median(ratios), 4),
        "ratio_to_raw_spread": [round(min(ratios), 4), round(max(ratios), 4)],
    }
    for name in (*RULES, "its_hub"):
        outcomes = seen[name]
        right = statistics.median(outcome.correct for outcome in outcomes)
        report[name] = {
            "seconds": round(statistics.median(outcome.seconds for outcome in outcomes), 2),
            "tokens": round(statistics.median(outcome.tokens for outcome in outcomes)),
            "correct": round(right / options.questions, 3),
        }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
