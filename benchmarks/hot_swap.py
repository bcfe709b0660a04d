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
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil

from benchmarks.gateway import PROGRESS
from benchmarks.perturbed import Maker
from demo.run import KEY, MODEL_NAME, clear, ensure_model, server_argv, wait_ready
from demo.server import Server, free_port
from ttrl_server.types import Batch

ADMIN = "benchmark"
VOTERS, STREAMS = 2, 2
"""Clients of each kind."""
FLAGS: dict[str, object] = {
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
    "--guard.min-majority": 0,
    "--guard.min-margin": 0,
    "--guard.min-extractable": 0,
    "--guard.max-copies": 1000,
    "--guard.max-flips": 1000,
    "--guard.max-questions": 0,
    "--guard.watch-groups": 100000,
    "--gate.canary-share": 0,
    "--gate.sentinels": False,
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
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        kinds = [self._vote] * VOTERS + [self._stream] * STREAMS
        self._threads = [
            threading.Thread(target=self._repeat, args=(kind, i)) for i, kind in enumerate(kinds)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(120)

    def _repeat(self, kind: Any, client: int) -> None:
        with httpx.Client(
            base_url=self.url, timeout=120, headers={"authorization": f"Bearer {KEY}"}
        ) as http:
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
        reply.raise_for_status()
        assert reply.json()["ttrl"]["adapter"] == reply.headers["x-ttrl-adapter"]

    def _stream(self, http: httpx.Client, n: int) -> None:
        models, longest, last = set(), 0.0, None
        body = question(n, max_tokens=48, stream=True, temperature=0.0, ignore_eos=True)
        with http.stream("POST", "/v1/chat/completions", json=body) as reply:
            reply.raise_for_status()
            for data in events(reply):
                now = time.monotonic()
                longest, last = max(longest, now - last if last else 0.0), now
                models.add(data["model"])
        self.pauses.append(longest)
        self.changed += len(models) > 1


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
        self._http = httpx.Client(
            base_url=url, timeout=120, headers={"authorization": f"Bearer {ADMIN}"}
        )
        self.leased: list[Batch] = []
        self.served_ms: list[float] = []

    def swap(self) -> None:
        """One version, from its proposal to the first token it gives."""
        batch = self._lease()
        self.leased.append(batch)
        parent = batch.parent.number if batch.parent else 0
        version = self._maker.publish(
            self._root, self._made[batch.number - 1], batch.number, parent=parent
        )
        started = time.monotonic()
        reply = self._http.post(
            "/ttrl/v1/train/propose", json={"batch": batch.id, "folder": version.folder}
        )
        reply.raise_for_status()
        assert reply.json()["state"] == "promoted", reply.text
        body = question(batch.number, max_tokens=2, stream=True, temperature=0.0)
        with self._http.stream("POST", "/v1/chat/completions", json=body) as stream:
            assert stream.headers["x-ttrl-adapter"] == f"{MODEL_NAME}@v{batch.number}", (
                stream.headers
            )
            next(events(stream))
            self.served_ms.append(1000 * (time.monotonic() - started))

    def _lease(self) -> Batch:
        while True:
            reply = self._http.post("/ttrl/v1/train/lease", json={"worker": "benchmark"})
            reply.raise_for_status()
            if reply.status_code == 200:
                return msgspec.msgpack.decode(reply.content, type=Batch)

    def serve(self, action: str, body: dict[str, Any]) -> float:
        """Seconds an operator's command takes."""
        started = time.monotonic()
        self._http.post(f"/ttrl/v1/adapters/{action}", json=body).raise_for_status()
        return time.monotonic() - started

    def greedy(self, n: int) -> str:
        """What is served says to one question, without chance."""
        reply = self._http.post(
            "/v1/chat/completions", json=question(n, max_tokens=32, temperature=0.0)
        )
        reply.raise_for_status()
        return str(reply.json()["choices"][0]["message"]["content"])

    def mixed(self) -> int:
        """Groups whose samples another version than theirs drew."""
        wrong = 0
        for batch in self.leased:
            for experience in batch.experiences:
                group = experience.group
                if group.version:
                    self._maker.wear(
                        self._maker.read(next(self._root.glob(f"v{group.version:06d}-*")))
                    )
                    wrong += not all(
                        self._is_its(group.prompt_token_ids, r, group.temperature)
                        for r in group.rollouts
                    )
        return wrong

    def _is_its(self, prompt: tuple[int, ...], rollout: Any, temperature: float) -> bool:
        ours = self._maker.score(prompt + rollout.token_ids, len(prompt), temperature=temperature)
        squares = [(a - b) ** 2 for a, b in zip(ours, rollout.logprobs, strict=True)]
        return bool((sum(squares) / len(squares)) ** 0.5 < TOLERANCE)


# ---------------------------------------------------------------- memory


def resident(server: psutil.Process) -> tuple[float, float]:
    """MiB of the engine's processes and of the gateway."""
    engine = [
        p
        for p in server.children(recursive=True)
        if "vllm" in " ".join([*p.cmdline(), p.name()]).lower()
    ]
    return sum(p.memory_info().rss for p in engine) / 2**20, server.memory_info().rss / 2**20


def measure(options: argparse.Namespace) -> dict[str, Any]:
    out, model = options.out.absolute(), options.model_dir.absolute()
    clear(out)
    shutil.rmtree(out / "made", ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    ensure_model(model)
    root, port = out / "adapters", free_port()
    maker = Maker(model)
    PROGRESS.print(f"making {options.swaps} versions")
    made = [
        maker.stage(out / "made", n, maker.weights(n, SIZES[n % len(SIZES)]))
        for n in range(1, options.swaps + 1)
    ]
    flags = FLAGS | {"--adapters.keep": options.swaps + 2}
    argv = [*server_argv(model, out, port), *(str(part) for flag in flags.items() for part in flag)]
    url = f"http://127.0.0.1:{port}"
    with Server(argv, out / "server.log", out / "server.pid") as server:
        wait_ready(server, f"{url}/ready", 600, PROGRESS)
        gateway = psutil.Process(int((out / "server.pid").read_text()))
        root.mkdir(exist_ok=True)
        for staged in made:
            staged.rename(root / staged.name)
        trainer = Trainer(url, maker, root, [root / staged.name for staged in made])
        with Load(url) as warm_up:
            time.sleep(10)
        with Load(url) as quiet:
            time.sleep(options.quiet_s)
        with Load(url) as busy:
            for n in range(1, options.swaps + 1):
                trainer.swap()
                if n == min(10, options.swaps):
                    early = resident(gateway)
                if n % 10 == 0:
                    PROGRESS.print(
                        f"{n} swaps, {busy.requests} requests, {len(busy.failed)} failed"
                    )
                time.sleep(options.pause_s)
        late = resident(gateway)
        there_and_back = [
            trainer.serve("rollback", {}),
            trainer.serve(f"{options.swaps}/promote", {}),
        ]
        warm = [trainer.greedy(n) for n in range(GREEDY)]
        mixed = trainer.mixed() + busy.changed
    with Server(argv, out / "server.log", out / "server.pid") as server:
        wait_ready(server, f"{url}/ready", 600, PROGRESS)
        cold = [trainer.greedy(n) for n in range(GREEDY)]
        times = sorted(trainer.served_ms)
        failed = [*warm_up.failed, *quiet.failed, *busy.failed]
        return {
            "swaps": len(times),
            "requests": busy.requests,
            "failed": len(failed),
            "mixed": mixed,
            "publish_to_served_ms_p50": round(statistics.median(times), 1),
            "publish_to_served_ms_p99": round(
                times[min(len(times) - 1, int(0.99 * len(times)))], 1
            ),
            "gap_ratio": round(_p99(busy.pauses) / _p99(quiet.pauses), 3),
            "engine_growth_mib": round(late[0] - early[0], 1),
            "gateway_growth_mib": round(late[1] - early[1], 1),
            "rollback_ms": [round(1000 * seconds) for seconds in there_and_back],
            "cold_start_equal": warm == cold,
            "first_failure": failed[0] if failed else None,
            "longest_gap_ms": {
                "quiet": round(1000 * max(quiet.pauses)),
                "swaps": round(1000 * max(busy.pauses)),
            },
        }


def _p99(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hot_swap", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument(
        "--quiet-s", type=float, default=60, help="seconds of the same load without swaps"
    )
    parser.add_argument("--pause-s", type=float, default=1, help="between one swap and the next")
    parser.add_argument("--model-dir", type=Path, default=Path(".models/SmolLM2-135M-Instruct"))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/hot_swap"))
    print(json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
