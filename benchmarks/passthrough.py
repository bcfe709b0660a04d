"""What the gateway adds to a request it passes through, beside LiteLLM's proxy, in one run.

    python -m benchmarks.passthrough [--rounds N] [--requests N] [--streams N]

                     ┌───────────────────────────────────────────────────┐
    one client ──TCP─┼─▶ ttrl-server's gateway ──────────── Unix socket ─┼─▶ one upstream,
                     └─▶ LiteLLM's proxy (own environment) ─────── TCP ──┘   a fixed answer

A round sends the same chat request ``--requests`` times over one kept-alive connection to each of
the three in turn, in alternating order; what a proxy adds is its median less the direct median of
the same round. The gateway is the one that ``ttrl-serve`` runs (``serve.run``, all its middleware
and its uvicorn settings), attached to the upstream's Unix socket as to a vLLM of its own, with
``vote.policy never``; LiteLLM's has one worker, one model, no database, no telemetry. CPU seconds
are the proxy's process and all its children, from ``/proc``. Then 16 connections at once, and
streams of 50 events. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from rich.console import Console
from rich.table import Column, Table

from benchmarks import argument_parser, peers, spread
from benchmarks.peers import LITELLM_ENV, MODEL, litellm_command, serve_upstream
from demo.server import free_port
from ttrl_server.process import ChildTree
from ttrl_server.settings.config import Config

KEY = f"sk-{secrets.token_hex(32)}"
"""What both proxies ask of the client."""
AT_ONCE = 16
START_S = 120
WARM_UP = 200
TICKS = os.sysconf("SC_CLK_TCK")

QUESTION = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "You are a helpful assistant. Answer briefly. " * 8},
        {"role": "user", "content": "What is the capital of France, and since when? " * 8},
    ],
    "temperature": 0.7,
    "max_tokens": 64,
}


def serve_gateway(port: int, upstream: str, path: str, run_dir: Path, key: str) -> None:
    """``ttrl-serve`` that reaches the upstream by its socket, as a vLLM it has started itself."""
    from ttrl_server.commands import serve
    from ttrl_server.engine import supervisor
    from ttrl_server.engine.client import EngineClient

    supervisor.make_clients = lambda config, key: [EngineClient(socket=path, key=key)]
    settings: dict[str, Any] = {
        "model": f"org/{MODEL}",
        "hardware": "cpu",
        "run_dir": run_dir,
        "api": {"port": port, "keys": [key]},
        "engine": {"url": upstream},
        "vote": {"policy": "never"},
        "train": {"enabled": False},
        "log": {"level": "warning"},
    }
    serve.run(Config(**settings))


# ---------------------------------------------------------------- the three in front of the client


@dataclass
class Target:
    """One address the client asks, and what was seen of it."""

    name: str
    url: str
    session: aiohttp.ClientSession
    tree: ChildTree
    rounds: list[list[float]] = field(default_factory=list)
    """Milliseconds of each request of each round."""
    cpu_s: float = 0.0
    """CPU seconds of its processes in all rounds."""
    per_s: list[float] = field(default_factory=list)
    """Requests/s of each run with ``AT_ONCE`` connections."""
    streams: list[Stream] = field(default_factory=list)


@dataclass(frozen=True)
class Stream:
    """One answer of ``EVENTS`` events as it came in."""

    first_ms: float
    chunks: int
    """HTTP chunks; as many as there are events where each was sent on as it came."""
    content: bytes


@contextlib.asynccontextmanager
async def targets(folder: Path, litellm: Path) -> AsyncIterator[list[Target]]:
    """Upstream, gateway and LiteLLM, all answering; their processes end whatever happens."""
    ports = [free_port() for _ in range(3)]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    path = str(folder / "upstream.sock")
    me = [sys.executable, "-m", "benchmarks.passthrough", "--be"]
    commands = {
        "direct": [*me, "upstream", str(ports[0]), path],
        "ours": [*me, "gateway", str(ports[1]), urls[0], path, str(folder / "run"), KEY],
        "litellm": litellm_command(litellm, folder / "litellm.yaml", urls[0], ports[2]),
    }
    env = LITELLM_ENV | {"LITELLM_MASTER_KEY": KEY}
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for (name, argv), url in zip(commands.items(), urls, strict=True):
            tree = ChildTree(name, argv, env, folder / f"{name}.log", grace_s=5)
            stack.push_async_callback(tree.stop)
            await tree.start()
            # LiteLLM's uvicorn closes a connection after 5 s.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            found.append(Target(name, f"{url}/v1/chat/completions", session, tree))
            await until_answering(found[-1])
        yield found


async def until_answering(target: Target) -> None:
    """Raises RuntimeError with the end of its log when it does not answer in ``START_S``."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            await ask(target)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(target.tree.wait(), 0.2)
            break
    raise RuntimeError(f"{target.name} does not answer: {target.tree.tail()}")


# ---------------------------------------------------------------- measuring


async def measure(found: list[Target], rounds: int, requests: int, streams: int) -> None:
    """The targets take turns, so that whatever else the machine does meets each of them."""
    for target in found:
        await in_turn(target, WARM_UP)
        await at_once(target, WARM_UP)
    for number in range(rounds):
        order = found if number % 2 else found[::-1]
        for target in order:
            before = cpu_s(target.tree.pid)
            target.rounds.append(await in_turn(target, requests))
            target.cpu_s += cpu_s(target.tree.pid) - before
        for target in order:
            target.per_s.append(await at_once(target, requests))
        for target in order:
            target.streams += [await stream(target) for _ in range(streams)]


async def in_turn(target: Target, requests: int) -> list[float]:
    """Milliseconds of each of ``requests``, one after another on one connection."""
    taken = []
    for _ in range(requests):
        started = time.perf_counter()
        await ask(target)
        taken.append((time.perf_counter() - started) * 1e3)
    return taken


async def at_once(target: Target, requests: int) -> float:
    """Requests/s over ``AT_ONCE`` connections."""
    started = time.perf_counter()
    await asyncio.gather(*(in_turn(target, requests // AT_ONCE) for _ in range(AT_ONCE)))
    return requests // AT_ONCE * AT_ONCE / (time.perf_counter() - started)


_HEADERS = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
_QUESTION = json.dumps(QUESTION).encode()
_STREAMED = json.dumps(QUESTION | {"stream": True}).encode()


def post(target: Target, body: bytes) -> Any:
    return target.session.post(target.url, data=body, headers=_HEADERS, raise_for_status=True)


async def ask(target: Target) -> None:
    async with post(target, _QUESTION) as reply:
        await reply.read()


async def stream(target: Target) -> Stream:
    arrived, content, chunks = None, b"", 0
    started = time.perf_counter()
    async with post(target, _STREAMED) as reply:
        async for data, ends_chunk in reply.content.iter_chunks():
            arrived = arrived or time.perf_counter()
            content += data
            chunks += ends_chunk and bool(data)
    return Stream(((arrived or started) - started) * 1e3, chunks, content)


def cpu_s(pid: int | None) -> float:
    """CPU seconds of all descendants of a reaper, those that have ended included."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            times = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:15]
            total += sum(map(int, times)) / TICKS + cpu_s(int(child))
    return total


# ---------------------------------------------------------------- the result


def added(target: Target, direct: Target) -> list[float]:
    """Milliseconds added at the median, of each round."""
    pairs = zip(target.rounds, direct.rounds, strict=True)
    return [statistics.median(with_it) - statistics.median(without) for with_it, without in pairs]


def added_p99(target: Target, direct: Target) -> float:
    """Over the requests of all rounds: a tail needs them all."""
    with_it, without = (list(itertools.chain(*each.rounds)) for each in (target, direct))
    return statistics.quantiles(with_it, n=100)[98] - statistics.quantiles(without, n=100)[98]


def first_event(target: Target) -> float:
    return statistics.median(each.first_ms for each in target.streams)


def table(found: list[Target]) -> Table:
    direct = found[0]
    heads = ["", "ms p50", "added ms p50", "added p99", "CPU s/1000", f"per s at {AT_ONCE}"]
    columns = [Column(head, justify="right") for head in (*heads, "first event ms")]
    shown = Table(*columns, title=f"{len(direct.rounds)} rounds; median (quartiles)")
    for target in found:
        shown.add_row(
            target.name,
            spread([statistics.median(taken) for taken in target.rounds]),
            spread(added(target, direct)),
            f"{added_p99(target, direct):.2f}",
            f"{per_1000(target):.2f}",
            spread(target.per_s),
            spread([each.first_ms for each in target.streams]),
        )
    return shown


def per_1000(target: Target) -> float:
    return target.cpu_s / sum(map(len, target.rounds)) * 1000


def summary(found: list[Target], litellm_version: str) -> dict[str, Any]:
    direct, ours, litellm = found
    mine, theirs = added(ours, direct), added(litellm, direct)
    ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
    per_s = {f"{t.name}_per_s_at_{AT_ONCE}": round(statistics.median(t.per_s)) for t in found}
    same = all(each.content == direct.streams[0].content for each in ours.streams)
    return {
        "added_ms_p50": round(statistics.median(mine), 3),
        "added_ms_p99": round(added_p99(ours, direct), 3),
        "ratio_to_litellm": round(ratio, 3),
        "cpu_s_per_1000": round(per_1000(ours), 3),
        "litellm_added_ms_p50": round(statistics.median(theirs), 3),
        "litellm_added_ms_p99": round(added_p99(litellm, direct), 3),
        "litellm_cpu_s_per_1000": round(per_1000(litellm), 3),
        "litellm_version": litellm_version,
        **per_s,
        "added_first_event_ms_p50": round(first_event(ours) - first_event(direct), 3),
        "litellm_added_first_event_ms_p50": round(first_event(litellm) - first_event(direct), 3),
        "chunks_of_50_events": statistics.median(each.chunks for each in ours.streams),
        "stream_is_byte_for_byte": same,
    }


async def run(rounds: int, requests: int, streams: int) -> None:
    litellm = peers.environment("litellm", "litellm[proxy]")
    with tempfile.TemporaryDirectory() as folder:
        async with targets(Path(folder), litellm) as found:
            await measure(found, rounds, requests, streams)
    Console(width=120).print(table(found))
    print(json.dumps(summary(found, peers.version(litellm, "litellm"))))


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=200, help="of each target in each round")
    parser.add_argument("--streams", type=int, default=5, help="of each target in each round")
    parser.add_argument("--be", nargs="+", help=argparse.SUPPRESS)  # one of the processes it starts
    options = parser.parse_args()
    match options.be:
        case ["upstream", port, path]:
            uvloop.run(serve_upstream(int(port), path))
        case ["gateway", port, upstream, path, run_dir, key]:
            serve_gateway(int(port), upstream, path, Path(run_dir), key)
        case _:
            uvloop.run(run(options.rounds, options.requests, options.streams))


if __name__ == "__main__":
    main()
