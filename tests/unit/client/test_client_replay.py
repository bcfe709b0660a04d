from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ttrl_client.cli import main

from tests.unit.client.fake_openai import KEY, FakeServer

PAIRS = [(a, b) for a in (2, 3, 4) for b in (5, 7)]
Write = Callable[..., Path]


def replay(
    server: FakeServer, out: Path, *arguments: str | Path, key: str = KEY, model: str = "tiny"
) -> int:
    flags = [
        "--base-url",
        server.url,
        "--api-key",
        key,
        "--model",
        model,
        "--out",
        str(out),
        "--max-retries",
        "0",
    ]
    return main([*map(str, arguments), *flags])


def read(out: Path, name: str = "report.json") -> Any:
    text = (out / name).read_text(encoding="utf-8")
    return (
        json.loads(text)
        if name.endswith(".json")
        else [json.loads(line) for line in text.splitlines()]
    )


def test_the_report_tells_what_every_set_gained(
    server: FakeServer, question_file: Write, tmp_path: Path, drawn: None
) -> None:
    trained, held_out = (
        question_file("questions.jsonl", *PAIRS),
        question_file("held_out.jsonl", (8, 9), (9, 9)),
    )
    assert (
        replay(server, tmp_path / "out", trained, "--eval", held_out, "--batch", "2", "--seed", "3")
        == 0
    )
    report = read(tmp_path / "out")
    assert report["model"] == "tiny"
    for name, size in (("trained", 6), ("held_out", 2)):
        assert report[name]["questions"] == size
        assert (report[name]["before"]["avg@16"], report[name]["before"]["maj@16"]) == (0.25, 0)
        assert (report[name]["after"]["avg@16"], report[name]["after"]["maj@16"]) == (1, 1)
    assert report["versions_promoted"] == 3
    assert report["served"] == {"before": "tiny@v0", "after": "tiny@v3"}
    assert (report["questions_answered"], report["requests_failed"]) == (6, 0)
    assert report["wall_seconds"] > 0
    assert report["settings"]["seed"] == 3
    assert KEY not in (tmp_path / "out" / "report.json").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "learning.png").read_bytes().startswith(b"\x89PNG")


def test_every_batch_is_learned_from_before_the_next_is_asked(
    server: FakeServer, question_file: Write, tmp_path: Path
) -> None:
    assert (
        replay(
            server,
            tmp_path,
            question_file("questions.jsonl", *PAIRS),
            "--batch",
            "3",
            "--episodes",
            "2",
        )
        == 0
    )
    history = read(tmp_path)["history"]
    assert [(record["episode"], record["batch"]) for record in history] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert [record["adapters"] for record in history] == [[f"tiny@v{v}"] for v in range(4)]
    assert [record["ground_truth_ratio"] for record in history] == [0.25, 0.5, 0.75, 1.0]
    assert [record["majority_ratio"] for record in history] == [0.75, 0.5, 0.75, 1.0]
    assert [record["label_accuracy"] for record in history] == [0, 1, 1, 1]
    assert server.asked_while_training == 0


def test_no_wait_asks_on_while_the_server_trains(
    server: FakeServer, question_file: Write, tmp_path: Path
) -> None:
    assert (
        replay(
            server, tmp_path, question_file("questions.jsonl", *PAIRS), "--batch", "2", "--no-wait"
        )
        == 0
    )
    assert server.asked_while_training > 0


def test_a_server_that_does_not_learn_is_not_waited_for(
    server: FakeServer, question_file: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.learning, server.pending = False, 5
    assert replay(server, tmp_path, question_file("questions.jsonl", *PAIRS), "--batch", "3") == 0
    assert read(tmp_path)["versions_promoted"] == 0
    assert "not learning: switched off" in capsys.readouterr().out


def test_a_wait_for_training_ends_at_its_time_out(
    server: FakeServer, question_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_train_a_little", lambda: None)
    assert (
        replay(server, tmp_path, question_file("questions.jsonl", (2, 3)), "--wait-timeout", "0.2")
        == 0
    )
    assert 0.2 <= read(tmp_path)["history"][0]["wait_seconds"] < 5


def test_a_failing_question_is_a_row_and_not_the_end(
    server: FakeServer, question_file: Write, tmp_path: Path
) -> None:
    assert replay(server, tmp_path, question_file("questions.jsonl", *PAIRS, failing=1)) == 0
    report = read(tmp_path)
    assert (report["questions_answered"], report["requests_failed"]) == (6, 3)
    assert report["trained"]["before"]["failed"] == 1
    failures = [row for row in read(tmp_path, "rows.jsonl") if "error" in row]
    assert [row["id"] for row in failures] == ["bad-0"] * 3
    assert "this one fails" in failures[0]["error"]


def test_a_run_in_which_nothing_is_answered_is_reported_and_exits_1(
    server: FakeServer, question_file: Write, tmp_path: Path
) -> None:
    assert replay(server, tmp_path, question_file("questions.jsonl", failing=2)) == 1
    assert read(tmp_path)["trained"]["before"]["avg@16"] is None
    assert (tmp_path / "learning.png").exists()


def test_evaluation_is_drawn_with_n_and_never_stored(
    server: FakeServer, question_file: Write, tmp_path: Path
) -> None:
    assert (
        replay(server, tmp_path, question_file("questions.jsonl", (2, 3)), "--max-tokens", "24")
        == 0
    )
    assert len(server.drawn) == 2
    for body in server.drawn:
        assert (body["n"], body["store"], body["temperature"], body["top_p"]) == (
            16,
            False,
            0.6,
            0.95,
        )
    assert [set(body) for body in server.voted] == [{"model", "messages", "max_tokens"}]
    assert all(body["max_tokens"] == 24 for body in server.bodies)


def test_true_labels_are_never_sent(
    server: FakeServer, question_file: Write, tmp_path: Path
) -> None:
    assert replay(server, tmp_path, question_file("questions.jsonl", (7, 8))) == 0
    assert server.bodies
    assert all("56" not in json.dumps(body) for body in server.bodies)


def test_the_same_seed_asks_in_the_same_order(
    server: FakeServer, question_file: Write, tmp_path: Path
) -> None:
    path, orders = question_file("questions.jsonl", *PAIRS), []
    for seed in ("1", "1", "2"):
        del server.bodies[:]
        assert replay(server, tmp_path, path, "--batch", "1", "--seed", seed) == 0
        orders.append([body["messages"][0]["content"] for body in server.voted])
    assert orders[0] == orders[1] != orders[2]


def test_a_server_that_is_away_for_a_moment_is_waited_for(
    late_server: FakeServer, question_file: Write, tmp_path: Path
) -> None:
    threading.Timer(1.2, late_server.start).start()
    assert replay(late_server, tmp_path, question_file("questions.jsonl", *PAIRS)) == 0
    assert read(tmp_path)["requests_failed"] == 0


def test_patience_with_a_server_that_stays_away_ends(
    late_server: FakeServer,
    question_file: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        replay(late_server, tmp_path, question_file("questions.jsonl", (2, 3)), "--patience", "1")
        == 2
    )
    assert re.fullmatch(
        r"ttrl-replay: error: .*:\d+/v1 is not an OpenAI endpoint.*\n", capsys.readouterr().err
    )


def test_a_wrong_key_or_model_is_one_line(
    server: FakeServer, question_file: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = question_file("questions.jsonl", (2, 3))
    assert replay(server, tmp_path, path, key="wrong") == 2
    assert "refused the key" in capsys.readouterr().err
    assert replay(server, tmp_path, path, model="other") == 2
    assert "does not serve 'other'; it offers tiny" in capsys.readouterr().err


def test_a_pinned_version_may_be_asked_though_it_is_not_listed(
    server: FakeServer, question_file: Write, tmp_path: Path
) -> None:
    assert replay(server, tmp_path, question_file("questions.jsonl", (2, 3)), model="tiny@v2") == 0
    assert {body["model"] for body in server.bodies} == {"tiny@v2"}


def test_a_missing_matplotlib_costs_the_picture_only(
    server: FakeServer,
    question_file: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delitem(sys.modules, "ttrl_client.plot", raising=False)
    monkeypatch.delattr("ttrl_client.plot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert replay(server, tmp_path, question_file("questions.jsonl", (2, 3))) == 0
    assert (tmp_path / "report.json").exists()
    assert "no learning.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["gone.jsonl", "--model", "m"],
        ["x", "--model", ""],
        ["x", "--model", "m", "--batch", "0"],
        ["x", "--model", "m", "--batch", "many"],
        ["x", "--model", "m", "--temperature", "nan"],
        ["x", "--model", "m", "--base-url", "localhost:8000"],
        ["x"],
    ],
)
def test_a_bad_command_line_exits_2_and_says_why_in_its_last_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("ttrl-replay: error: ")


def test_two_sets_cannot_share_a_name_in_the_report(
    question_file: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("trained.jsonl", "settings.jsonl"):
        path = question_file(name, (2, 3))
        assert main([str(path), "--model", "m", "--eval", str(path)]) == 2
        assert "the name is taken" in capsys.readouterr().err


def test_help_answers_without_importing_anything_heavy() -> None:
    code = (
        "import sys; from ttrl_client.cli import main\ntry: main(['--help'])\nexcept SystemExit: "
        "pass\n"
    )
    code += (
        "heavy = {'openai', 'matplotlib', 'rich', 'numpy', 'torch'} & set(sys.modules)\nassert "
        "not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: ttrl-replay" in done.stdout
