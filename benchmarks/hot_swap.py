"""What swaps of versions cost under a steady load of votes and streams, on the real engine.

    python -m benchmarks.hot_swap [--swaps 50] [--model-dir .models/SmolLM2-135M-Instruct]

A server from nothing, without a trainer of its own and with the gate's questions off. Voted
questions and plain streams are asked all the time by several clients. First without swaps; then
this program plays the trainer: it leases a batch, publishes a version made beforehand and proposes
it, ``--swaps`` times.

    publish_to_served_ms   from the proposal to the first token a new stream got from the new one
    gap_ratio              the longest pause between two tokens of running streams, the 99th
                           percentile over streams, beside the same load without swaps
    mixed                  voted groups whose samples' log-probabilities are not those of the one
                           version they name
    growth                 resident memory of engine and gateway after the last swap, less after
                           the tenth
    rollback_ms            one command, from the request to the answer that says what is served
                           now; and back again
    cold_start_equal       whether the last version says word for word the same after a restart of
                           everything

The last line is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil

from benchmarks import MODEL, argument_parser
from benchmarks.gateway import PROGRESS, UNGUARDED, prepare, serving
from benchmarks.perturbed import Maker
from demo.run import KEY, MODEL_NAME
from demo.server import free_port
from ttrl_server.types import Batch, Group, Rollout

ADMIN = "benchmark"
FLAGS: dict[str, object] = UNGUARDED | {
    "--api.admin-key": ADMIN,
    "--vote.samples": 4,
    "--vote.stop": "none",
    "--train.launch": "elsewhere",
    "--train.samples": 4,
    "--train.min-group": 2,
    "--train.questions": 1,
    "--train.max-wait-s": 0,
    "--train.when": "always",
    "--train.max-staleness": 1000,
    "--guard.watch-groups": 100000,
}
TOLERANCE = 0.02
"""Nats (root mean square) within which a group's samples are those of its version."""
GREEDY = 8
"""Questions asked before and after the restart."""
SIZES = (0.001, 0.002, 0.003)
"""Of the perturbations."""


@dataclass
class Load:
    """What the clients saw."""

    url: str
    requests: int = 0
    failed: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    """The longest of each stream, seconds."""
    changed: int = 0
    """Streams whose chunks named two models."""
    _ending: threading.Event = field(default_factory=threading.Event)
    _clients: ThreadPoolExecutor = field(default_factory=ThreadPoolExecutor)

    def __enter__(self) -> Load:
        for client, kind in enumerate([self._vote, self._vote, self._stream, self._stream]):
            self._clients.submit(self._repeat, kind, client)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._clients.shutdown()

    def _repeat(self, kind: Any, client: int) -> None:
        with client_of(self.url, KEY) as http:
            for n in itertools.count(client * 1000):
                if self._ending.is_set():
                    return
                self.requests += 1
                try:
                    kind(http, n)
                except Exception as error:  # whatever a client meets is what is counted
                    self.failed.append(repr(error)[:200])

    def _vote(self, http: httpx.Client, n: int) -> None:
        reply = http.post("/v1/chat/completions", json=question(n, max_tokens=12))
        assert reply.json()["ttrl"]["adapter"] == reply.headers["x-ttrl-adapter"]

    def _stream(self, http: httpx.Client, n: int) -> None:
        models, longest, last = set(), 0.0, None
        body = question(n, max_tokens=48, stream=True, temperature=0.0, ignore_eos=True)
        with http.stream("POST", "/v1/chat/completions", json=body) as reply:
            for data in events(reply):
                now = time.monotonic()
                longest, last = max(longest, now - last if last else 0.0), now
                models.add(data["model"])
        self.pauses.append(longest)
        self.changed += len(models) > 1


def client_of(url: str, key: str) -> httpx.Client:
    """A client that raises when the answer is an error."""
    headers = {"authorization": f"Bearer {key}"}
    hooks = {"response": [httpx.Response.raise_for_status]}
    return httpx.Client(base_url=url, timeout=120, headers=headers, event_hooks=hooks)


def question(n: int, **more: Any) -> dict[str, Any]:
    """One of many questions, chat."""
    content = f"What is {n % 89 + 2} * {n // 89 % 89 + 2}? Answer with just the number."
    return {"model": MODEL_NAME, "messages": [{"role": "user", "content": content}], **more}


def events(reply: httpx.Response) -> Iterator[dict[str, Any]]:
    """The chunks of a stream."""
    for line in reply.iter_lines():
        if line.startswith("data: ") and line != "data: [DONE]":
            data = json.loads(line.removeprefix("data: "))
            assert "error" not in data, data
            yield data


# ---------------------------------------------------------------- the trainer's part


class Trainer:
    """Leases, publishes what was made beforehand, proposes; looks at what it leased."""

    def __init__(self, url: str, maker: Maker, root: Path, made: list[Path]) -> None:
        self._maker, self._root, self._made = maker, root, made
        self._http = client_of(url, ADMIN)
        self.leased: list[Batch] = []
        self.served_ms: list[float] = []

    def swap(self) -> None:
        """One version, from its proposal to the first token it gives."""
        batch = self._lease()
        self.leased.append(batch)
        number, parent = batch.number, batch.parent.number if batch.parent else 0
        made = self._made[number - 1]
        version = self._maker.publish(self._root, made, number, parent=parent)
        started = time.monotonic()
        proposal = {"batch": batch.id, "folder": version.folder}
        reply = self._http.post("/ttrl/v1/train/propose", json=proposal)
        assert reply.json()["state"] == "promoted", reply.text
        body = question(number, max_tokens=2, stream=True, temperature=0.0)
        with self._http.stream("POST", "/v1/chat/completions", json=body) as stream:
            assert stream.headers["x-ttrl-adapter"] == f"{MODEL_NAME}@v{number}", stream.headers
            next(events(stream))
            self.served_ms.append(1000 * (time.monotonic() - started))

    def _lease(self) -> Batch:
        while True:
            reply = self._http.post("/ttrl/v1/train/lease", json={"worker": "benchmark"})
            if reply.status_code == 200:
                return msgspec.msgpack.decode(reply.content, type=Batch)

    def serve(self, action: str) -> float:
        """Seconds an operator's command takes."""
        started = time.monotonic()
        self._http.post(f"/ttrl/v1/adapters/{action}", json={})
        return time.monotonic() - started

    def greedy(self, n: int) -> str:
        """What is served says to one question, without chance."""
        body = question(n, max_tokens=32, temperature=0.0)
        reply = self._http.post("/v1/chat/completions", json=body)
        return str(reply.json()["choices"][0]["message"]["content"])

    def mixed(self) -> int:
        """Groups whose samples another version than theirs drew."""
        wrong = 0
        groups = [experience.group for batch in self.leased for experience in batch.experiences]
        for group in groups:
            if group.version:
                folder = next(self._root.glob(f"v{group.version:06d}-*"))
                self._maker.wear(self._maker.read(folder))
                wrong += not all(self._is_its(group, rollout) for rollout in group.rollouts)
        return wrong

    def _is_its(self, group: Group, rollout: Rollout) -> bool:
        ids, start = group.prompt_token_ids + rollout.token_ids, len(group.prompt_token_ids)
        ours = self._maker.score(ids, start, temperature=group.temperature)
        squares = [(a - b) ** 2 for a, b in zip(ours, rollout.logprobs, strict=True)]
        return math.sqrt(statistics.fmean(squares)) < TOLERANCE


# ---------------------------------------------------------------- measuring


def resident(server: psutil.Process) -> tuple[float, float]:
    """MiB of the engine's processes and of the gateway."""
    engine = 0
    for process in server.children(recursive=True):
        if "vllm" in " ".join([*process.cmdline(), process.name()]).lower():
            engine += process.memory_info().rss
    return engine / 2**20, server.memory_info().rss / 2**20


def measure(options: argparse.Namespace) -> dict[str, Any]:
    out, model = options.out.absolute(), options.model_dir.absolute()
    shutil.rmtree(out / "made", ignore_errors=True)
    prepare(model, out)
    root, port = out / "adapters", free_port()
    maker = Maker(model)
    PROGRESS.print(f"making {options.swaps} versions")
    numbers = range(1, options.swaps + 1)
    made = [maker.stage(out / "made", n, maker.weights(n, SIZES[n % 3])) for n in numbers]
    settings = FLAGS | {"--adapters.keep": options.swaps + 2}
    with serving(model, out, settings, port) as url:
        gateway = psutil.Process(int((out / "server.pid").read_text()))
        root.mkdir(exist_ok=True)
        trainer = Trainer(url, maker, root, [staged.rename(root / staged.name) for staged in made])
        with Load(url) as warm_up:
            time.sleep(10)
        with Load(url) as quiet:
            time.sleep(options.quiet_s)
        with Load(url) as busy:
            for n in numbers:
                trainer.swap()
                if n == min(10, options.swaps):
                    early = resident(gateway)
                if n % 10 == 0:
                    so_far = f"{busy.requests} requests, {len(busy.failed)} failed"
                    PROGRESS.print(f"{n} swaps, {so_far}")
                time.sleep(options.pause_s)
        late = resident(gateway)
        there_and_back = [trainer.serve("rollback"), trainer.serve(f"{options.swaps}/promote")]
        warm = [trainer.greedy(n) for n in range(GREEDY)]
        mixed = trainer.mixed() + busy.changed
    with serving(model, out, settings, port):
        cold = [trainer.greedy(n) for n in range(GREEDY)]
    failed = [*warm_up.failed, *quiet.failed, *busy.failed]
    gaps = {"quiet": max(quiet.pauses), "swaps": max(busy.pauses)}
    return {
        "swaps": len(trainer.served_ms),
        "requests": busy.requests,
        "failed": len(failed),
        "mixed": mixed,
        "publish_to_served_ms_p50": round(statistics.median(trainer.served_ms), 1),
        "publish_to_served_ms_p99": round(_p99(trainer.served_ms), 1),
        "gap_ratio": round(_p99(busy.pauses) / _p99(quiet.pauses), 3),
        "engine_growth_mib": round(late[0] - early[0], 1),
        "gateway_growth_mib": round(late[1] - early[1], 1),
        "rollback_ms": [round(1000 * seconds) for seconds in there_and_back],
        "cold_start_equal": warm == cold,
        "first_failure": failed[0] if failed else None,
        "longest_gap_ms": {name: round(1000 * seconds) for name, seconds in gaps.items()},
    }


def _p99(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--swaps", type=int, default=50)
    about = "seconds of the same load without swaps"
    parser.add_argument("--quiet-s", type=float, default=60, help=about)
    parser.add_argument("--pause-s", type=float, default=1, help="between one swap and the next")
    parser.add_argument("--model-dir", type=Path, default=Path(MODEL))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/hot_swap"))
    print(json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
