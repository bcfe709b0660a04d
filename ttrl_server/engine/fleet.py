"""The replicas, and the holds of questions on their versions.

A *hold* binds a question to one replica and one version, from admission to its last byte (rule 1).
A promotion changes only the pointer ``serving``; a version is unloaded after its last hold.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from ttrl_server.engine.client import EngineClient
from ttrl_server.errors import Overloaded, RequestError
from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config
from ttrl_server.types import Kind


@dataclass
class Replica:
    """One engine: its client, what it has loaded, and how busy it is."""

    index: int
    client: EngineClient
    slots: asyncio.Semaphore
    """Limits the samples in vLLM; other samples wait here, where they can be cancelled."""
    ready: bool = False
    loaded: set[int] = field(default_factory=set)
    proved: dict[int, dict[str, float]] = field(default_factory=dict)
    """By version: the figures of its proof. Each load is proved once."""
    questions: int = 0
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the engine stops answering; its supervisor restarts it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The right to use one version on one replica. Ends with its ``with`` block."""

    replica: Replica
    version: int
    model: str
    """The engine's name of the version."""


def engine_not_ready() -> Overloaded:
    message = "The engine is starting or restarting; try again shortly."
    return Overloaded(message, status=503, retry_after_s=5, code="engine_not_ready")


class Fleet:
    """All replicas of one served model."""

    def __init__(self, config: Config, clients: list[EngineClient]) -> None:
        self._config = config
        # Twice max_num_seqs: vLLM always has samples in its queue.
        slots = 2 * config.engine.max_num_seqs
        self.replicas = [
            Replica(i, client, asyncio.Semaphore(slots)) for i, client in enumerate(clients)
        ]
        self.serving = 0
        self.candidate: int | None = None
        """The version that is loaded but not proved: no client may name it yet."""
        self._holds: Counter[int] = Counter()
        self._changed = asyncio.Event()

    @property
    def renders(self) -> frozenset[Kind]:
        """The kinds of requests that every engine makes prompts of, and messages of samples."""
        of_each = [replica.client.renders for replica in self.replicas]
        return frozenset.intersection(*of_each) if of_each else frozenset()

    @property
    def context(self) -> int | None:
        """Most tokens of a prompt with its completion; None before an engine has said it."""
        return min((r.client.context for r in self.replicas if r.client.context), default=None)

    @contextmanager
    def hold(self, version: int | None = None) -> Iterator[Hold]:
        """Holds ``version`` (None: the served one) on the replica with the fewest questions. Raises
        RequestError or Overloaded."""
        number = self.serving if version is None else version
        if number not in self.living():
            nearest = min(self.living(), key=lambda v: (abs(v - number), -v))
            name = partial(version_name, self._config.name)
            message = (
                f"{name(number)} is not served now; the nearest is {name(nearest)}, of "
                f"{', '.join(map(name, sorted(self.living())))}"
            )
            raise RequestError(message, status=404, param="model", code="model_not_found")
        able = [r for r in self.replicas if r.ready and (number == 0 or number in r.loaded)]
        if not able:
            raise engine_not_ready()
        replica = min(able, key=lambda r: r.questions)
        self._holds[number] += 1
        replica.questions += 1
        try:
            yield Hold(replica, number, version_name(self._config.name, number))
        finally:
            self._holds -= Counter([number])  # which also drops a count of 0
            replica.questions -= 1
            self.announce()

    @property
    def ready(self) -> bool:
        return any(r.ready for r in self.replicas)

    @property
    def idle(self) -> bool:
        return not self._holds

    def living(self) -> set[int]:
        """Versions a client may name: the base model and every loaded version but the candidate."""
        loaded = (replica.loaded for replica in self.replicas if replica.ready)
        return {0, self.serving}.union(*loaded) - {self.candidate}

    def take_out(self, replica: Replica) -> None:
        """Stops routing questions to a replica that does not answer."""
        replica.ready = False
        replica.failed.set()

    @staticmethod
    def forget(replica: Replica) -> None:
        """Reset after an engine restart: nothing is loaded."""
        replica.ready = False
        replica.loaded.clear()
        replica.proved.clear()

    def room(self, number: int) -> bool:
        """Whether a version fits on every ready replica without vLLM evicting one that is held."""
        most = self._config.engine.max_loras
        return all(number in r.loaded or len(r.loaded) < most for r in self.replicas if r.ready)

    def held(self, number: int) -> bool:
        return self._holds[number] > 0

    async def until(self, condition: Callable[[], bool], timeout_s: float | None = None) -> None:
        """Returns when ``condition()`` is true, or after ``timeout_s``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not condition():
                    await self._changed.wait()

    def announce(self) -> None:
        """Wakes all tasks in ``until``: they check their condition again."""
        self._changed.set()
        self._changed = asyncio.Event()
