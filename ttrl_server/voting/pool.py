"""The key of every answer: from its text where that is enough, else from a worker process that can be killed.

A key is a function of its answer alone, so equal keys are an equivalence relation whatever the order of the samples. A
worker that does not answer in time, or bursts its memory, is killed and replaced; its expression then counts as it is
spelt, the caller is told (``Keys.complete``), and no second worker is given to it.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ttrl_server.voting.equivalence import canonical
from ttrl_server.voting.structure import leaves, render
from ttrl_server.voting.worker import LARGEST_MESSAGE, UNDECIDED

_FORKER = "from ttrl_server.voting import worker; worker.main()"
START_S = 60.0
"""The longest the first worker may take: its process imports an algebra system."""
_CPU_OF_A_PROCESS = 2
"""CPUCLOCK_SCHED of Linux, of which clock_getcpuclockid(3) makes a clock's number together with the pid."""
TURN_S = 0.05
"""How long one call keeps a worker while others wait, give or take its last expression."""

PATIENCE = 4
"""Times its wall time that an expression may take where the machine, not the expression, is what takes so long."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What a set of answers is compared by."""

    of: dict[str, str]
    """Key of each answer."""
    complete: bool
    """False when some answer had to be taken as it is spelt, for want of time or memory."""


@dataclass(frozen=True, slots=True)
class _Worker:
    pid: int
    handle: int
    """Of the process itself: a pid may long belong to a stranger when a worker that died is cleared away."""
    channel: socket.socket

    def cpu_s(self) -> float:
        """CPU time it has used; infinite once it is gone."""
        try:
            return time.clock_gettime((~self.pid << 3) | _CPU_OF_A_PROCESS)
        except OSError:
            return math.inf

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)
        os.close(self.handle)
        self.channel.close()


@dataclass(slots=True, eq=False)
class _Asker:
    """One call that wants workers. Of those waiting, the one that has used them least comes first."""

    deadline: float
    used_s: float = 0.0


class Pool:
    """Worker processes and what they have found. Any thread may ask; the processes end with ``close``."""

    def __init__(self, workers: int = 1, *, answer_s: float = 1.0, memory_mib: int = 1024, cache: int = 65_536) -> None:
        self._most, self._answer_s, self._memory_mib, self._cache_size = workers, answer_s, memory_mib, cache
        self._found: OrderedDict[str, str | None] = OrderedDict()
        """Key by expression; None for one that cost a worker its life."""
        self._idle: list[_Worker] = []
        self._waiting: list[_Asker] = []
        self._living = 0
        self._changed = threading.Condition()
        self._starting = threading.Lock()
        self._forker: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Has a worker ready, so that the first vote does not wait for imports."""
        if worker := self._borrow(_Asker(time.monotonic() + START_S)):
            self._give_back(worker)

    def close(self) -> None:
        """Ends every process; whoever asks afterwards gets keys from text alone, and is told."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for worker in idle:
            worker.kill()
        with self._starting:
            if self._forker:
                self._forker.kill()
                self._forker.wait()
            if self._control:
                self._control.close()
            self._forker = self._control = None

    # ------------------------------------------------------------ keys

    def keys(self, answers: Collection[str], budget_s: float = 2.0) -> Keys:
        """The key of every answer, within ``budget_s`` seconds.

        Nothing is asked of a worker where all answers agree as text. Expressions are taken in an order of their own,
        shortest first, so that what a short budget leaves out does not depend on the samples' order.
        """
        deadline = time.monotonic() + budget_s
        texts = {answer: canonical(answer) for answer in answers}
        if len(set(texts.values())) < 2:
            return Keys(texts, complete=True)
        wanted = set().union(*(leaves(text) for text in texts.values()))
        found = self._find(sorted(wanted, key=lambda leaf: (len(leaf), leaf)), _Asker(deadline))

        def leaf_key(leaf: str) -> str:
            return found.get(leaf) or leaf

        rendered = {text: render(text, leaf_key) for text in set(texts.values())}
        return Keys({a: rendered[text] for a, text in texts.items()}, complete=None not in found.values())

    def _find(self, leaves: Sequence[str], asker: _Asker) -> dict[str, str | None]:
        """The key of every expression; None where there was no time, or where it is known to cost a worker."""
        found = self._recalled(leaves)
        left = deque(leaf for leaf in leaves if leaf not in found)
        while left and (worker := self._borrow(asker)):
            started = time.monotonic()
            found |= self._take_turn(worker, left, asker.deadline)
            asker.used_s += time.monotonic() - started
        return dict.fromkeys(left) | found

    def _recalled(self, leaves: Sequence[str]) -> dict[str, str | None]:
        with self._changed:
            known = {leaf: self._found[leaf] for leaf in leaves if leaf in self._found}
            for leaf in known:
                self._found.move_to_end(leaf)
        return known

    def _take_turn(self, worker: _Worker, left: deque[str], deadline: float) -> dict[str, str | None]:
        """Asks for one expression after another, and gives the worker back before the turn is over or it is lost."""
        found: dict[str, str | None] = {}
        started = now = time.monotonic()
        while left and now < deadline and now - started < TURN_S:
            try:
                worker.channel.send(left[0].encode("utf-8", "surrogatepass"))
            except OSError:  # it has died since it was last used, which is no fault of this expression
                self._lose(worker)
                return found
            leaf = left.popleft()
            found[leaf] = self._answer(worker, leaf, deadline - now)
            if found[leaf] is None:
                self._lose(worker)
                return found
            now = time.monotonic()
        self._give_back(worker)
        return found

    def _answer(self, worker: _Worker, leaf: str, left_s: float) -> str | None:
        """What the worker says to what it was sent; None when it must be replaced."""
        reply, guilty = self._reply(worker, left_s)
        key = (leaf if reply == UNDECIDED else reply.decode()) if reply else None
        if key is not None or guilty:
            self._remember(leaf, key)
        return key

    def _reply(self, worker: _Worker, left_s: float) -> tuple[bytes, bool]:
        """The reply, and where there is none, whether the expression is to blame: it died of it, or computed on.

        A worker that was hardly given a CPU (the engine may have them all) is waited for a little longer.
        """
        before = worker.cpu_s()
        end = time.monotonic() + min(left_s, PATIENCE * self._answer_s)
        while (left := end - time.monotonic()) > 0:
            try:
                worker.channel.settimeout(min(self._answer_s, left))
                return worker.channel.recv(LARGEST_MESSAGE), self._forker_lives()
            except TimeoutError:
                if left >= self._answer_s and worker.cpu_s() - before >= self._answer_s / 2:
                    return b"", True
            except OSError:
                return b"", self._forker_lives()
        return b"", False

    def _forker_lives(self) -> bool:
        """Otherwise its workers went with it."""
        forker = self._forker
        return forker is not None and forker.poll() is None

    def _remember(self, leaf: str, key: str | None) -> None:
        with self._changed:
            self._found[leaf] = key
            if len(self._found) > self._cache_size:
                self._found.popitem(last=False)

    # ------------------------------------------------------------ workers

    def _borrow(self, asker: _Asker) -> _Worker | None:
        """An idle worker, or a new one where there are too few; None when the deadline or the end comes first."""
        with self._changed:
            self._waiting.append(asker)
            try:
                if not self._changed.wait_for(lambda: self._turn_of(asker), asker.deadline - time.monotonic()):
                    return None
            finally:
                self._waiting.remove(asker)
                self._changed.notify_all()
            if self._closed or time.monotonic() >= asker.deadline:
                return None
            if self._idle:
                return self._idle.pop()
            self._living += 1
        worker = self._fork(asker.deadline)
        if worker is None:
            self._count_one_less()
        return worker

    def _turn_of(self, asker: _Asker) -> bool:
        free = bool(self._idle) or self._living < self._most
        return self._closed or (free and asker is min(self._waiting, key=lambda other: other.used_s))

    def _give_back(self, worker: _Worker) -> None:
        with self._changed:
            if self._closed:
                worker.kill()
                return
            self._idle.append(worker)
            self._changed.notify_all()

    def _lose(self, worker: _Worker) -> None:
        worker.kill()
        self._count_one_less()

    def _count_one_less(self) -> None:
        with self._changed:
            self._living -= 1
            self._changed.notify_all()

    def _fork(self, deadline: float) -> _Worker | None:
        """A new worker, once it has said that it is there."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs, self._starting:
                if self._closed:
                    raise OSError("the pool is closed")
                socket.send_fds(self._started(), [b"w"], [theirs.fileno()])
            ours.settimeout(max(deadline - time.monotonic(), 1e-4))
            (pid,) = struct.unpack("!i", ours.recv(4))
            return _Worker(pid, os.pidfd_open(pid), ours)
        except (OSError, struct.error):  # too late, or the forking process is gone: a new one next time
            ours.close()
            return None

    def _started(self) -> socket.socket:
        """The control socket of the process that forks; it is started, or started again, where there is none."""
        if self._control is None or self._forker is None or self._forker.poll() is not None:
            if self._control:
                self._control.close()
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                argv = [sys.executable, "-c", _FORKER, str(theirs.fileno()), str(self._memory_mib)]
                self._forker = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
                )
        return self._control
