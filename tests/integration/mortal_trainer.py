"""Real trainers that kill themselves at a named point, forked from one process that has imported
everything already.

    gateway ──▶ reaper ──▶ ``ask`` ──(unix socket)──▶ ``nursery``, one thread, imports done
                     lives as long as ◀──fork── the life: ``worker.main``, our own code

The gateway starts ``ask`` where it would start a trainer. A life first waits for its order, a file
the test writes: the gateway's URL and the death to die. Every point but ``load`` strikes after one
proposal has been answered, so that a life makes good what the death before it left undone.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn


class Life:
    """What one life has been told, and how it ends."""

    def __init__(self, order: Path) -> None:
        self._order = order
        told = json.loads(order.read_text())
        self.url, self.point, self.variant = told["url"], told["point"], told["variant"]
        self.root, self._journal = Path(told["root"]), Path(told["journal"])

    def note_leases(self) -> None:
        """Writes every batch this life gets into the journal, one a line."""
        from ttrl_server.training.gateway import Gateway

        lease = Gateway.lease

        def noted(*args: Any) -> Any:
            batch = lease(*args)
            if batch is not None:
                line = [batch.number, [experience.id for experience in batch.experiences]]
                with self._journal.open("a") as journal:
                    journal.write(json.dumps(line) + "\n")
            return batch

        _replace(Gateway, "lease", noted)

    def prepare(self) -> None:
        """Lays the trap: at once for ``load``, else when the first proposal has been answered."""
        from ttrl_server.training.gateway import Gateway

        if self.point not in POINTS:
            return
        trap, _ = POINTS[self.point]
        if self.point == "load":
            trap(self)
            return
        propose = Gateway.propose

        def then_trapped(*args: Any) -> Any:
            outcome = propose(*args)
            _replace(Gateway, "propose", propose)
            trap(self)
            return outcome

        _replace(Gateway, "propose", then_trapped)

    def die(self) -> NoReturn:
        self._order.with_suffix(".died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("alive after SIGKILL")

    def dies_in(self, owner: Any, name: str, *, after: bool = False) -> None:
        """Replaces ``owner.name`` by its own death, before or after it has done its work."""
        work = getattr(owner, name)

        def fatal(*args: Any, **more: Any) -> NoReturn:
            if after:
                work(*args, **more)
            self.die()

        _replace(owner, name, fatal)


def _load(life: Life) -> None:
    from ttrl_server.training import policy, state

    if life.variant == "base":
        life.dies_in(policy, "with_adapter")
    else:
        life.dies_in(state, "load", after=True)


def _forward(life: Life) -> None:
    """In the first layer of a pass of the step, or of one that scores the finished step for its
    probe."""
    import torch
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    from ttrl_server.training.logprobs import Scorer

    forward = Scorer.forward

    def doomed(*args: Any, **more: Any) -> Any:
        if torch.is_grad_enabled() == (life.variant == "learning"):
            life.dies_in(LlamaDecoderLayer, "forward", after=True)
        return forward(*args, **more)

    _replace(Scorer, "forward", doomed)


def _step(life: Life) -> None:
    from torch.optim import optimizer

    if life.variant.startswith("before"):
        optimizer.register_optimizer_step_pre_hook(lambda *_: life.die())
    else:
        optimizer.register_optimizer_step_post_hook(lambda *_: life.die())


def _save(life: Life) -> None:
    """With one half of the file written."""
    opened = io.open

    @contextlib.contextmanager
    def half_written(file: Any) -> Iterator[Any]:
        def write(data: Any) -> NoReturn:
            file.write(data[: len(data) // 2])
            file.flush()
            life.die()

        with file:
            yield SimpleNamespace(write=write)

    def treacherous(file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
        found = opened(file, mode, *args, **more)
        wanted = "w" in mode and isinstance(file, str | Path) and Path(file).name == life.variant
        return half_written(found) if wanted else found

    _replace(io, "open", treacherous)
    _replace(builtins, "open", treacherous)


def _rename(life: Life) -> None:
    life.dies_in(os, "rename", after=life.variant == "after")
    life.dies_in(os, "replace", after=life.variant == "after")


def _propose(life: Life) -> None:
    """``received``: the request is sent, the gateway has written it down, no answer has been
    read."""
    import httpx

    from ttrl_server.training.gateway import Gateway

    if life.variant != "received":
        life.dies_in(Gateway, "propose", after=life.variant == "answered")
        return
    post = httpx.Client.post

    def traced(client: httpx.Client, url: str, **more: Any) -> Any:
        def watch(event: str, _info: Any) -> None:
            if event == "http11.send_request_body.complete":
                folder = json.loads(more["content"])["folder"]
                _wait_for(lambda: f'"{folder}"' in (life.root / "ledger.jsonl").read_text())
                life.die()

        tracing = {"trace": watch} if url.endswith("/propose") else {}
        return post(client, url, extensions=tracing, **more)

    _replace(httpx.Client, "post", traced)


def _replace(owner: Any, name: str, by: Callable[..., Any]) -> None:
    setattr(owner, name, by)


WEIGHTS = "adapter_model.safetensors"
POINTS: dict[str, tuple[Callable[[Life], None], tuple[str, ...]]] = {
    "load": (_load, ("base", "parent")),
    "forward": (_forward, ("learning", "probing")),
    "step": (_step, ("before the weights move", "after the weights moved")),
    "save": (_save, (WEIGHTS, "trainer.pt", "manifest.json", "probe.json", "adapter_config.json")),
    "rename": (_rename, ("before", "after")),
    "propose": (_propose, ("unsent", "received", "answered")),
}
"""Where a trainer can be killed, and in which variants."""


# ---------------------------------------------------------------- the processes


def nursery(socket_path: str, model: str) -> NoReturn:
    """Imports what a trainer imports, saves the tiny model, and forks a life for everyone who
    asks."""
    from tests.unit.training.tiny import tiny_base
    from ttrl_server.training import loop, worker

    del loop, worker  # imported here so that the lives need not
    if (saver := os.fork()) == 0:  # saving starts a thread, and a fork would take its locks along
        tiny_base().save_pretrained(model)
        os._exit(0)
    os.waitpid(saver, 0)
    assert len(os.listdir("/proc/self/task")) == 1, "an import has started a thread"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(socket_path)
    listening.listen()
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            live(connection)
        connection.close()


def live(connection: socket.socket) -> NoReturn:
    """One life, from the order to its end. Whoever asked for it sees the connection close,
    whatever ends it."""
    from ttrl_server.training import worker

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    asked = json.loads(connection.makefile().readline())
    connection.sendall(f"{os.getpid()}\n".encode())
    order = Path(asked["order"])
    _wait_for(order.exists)
    life = Life(order)
    life.note_leases()
    life.prepare()
    os.environ["TTRL_ADMIN_KEY"] = asked["key"]
    try:
        worker.main(["--config", asked["config"], "--gateway", life.url])
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def ask(socket_path: str, order: str, config: str) -> int:
    """Asks for a life and lives as long as it does; SIGTERM is passed on. Standard library only."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(socket_path)
    wish = {"order": order, "config": config, "key": os.environ["TTRL_ADMIN_KEY"]}
    connection.sendall((json.dumps(wish) + "\n").encode())
    answers = connection.makefile()
    life = int(answers.readline())

    def pass_on(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(life, number)

    signal.signal(signal.SIGTERM, pass_on)
    answers.read()
    return 1


def _wait_for(happened: Callable[[], bool]) -> None:
    while not happened():
        time.sleep(0.01)


if __name__ == "__main__":
    if sys.argv[1] == "nursery":
        nursery(*sys.argv[2:])
    sys.exit(ask(*sys.argv[2:]))
