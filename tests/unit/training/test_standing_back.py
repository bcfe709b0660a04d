"""How the trainer leaves the cores to others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ttrl_server.process import ChildTree

STAND_BACK = (
    "import os; from pathlib import Path; from ttrl_server.training.worker import stand_back; "
    "stand_back(7); print(os.nice(0), Path('/proc/self/autogroup').read_text())"
)
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="this kernel schedules no sessions as groups"
)


def niceness(said: str) -> tuple[int, int]:
    """Of the process, and of its session."""
    process, *_, session = said.split()
    return int(process), int(session)


def test_the_whole_session_stands_back_and_not_the_process_alone() -> None:
    command = [sys.executable, "-c", STAND_BACK]
    said = subprocess.check_output(command, text=True, start_new_session=True)
    assert niceness(said) == (min(19, os.nice(0) + 7),) * 2


def test_a_script_that_starts_a_trainer_keeps_the_priority_of_its_session() -> None:
    script = [
        sys.executable,
        "-c",
        f"import subprocess; subprocess.run({[sys.executable, '-c', STAND_BACK]!r})",
    ]
    said = subprocess.check_output(script, text=True, start_new_session=True)
    assert niceness(said) == (min(19, os.nice(0) + 7), 0)


def test_a_trainer_whose_script_has_ended_starts_all_the_same() -> None:
    alone = "import os, time\nwhile os.path.exists(f'/proc/{os.getsid(0)}'): time.sleep(0.01)\n"
    trainer = [sys.executable, "-c", alone + STAND_BACK]
    leader = [sys.executable, "-c", f"import subprocess; subprocess.Popen({trainer!r})"]
    starter = f"import subprocess; subprocess.run({leader!r}, start_new_session=True)"
    said = subprocess.check_output([sys.executable, "-c", starter], text=True, timeout=60)
    assert niceness(said) == (min(19, os.nice(0) + 7), 0)


async def test_the_gateways_trainer_owns_its_session(tmp_path: Path) -> None:
    tree = ChildTree("trainer", [sys.executable, "-c", STAND_BACK], {}, tmp_path / "log", grace_s=5)
    await tree.start()
    assert await tree.wait() == 0
    assert niceness(tree.tail()) == (min(19, os.nice(0) + 7),) * 2
