"""The key of every answer: from its text where that is enough, else from a worker process that can be killed.

A key is a function of its answer alone, so equal keys are an equivalence relation whatever the order of the samples. A
worker that does not answer in time, or bursts its memory, is killed and replaced; its expression then counts as it is
spelt, the caller is told (``Keys.complete``), and no second worker is given to it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ttrl_server.voting.equivalence import canonical
from ttrl_server.voting.structure import leaves, render
from ttrl_server.voting.worker import LARGEST_MESSAGE, UNDECIDED

_FORKER = "from ttrl_server.voting import worker; worker.main()"
START_S = 60.0
"""The longest the first worker may take: its process imports an algebra system."""


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
    channel: socket.socket

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.channel.close()


class Pool:
    """Worker processes and what they have found. Any thread may ask; the processes end with ``close``."""

    def __init__(self, workers: int = 1, *, answer_s: float = 1.0, memory_mib: int = 1024, cache: int = 65_536) -> None:
        self._most, self._answer_s, self._memory_mib, self._cache_size = workers, answer_s, memory_mib, cache
        self._found: OrderedDict[str, str | None] = OrderedDict()
        """Key by expression; None for one that cost a worker its life."""
        self._idle: list[_Worker] = []
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
        if worker := self._borrow(time.monotonic() + START_S):
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
        found = {leaf: self._key(leaf, deadline) for leaf in sorted(wanted, key=lambda leaf: (len(leaf), leaf))}

        def leaf_key(leaf: str) -> str:
            return found.get(leaf) or leaf

        rendered = {text: render(text, leaf_key) for text in set(texts.values())}
        return Keys({a: rendered[text] for a, text in texts.items()}, complete=None not in found.values())

    def _key(self, leaf: str, deadline: float) -> str | None:
        with self._changed:
            if leaf in self._found:
                self._found.move_to_end(leaf)
                return self._found[leaf]
        return self._ask(leaf, deadline)

    def _ask(self, leaf: str, deadline: float) -> str | None:
        """One expression to one worker, which is free for others in between: nobody holds it for a whole group."""
        worker = self._borrow(deadline)
        if worker is None:
            return None
        left = deadline - time.monotonic()
        try:
            worker.channel.settimeout(max(min(self._answer_s, left), 1e-4))
            worker.channel.send(leaf.encode("utf-8", "surrogatepass"))
            reply = worker.channel.recv(LARGEST_MESSAGE)
        except OSError:  # a time-out is one
            reply = b""
        if not reply:
            self._lose(worker)
            if left >= self._answer_s:  # it had its whole time
                self._remember(leaf, None)
            return None
        self._give_back(worker)
        key = leaf if reply == UNDECIDED else reply.decode()
        self._remember(leaf, key)
        return key

    def _remember(self, leaf: str, key: str | None) -> None:
        with self._changed:
            self._found[leaf] = key
            if len(self._found) > self._cache_size:
                self._found.popitem(last=False)

    # ------------------------------------------------------------ workers

    def _borrow(self, deadline: float) -> _Worker | None:
        """An idle worker, or a new one where there are too few; None when the deadline or the end comes first."""
        with self._changed:
            while not self._closed:
                if self._idle:
                    return self._idle.pop()
                if self._living < self._most:
                    self._living += 1
                    break
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return None
            else:
                return None
        worker = self._fork(deadline)
        if worker is None:
            with self._changed:
                self._living -= 1
                self._changed.notify()
        return worker

    def _give_back(self, worker: _Worker) -> None:
        with self._changed:
            if self._closed:
                worker.kill()
                return
            self._idle.append(worker)
            self._changed.notify()

    def _lose(self, worker: _Worker) -> None:
        worker.kill()
        with self._changed:
            self._living -= 1
            self._changed.notify()

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
        except (OSError, struct.error):  # too late, or the forking process is gone: a new one next time
            ours.close()
            return None
        return _Worker(pid, ours)

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
