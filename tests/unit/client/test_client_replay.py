from __future__ import annotations

import json
import re
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from ttrl_client.cli import main

from tests.conftest import python
from tests.unit.client.fake_openai import KEY, FakeServer

HELP = """
import sys
from ttrl_client.cli import main
try:
    main(["--help"])
except SystemExit:
    print({"openai", "matplotlib", "rich", "numpy", "torch"} & set(sys.modules) or "light")
"""


def flags(server: FakeServer, line: str) -> list[str]:
    """``line`` may have each of them again: the last one counts."""
    usual = f"--base-url {server.url} --api-key {KEY} --model tiny --out run --max-retries 0"
    return [*usual.split(), *line.split()]


def replay(server: FakeServer, line: str) -> int:
    return main(flags(server, line))


def read(path: str = "run/report.json") -> Any:
    text = Path(path).read_text(encoding="utf-8")
    return json.loads(text if path.endswith(".json") else f"[{','.join(text.splitlines())}]")


def test_the_report_tells_what_every_set_gained(server: FakeServer, drawn: None) -> None:
    assert replay(server, "products.jsonl --eval other.jsonl --batch 2 --seed 3") == 0
    report = read()
    assert report["model"] == "tiny"
    for name, size in (("trained", 6), ("other", 2)):
        assert report[name]["questions"] == size
        assert (report[name]["before"]["avg@16"], report[name]["before"]["maj@16"]) == (0.25, 0)
        assert (report[name]["after"]["avg@16"], report[name]["after"]["maj@16"]) == (1, 1)
    assert report["versions_promoted"] == 3
    assert report["served"] == {"before": "tiny@v0", "after": "tiny@v3"}
    assert (report["questions_answered"], report["requests_failed"]) == (6, 0)
    assert report["wall_seconds"] > 0
    assert report["settings"]["seed"] == 3
    assert KEY not in Path("run/report.json").read_text(encoding="utf-8")
    assert Path("run/learning.png").read_bytes().startswith(b"\x89PNG")


def test_every_batch_is_learned_from_before_the_next_is_asked(server: FakeServer) -> None:
    assert replay(server, "products.jsonl --batch 3 --episodes 2") == 0
    history = read()["history"]
    numbers = [(record["episode"], record["batch"]) for record in history]
    assert numbers == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [record["adapters"] for record in history] == [[f"tiny@v{v}"] for v in range(4)]
    assert [record["ground_truth_ratio"] for record in history] == [0.25, 0.5, 0.75, 1.0]
    assert [record["majority_ratio"] for record in history] == [0.75, 0.5, 0.75, 1.0]
    assert [record["label_accuracy"] for record in history] == [0, 1, 1, 1]
    assert server.asked_while_training == 0


def test_no_wait_asks_on_while_the_server_trains(server: FakeServer) -> None:
    assert replay(server, "products.jsonl --batch 2 --no-wait") == 0
    assert server.asked_while_training > 0


def test_a_server_that_does_not_learn_is_not_waited_for(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.learning, server.pending = False, 5
    assert replay(server, "products.jsonl --batch 3") == 0
    assert read()["versions_promoted"] == 0
    assert "not learning: switched off" in capsys.readouterr().out


def test_a_wait_for_training_ends_at_its_time_out(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_train_a_little", lambda: None)
    assert replay(server, "one.jsonl --wait-timeout 0.2") == 0
    assert 0.2 <= read()["history"][0]["wait_seconds"] < 5


def test_a_failing_question_is_a_row_and_not_the_end(server: FakeServer) -> None:
    assert replay(server, "failing.jsonl") == 0
    report = read()
    assert (report["questions_answered"], report["requests_failed"]) == (6, 3)
    assert report["trained"]["before"]["failed"] == 1
    failures = [row for row in read("run/rows.jsonl") if "error" in row]
    assert [row["id"] for row in failures] == ["bad"] * 3
    assert "this one fails" in failures[0]["error"]


def test_a_run_in_which_nothing_is_answered_is_reported_and_exits_1(server: FakeServer) -> None:
    assert replay(server, "hopeless.jsonl") == 1
    assert read()["trained"]["before"]["avg@16"] is None
    assert Path("run/learning.png").exists()


def test_evaluation_is_drawn_with_n_and_never_stored(server: FakeServer) -> None:
    assert replay(server, "one.jsonl --max-tokens 24") == 0
    assert len(server.drawn) == 2
    asked = {"n": 16, "store": False, "temperature": 0.6, "top_p": 0.95, "max_tokens": 24}
    assert all(body.items() >= asked.items() for body in server.drawn)
    assert [set(body) for body in server.voted] == [{"model", "messages", "max_tokens"}]
    assert server.voted[0]["max_tokens"] == 24


def test_true_labels_are_never_sent(server: FakeServer) -> None:
    assert replay(server, "one.jsonl") == 0
    assert server.bodies
    assert all("56" not in json.dumps(body) for body in server.bodies)


def test_the_same_seed_asks_in_the_same_order(server: FakeServer) -> None:
    orders = []
    for seed in (1, 1, 2):
        server.bodies.clear()
        assert replay(server, f"products.jsonl --batch 1 --seed {seed}") == 0
        orders.append([body["messages"][0]["content"] for body in server.voted])
    assert orders[0] == orders[1] != orders[2]


def test_a_server_that_is_away_for_a_moment_is_waited_for(late_server: FakeServer) -> None:
    threading.Timer(1.2, late_server.start).start()
    assert replay(late_server, "products.jsonl") == 0
    assert read()["requests_failed"] == 0


def test_patience_with_a_server_that_stays_away_ends(
    late_server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(late_server, "one.jsonl --patience 1") == 2
    line = r"ttrl-replay: error: .*:\d+/v1 is not an OpenAI endpoint.*\n"
    assert re.fullmatch(line, capsys.readouterr().err)


def test_a_wrong_key_or_model_is_one_line(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(server, "one.jsonl --api-key wrong") == 2
    assert "refused the key" in capsys.readouterr().err
    assert replay(server, "one.jsonl --model other") == 2
    assert "does not serve 'other'; it offers tiny" in capsys.readouterr().err


def test_a_pinned_version_may_be_asked_though_it_is_not_listed(server: FakeServer) -> None:
    assert replay(server, "one.jsonl --model tiny@v2") == 0
    assert {body["model"] for body in server.bodies} == {"tiny@v2"}


def test_a_missing_matplotlib_costs_the_picture_only(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "ttrl_client.plot", raising=False)
    monkeypatch.delattr("ttrl_client.plot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert replay(server, "one.jsonl") == 0
    assert Path("run/report.json").exists()
    assert "no learning.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        "gone.jsonl --model m",
        "x --model=",
        "x --model m --batch 0",
        "x --model m --batch many",
        "x --model m --temperature nan",
        "x --model m --base-url localhost:8000",
        "x",
    ],
)
def test_a_bad_command_line_exits_2_and_says_why_in_its_last_line(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(line.split())
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("ttrl-replay: error: ")


def test_two_sets_cannot_share_a_name_in_the_report(
    questions: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("trained.jsonl", "settings.jsonl"):
        shutil.copy("one.jsonl", name)
        assert main([name, "--model", "m", "--eval", name]) == 2
        assert "the name is taken" in capsys.readouterr().err


def test_help_answers_without_importing_anything_heavy() -> None:
    done = python("-c", HELP)
    assert done.returncode == 0, done.stderr
    assert "usage: ttrl-replay" in done.stdout
    assert done.stdout.endswith("light\n")
