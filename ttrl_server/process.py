"""Runs a child process and its descendants; none of them outlives the gateway.

    gateway ──pipe──▶ reaper (this file, run as a script) ──▶ vLLM or torchrun ──▶ their workers

When vLLM's API server is killed, its engine core goes on; and torchrun starts each rank in a new
session. So a signal to a process group, or at a parent's death, does not end all of them. The
reaper is a *subreaper*: every orphan below it becomes its child. It ends the whole tree when its
command ends, when it gets SIGTERM, or when the pipe to the gateway closes (the kernel closes the
pipe even after ``kill -9``).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

_OF_RANKS = re.compile(
    r"(?:LOCAL_|GROUP_|ROLE_|NODE_)?(?:RANK|WORLD_SIZE)|ROLE_NAME"
    r"|MASTER_ADDR|MASTER_PORT|(?:TORCHELASTIC|PET)_.*"
)


def inherited() -> dict[str, str]:
    """The environment without a launcher's variables about ranks (torchrun, accelerate, …).

    With these variables, a child would wait for other ranks.
    """
    return {name: value for name, value in os.environ.items() if not _OF_RANKS.fullmatch(name)}


def owns_session() -> bool:
    """Whether this process, or the reaper that started it, leads its session (on Linux)."""
    leader = os.getsid(0)
    if leader == os.getpid():
        return True
    try:
        command = Path(f"/proc/{leader}/cmdline").read_bytes()
    except OSError:  # it has ended, or it is outside this container
        return False
    return os.fsencode(__file__) in command.split(b"\0")


class ChildTree:
    """One command under a reaper. Its output is appended to a log file."""

    def __init__(
        self, name: str, argv: list[str], env: dict[str, str], log: Path, *, grace_s: float
    ) -> None:
        self.name, self.argv, self.env, self.log, self.grace_s = name, argv, env, log, grace_s
        self._reaper: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts the command with the ``inherited`` environment and ``env``."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # -P: this folder's types.py is not the standard library's.
        argv = [sys.executable, "-P", __file__, str(self.grace_s), *self.argv]
        env, pipe = inherited() | self.env, subprocess.PIPE
        with self.log.open("ab") as log:
            self._reaper = await asyncio.create_subprocess_exec(
                *argv, stdin=pipe, stdout=log, stderr=log, env=env, start_new_session=True
            )

    @property
    def pid(self) -> int | None:
        return self._reaper.pid if self._reaper else None

    async def wait(self) -> int:
        """Waits until the whole tree has ended; returns the command's exit code."""
        assert self._reaper is not None, f"{self.name} was never started"
        code = await self._reaper.wait()
        # A killed reaper leaves processes behind.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._reaper.pid, signal.SIGKILL)
        return code

    async def stop(self) -> None:
        """Ends the whole tree: SIGTERM to the command, after ``grace_s`` SIGKILL to the rest."""
        if self._reaper is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._reaper.terminate()
        await self.wait()

    def tail(self, lines: int = 12) -> str:
        """The last lines of the log, for an error message."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""


# ---------------------------------------------------------------- the reaper: standard library only


def reap(grace_s: float, argv: list[str]) -> int:
    """Runs ``argv`` until it ends, SIGTERM or end of standard input; leaves no descendant."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the gateway, which decides.

    def die_with_parent() -> None:
        if sys.platform == "linux":
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    command = subprocess.Popen(argv, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
    while command.poll() is None and not asked and not _gateway_is_gone():
        for pid in _children(os.getpid()):
            if pid != command.pid:  # an orphan
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
    command.terminate()  # nothing, if it has ended
    with contextlib.suppress(subprocess.TimeoutExpired):
        command.wait(grace_s)
    _kill_descendants()
    code = command.wait()
    return code if code >= 0 else 128 - code  # like a shell: 137 for SIGKILL


def _gateway_is_gone(wait_s: float = 0.2) -> bool:
    try:
        readable, _, _ = select.select([0], [], [], wait_s)
        return bool(readable) and os.read(0, 1) == b""
    except InterruptedError:
        return False


def _kill_descendants() -> None:
    deadline = time.monotonic() + 10
    while (alive := _children(os.getpid())) and time.monotonic() < deadline:
        for pid in alive:
            # The children of a killed child become ours; the next round kills them.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in children.split()]
    return []


if __name__ == "__main__":
    sys.exit(reap(float(sys.argv[1]), sys.argv[2:]))
