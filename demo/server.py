"""One server process, owned from start to end: its log, its pid file, its process group."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx

LOG_TAIL = 30


class ServerDied(Exception):
    """The server ended, or never became ready; carries the end of its log."""


class Server:
    """A context: started on entry, gone on exit, whatever happens between."""

    def __init__(self, argv: Sequence[str], log: Path, pid_file: Path, grace_s: float = 40) -> None:
        self._argv, self._log, self._pid_file, self._grace_s = list(argv), log, pid_file, grace_s

    def __enter__(self) -> Self:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C reaches us alone, and we decide how the server ends.
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._pid_file.write_text(f"{self._process.pid}\n", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        """SIGTERM and, after the grace or a second Ctrl-C, SIGKILL to the whole group."""
        try:
            self._process.terminate()
            self._process.wait(self._grace_s)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            print("the server does not stop; killing it", flush=True)
        finally:
            _kill_group(self._process.pid)
            self._process.wait()
            self._pid_file.unlink(missing_ok=True)

    def wait_ready(self, url: str, timeout_s: float, tick: Callable[[float], None]) -> None:
        """Poll ``url`` until it answers 200; ``tick`` gets the seconds. Raises ServerDied."""
        started = time.monotonic()
        while not _answers(url):
            passed = time.monotonic() - started
            if (code := self._process.poll()) is not None:
                raise self._died(f"ended with code {code} before it was ready")
            if passed > timeout_s:
                raise self._died(f"was not ready after {timeout_s:.0f} s")
            tick(passed)
            time.sleep(0.5)

    def _died(self, how: str) -> ServerDied:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        end = [f"--- the end of {self._log}", *lines[-LOG_TAIL:]]
        return ServerDied("\n".join([f"the server {how}", *end]))


def stop_former(pid_file: Path, mark: str, grace_s: float = 40) -> bool:
    """End the server a former run left behind; True when there was one.

    Ours is a process whose command line holds ``mark`` as an argument: a number that the system has
    since given to something else is left alone.
    """
    try:
        pid = int(pid_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    found = _is_ours(pid, mark)
    if found:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while _is_ours(pid, mark) and time.monotonic() < deadline:
            time.sleep(0.2)
        _kill_group(pid)
    pid_file.unlink(missing_ok=True)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_ours(pid: int, mark: str) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(mark) in arguments


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
