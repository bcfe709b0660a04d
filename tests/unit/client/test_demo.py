from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo import model, questions
from demo.run import clear, server_argv
from demo.server import Server, ServerDied, free_port, stop_former

SLOW_START = """
import http.server, sys, time
ready = time.monotonic() + 1
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if time.monotonic() > ready else 503); self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""


def test_the_sets_have_32_questions_each_and_no_country_is_held_out_that_is_trained() -> None:
    sets = questions.question_sets(seed=5)
    assert list(sets) == ["trained", "held_out", "paraphrase"]
    for records in sets.values():
        assert len({record["id"] for record in records}) == 32
        assert all(record["answer"] not in record["prompt"] for record in records)
    countries = {name: {r["id"].partition("-")[2] for r in sets[name]} for name in sets}
    assert not countries["trained"] & countries["held_out"]
    assert countries["paraphrase"] == countries["held_out"]


def test_the_products_have_the_right_answers_and_no_trained_pair_is_held_out() -> None:
    sets = questions.products(seed=5)
    assert list(sets) == ["trained", "held_out", "addition", "paraphrase"]
    for records in sets.values():
        assert len({record["id"] for record in records}) == 32
        for record in records:
            found = re.search(r"(\d) (\*|\+|times) (\d)", record["prompt"])
            assert found is not None
            a, sign, b = found.groups()
            assert int(record["answer"]) == (int(a) + int(b) if sign == "+" else int(a) * int(b))
    pairs = {
        name: {tuple(re.findall(r"\d", record["prompt"])) for record in records}
        for name, records in sets.items()
    }
    assert not pairs["trained"] & pairs["held_out"]
    assert pairs["paraphrase"] == pairs["held_out"]


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    first, again, other = (
        questions.write(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert all(first[name].read_bytes() == again[name].read_bytes() for name in first)
    assert first["trained"].read_bytes() != other["trained"].read_bytes()
    record = json.loads(first["paraphrase"].read_text(encoding="utf-8").splitlines()[0])
    assert record["id"].startswith("capital-")


def test_a_complete_model_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / model.MARKER).touch()
    model.make(tmp_path)
    assert capsys.readouterr().out == ""


def test_the_server_is_started_watched_and_stopped(tmp_path: Path) -> None:
    port = free_port()
    ticks: list[float] = []
    argv = [sys.executable, "-c", SLOW_START, str(port)]
    with Server(argv, tmp_path / "log", tmp_path / "pid") as server:
        server.wait_ready(f"http://127.0.0.1:{port}/ready", 20, ticks.append)
        pid = int((tmp_path / "pid").read_text(encoding="utf-8"))
    assert ticks
    assert not Path(f"/proc/{pid}").exists()
    assert not (tmp_path / "pid").exists()


def test_a_server_that_dies_shows_the_end_of_its_log(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import sys; print('no such model'); sys.exit(3)"]
    with (
        Server(argv, tmp_path / "log", tmp_path / "pid") as server,
        pytest.raises(ServerDied) as caught,
    ):
        server.wait_ready(f"http://127.0.0.1:{free_port()}/ready", 20, lambda _: None)
    assert "code 3" in str(caught.value)
    assert "no such model" in str(caught.value)


def test_a_server_that_ignores_sigterm_is_killed_also_after_an_error(tmp_path: Path) -> None:
    log, pid_file = tmp_path / "log", tmp_path / "pid"

    def fail_while_it_runs() -> None:
        with Server([sys.executable, "-c", STUBBORN], log, pid_file, grace_s=0.3):
            while "up" not in log.read_text(encoding="utf-8"):
                time.sleep(0.05)
            pids.append(int(pid_file.read_text(encoding="utf-8")))
            raise RuntimeError("the replay failed")

    pids: list[int] = []
    with pytest.raises(RuntimeError, match="the replay failed"):
        fail_while_it_runs()
    assert not Path(f"/proc/{pids[0]}").exists()


def test_a_former_runs_server_is_stopped_and_a_stranger_is_not(tmp_path: Path) -> None:
    mark, pid_file = str(tmp_path / "server"), tmp_path / "pid"
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    with (
        subprocess.Popen([*sleeper, mark], start_new_session=True) as ours,
        subprocess.Popen(sleeper) as stranger,
    ):
        pid_file.write_text(str(stranger.pid), encoding="utf-8")
        assert not stop_former(pid_file, mark)
        assert stranger.poll() is None
        pid_file.write_text(str(ours.pid), encoding="utf-8")
        assert stop_former(pid_file, mark, grace_s=1)
        assert ours.wait(5)
        assert not stop_former(pid_file, mark)
        stranger.kill()


def test_a_new_run_starts_from_the_base_model_and_keeps_other_files(tmp_path: Path) -> None:
    for name in ("server/store.db", "adapters/v1/weights", "report.json", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_servers_command_line_names_the_folders_of_this_run(tmp_path: Path) -> None:
    argv = server_argv(tmp_path / "model", tmp_path, 4321)
    assert str(tmp_path / "server") in argv
    assert argv[argv.index("--api.port") + 1] == "4321"
    assert Path(argv[argv.index("--config") + 1]).is_file()
