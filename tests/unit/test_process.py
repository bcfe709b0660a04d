"""A child tree ends as a whole, whoever ends first."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from ttrl_server.process import ChildTree

_numbers = itertools.count()

TREE = "setsid sleep {0} & (setsid sh -c 'sleep {0} & sleep {0}' &) ; sleep {0} & {1}"
"""Five processes that sleep or wait: a child, one in its own session, and a session of orphans
below init."""


@pytest.fixture
def seconds() -> Iterator[str]:
    """A length of sleep that no other process of this machine has; nothing sleeps that long when
    the test is over."""
    unique = f"{100_000 + os.getpid()}.{next(_numbers):04d}"
    yield unique
    left = sleepers(unique)
    for process in left:
        process.kill()
    assert left == []


def sleepers(seconds: str) -> list[psutil.Process]:
    """Every process of the machine whose command line is ``sleep <seconds>``."""
    return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", seconds]]


def shell(script: str, tmp_path: Path, grace_s: float = 0.2, **env: str) -> ChildTree:
    log = tmp_path / "logs" / "test.log"
    return ChildTree("test", ["sh", "-c", script], env, log, grace_s=grace_s)


async def started(script: str, tmp_path: Path, grace_s: float = 0.2, **env: str) -> ChildTree:
    tree = shell(script, tmp_path, grace_s, **env)
    await tree.start()
    return tree


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - other processes tell us nothing
            await asyncio.sleep(0.02)


async def until_asleep(count: int, seconds: str) -> None:
    await until(lambda: len(sleepers(seconds)) == count)


async def test_the_tree_is_gone_when_its_command_has_ended(tmp_path: Path, seconds: str) -> None:
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    tree = await started(TREE.format(seconds, f"read line < {fifo}; exit 3"), tmp_path)
    await until_asleep(4, seconds)
    fifo.write_text("now\n")
    assert await tree.wait() == 3
    assert sleepers(seconds) == []


@pytest.mark.parametrize("manners", ["", "trap '' TERM;"])
async def test_the_tree_is_gone_when_it_was_stopped_even_where_the_command_ignores_it(
    manners: str, tmp_path: Path, seconds: str
) -> None:
    tree = await started(manners + TREE.format(seconds, "wait"), tmp_path)
    await until_asleep(4, seconds)
    await asyncio.wait_for(tree.stop(), 30)
    assert sleepers(seconds) == []
    await tree.stop()  # once more is nothing


async def test_a_command_may_finish_its_work_within_the_grace(tmp_path: Path, seconds: str) -> None:
    script = f"trap 'kill $!; echo finished; exit 5' TERM; sleep {seconds} & wait"
    tree = await started(script, tmp_path, grace_s=600)  # longer than the test may take
    await until_asleep(1, seconds)
    await tree.stop()
    assert await tree.wait() == 5
    assert tree.tail() == "finished"


PARENT = """
import asyncio, sys
from pathlib import Path
from ttrl_server.process import ChildTree

async def main():
    for number in range(2):
        argv = ["sh", "-c", sys.argv[1]]
        await ChildTree("test", argv, {}, Path(sys.argv[2]), grace_s=0.2).start()
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_both_trees_are_gone_after_kill_9_of_the_gateway(
    tmp_path: Path, seconds: str
) -> None:
    script = "trap '' TERM;" + TREE.format(seconds, "wait")
    command = [sys.executable, "-c", PARENT, script, str(tmp_path / "test.log")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    gateway = await asyncio.create_subprocess_exec(*command, env=environment)
    await until_asleep(8, seconds)
    reapers = psutil.Process(gateway.pid).children()
    assert len(reapers) == 2
    gateway.send_signal(signal.SIGKILL)
    await gateway.wait()
    await until_asleep(0, seconds)
    assert psutil.wait_procs(reapers, timeout=30)[1] == []


async def test_a_killed_reaper_takes_its_command_with_it(tmp_path: Path, seconds: str) -> None:
    tree = await started(f"exec sleep {seconds}", tmp_path)
    await until_asleep(1, seconds)
    assert tree.pid is not None
    os.kill(tree.pid, signal.SIGKILL)
    assert await asyncio.wait_for(tree.wait(), 30) == -signal.SIGKILL
    await until_asleep(0, seconds)


async def test_a_child_of_a_gateway_that_a_launcher_started_is_no_rank_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE")
    for name in names:
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("MY_RANK", "8")
    tree = await started("env", tmp_path, WORLD_SIZE="2")
    assert await tree.wait() == 0
    said = set(tree.tail(lines=1000).splitlines())
    assert {line for line in said if line.partition("=")[0] in names} == {"WORLD_SIZE=2"}
    assert "MY_RANK=8" in said


async def test_orphans_that_end_by_themselves_leave_no_zombies(
    tmp_path: Path, seconds: str
) -> None:
    orphan = "(sh -c 'sleep 0.05' &)"
    tree = await started(f"{orphan}; {orphan}; sleep {seconds}", tmp_path)
    await until_asleep(1, seconds)
    await asyncio.sleep(0.7)
    reaper = psutil.Process(tree.pid)
    below = partial(reaper.children, recursive=True)
    await until(lambda: all(p.status() != psutil.STATUS_ZOMBIE for p in below()))
    await tree.stop()


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 1", 1), ("exit 42", 42), ("kill -9 $$", 137)]
)
async def test_the_exit_code_is_the_commands(script: str, code: int, tmp_path: Path) -> None:
    tree = await started(script, tmp_path)
    assert tree.pid is not None
    assert await tree.wait() == code
    assert await tree.wait() == code


async def test_a_command_that_does_not_exist_is_named_in_the_log(tmp_path: Path) -> None:
    tree = ChildTree("test", ["no-such-command"], {}, tmp_path / "test.log", grace_s=0.2)
    await tree.start()
    assert await tree.wait() != 0
    assert "no-such-command" in tree.tail()


async def test_the_log_is_appended_and_its_tail_is_short(tmp_path: Path) -> None:
    script = 'for i in 1 2 3; do echo "$WORD $i"; done; printf "\\377 bad bytes\\n" >&2'
    tree = shell(script, tmp_path, WORD="line")
    assert tree.tail() == ""
    for _ in range(2):
        await tree.start()
        assert await tree.wait() == 0
    assert len((tmp_path / "logs" / "test.log").read_bytes().splitlines()) == 8
    assert tree.tail(2).splitlines() == ["line 3", "\ufffd bad bytes"]


async def test_the_command_has_the_gateways_environment_and_its_own_on_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INHERITED", "yes")
    monkeypatch.setenv("OVERLAID", "no")
    # Cat: standard input is empty.
    tree = await started('echo "$INHERITED $OVERLAID"; cat', tmp_path, OVERLAID="yes")
    assert await asyncio.wait_for(tree.wait(), 30) == 0
    assert tree.tail() == "yes yes"


async def test_a_tree_that_never_started_is_stopped_already(tmp_path: Path) -> None:
    tree = shell("true", tmp_path)
    await tree.stop()
    assert tree.pid is None
