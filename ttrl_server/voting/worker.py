"""The process that forks workers, and what a worker does. Started by ``pool.py``.

    gateway ──control──▶ this process: has everything imported, forks a worker for each socket it is sent
        └──── a socket for each worker: an expression there, its key (or nothing) back

A worker costs a fork, not an import, so that one that had to be killed is replaced in milliseconds. All of them go when
this process goes, which it does when the control socket closes, also after ``kill -9`` of the gateway.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import socket
import struct
import sys

LARGEST_MESSAGE = 65_536
UNDECIDED = b"\x00"
"""The answer for an expression that can only be compared as text."""

_PR_SET_PDEATHSIG = 1
_WARM_UP = ("√(2)/2+x^(2)", "\\pi/3", "2\\sin x", "\\log_(2)8", "x^(2)+1=y", "|x|!", "\\binom{5}{2}", "e^(x)-2(y+1)")


def fork_for_ever(control: socket.socket, memory_mib: int) -> None:
    """Forks a worker for every socket received; returns when the other side has closed."""
    from ttrl_server.voting import symbolic

    for text in _WARM_UP:  # the parser learns its grammar on the first texts; workers inherit what it has learnt
        symbolic.key(text)
    gc.freeze()  # or every worker would begin by copying all of this for its first collection
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    while True:
        message, sockets, _, _ = socket.recv_fds(control, 16, 1)
        if not message:
            return
        mine = os.getpid()
        if os.fork() == 0:
            control.close()
            _be_a_worker(socket.socket(fileno=sockets[0]), memory_mib, mine)
        os.close(sockets[0])


def _be_a_worker(channel: socket.socket, memory_mib: int, parent: int) -> None:
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == parent:  # it has not died in between
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (memory_mib * 2**20, memory_mib * 2**20))
            _answer_for_ever(channel)
    finally:
        os._exit(0)


def _answer_for_ever(channel: socket.socket) -> None:
    from ttrl_server.voting import symbolic

    channel.send(struct.pack("!i", os.getpid()))
    while message := channel.recv(LARGEST_MESSAGE):
        found = symbolic.key(message.decode("utf-8", "replace"))
        channel.send(UNDECIDED if found is None else found.encode("utf-8", "replace"))


def main() -> None:
    """``argv``: the number of the control socket, and the MiB of address space a worker may have."""
    fork_for_ever(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
