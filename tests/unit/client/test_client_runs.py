"""Modes, evaluations under way, resumed runs, reports and comparisons, over real HTTP."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ttrl_client.cli import main
from ttrl_client.metrics import bootstrap, paired

from tests.unit.client.fake_openai import KEY, FakeServer
from tests.unit.client.test_client_replay import PAIRS, Write, read, replay

CLIENTS = Path(__file__).parents[3] / "clients"
TIMES = {"wall_seconds", "seconds", "wait_seconds", "elapsed"}


def timeless(value: Any) -> Any:
    """A report without its times."""
    if isinstance(value, dict):
        return {name: timeless(v) for name, v in value.items() if name not in TIMES}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def html(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


# ---------------------------------------------------------------- modes


def test_frozen_stores_nothing_and_waits_for_nothing(
    server: FakeServer, question_file: Write, tmp_path: Path
) -> None:
    assert replay(server, tmp_path, question_file("q.jsonl", *PAIRS), "--mode", "frozen") == 0
    assert all(body["store"] is False for body in server.voted)


def test_oracle_gives_the_answers_along(
    server: FakeServer, question_file: Write, tmp_path: Path
) -> None:
    assert replay(server, tmp_path, question_file("q.jsonl", (7, 8)), "--mode", "oracle") == 0
    assert [body["ttrl"] for body in server.voted] == [{"label": "56.0"}]


def test_prequential_scores_each_answer_before_it_is_learned_from(
    server: FakeServer, question_file: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = question_file("q.jsonl", *PAIRS)
    assert replay(server, tmp_path, path, "--mode", "prequential", "--batch", "2") == 0
    report = read(tmp_path)
    right = [row["right"] for row in read(tmp_path, "rows.jsonl") if "vote" in row]
    assert report["prequential"] == pytest.approx(sum(right) / len(right))
    assert len(right) == 6
    assert replay(server, tmp_path, path, "--mode", "prequential", "--episodes", "3") == 2
    assert "asks every question once" in capsys.readouterr().err


def test_every_set_is_evaluated_every_so_many_batches(
    server: FakeServer, question_file: Write, tmp_path: Path
) -> None:
    path, other = question_file("q.jsonl", *PAIRS), question_file("other.jsonl", (8, 9))
    assert replay(server, tmp_path, path, "--eval", other, "--batch", "2", "--eval-every", "1") == 0
    evaluations = read(tmp_path)["evaluations"]
    assert [(e["moment"], e["step"]) for e in evaluations] == [
        ("before", 0),
        ("at step 1", 1),
        ("at step 2", 2),
        ("after", 3),
    ]
    assert [e["sets"]["other"]["avg@16"] for e in evaluations] == [0.25, 0.5, 0.75, 1.0]


# ---------------------------------------------------------------- resumed


@pytest.mark.parametrize("seed", range(5))
def test_a_run_cut_at_a_random_point_goes_on_and_asks_nothing_twice(
    server: FakeServer, question_file: Write, tmp_path: Path, seed: int
) -> None:
    """The journal is cut where a kill could have cut it, in the middle of a line too; the server
    repeats itself."""
    flags = (
        "--mode",
        "frozen",
        "--batch",
        "2",
        "--eval-every",
        "1",
        "--eval",
        question_file("other.jsonl", (8, 9)),
    )
    path = question_file("q.jsonl", *PAIRS, failing=1)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert replay(server, whole, path, *flags) == 0
    assert replay(server, cut, path, *flags) == 0
    rows = (cut / "rows.jsonl").read_bytes()
    (cut / "rows.jsonl").write_bytes(rows[: random.Random(seed).randrange(len(rows))])
    known = {(row["phase"], row["id"]) for row in _whole(cut / "rows.jsonl") if row["id"]}
    asked = len(server.bodies)
    assert replay(server, cut, path, *flags, "--resume") == 0
    assert timeless(read(cut)) == timeless(read(whole))
    everything = {(row["phase"], row["id"]) for row in read(whole, "rows.jsonl") if row["id"]}
    assert len(server.bodies) - asked == len(everything - known)


def process(
    server: FakeServer, out: Path, *arguments: str | Path, **how: Any
) -> subprocess.Popen[bytes]:
    """The command, as ``replay`` gives it, in a process of its own."""
    flags = [
        "--base-url",
        server.url,
        "--api-key",
        KEY,
        "--model",
        "tiny",
        "--out",
        str(out),
        "--max-retries",
        "0",
    ]
    command = [sys.executable, "-m", "ttrl_client.cli", *map(str, arguments), *flags]
    env = os.environ | {
        "PYTHONPATH": str(CLIENTS),
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # none that a full disk cuts
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, **how)


@pytest.mark.parametrize("seed", range(5))
def test_a_run_killed_at_a_random_point_goes_on_and_reports_the_same(
    server: FakeServer, question_file: Write, tmp_path: Path, seed: int
) -> None:
    flags = (
        "--mode",
        "frozen",
        "--batch",
        "2",
        "--concurrency",
        "1",
        "--eval",
        question_file("other.jsonl", (8, 9)),
    )
    path = question_file("q.jsonl", *PAIRS, failing=1)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert replay(server, whole, path, *flags) == 0
    every = {(row["phase"], row["id"]) for row in read(whole, "rows.jsonl") if row["id"]}
    server.delay_s = 0.1  # a row comes slower than the last one is seen
    with process(server, killed, path, *flags) as run:
        for count in _growing(killed / "rows.jsonl"):
            assert run.poll() is None, "it ended before its time"
            if count > random.Random(seed).randrange(len(every)):
                run.kill()
                break
    assert not (killed / "report.json").exists()
    known = {(row["phase"], row["id"]) for row in _whole(killed / "rows.jsonl") if row["id"]}
    time.sleep(2 * server.delay_s)  # what was on its way has come
    asked, server.delay_s = len(server.bodies), 0.0
    assert replay(server, killed, path, *flags, "--resume") == 0
    assert timeless(read(killed)) == timeless(read(whole))
    assert len(server.bodies) - asked == len(every - known)


def test_a_full_disk_ends_a_run_with_one_line_and_loses_no_row(
    server: FakeServer, question_file: Write, tmp_path: Path
) -> None:
    flags = (question_file("q.jsonl", *PAIRS), "--mode", "frozen")
    run, kept = tmp_path / "run", 1500

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kept, kept))

    with process(server, run, *flags, preexec_fn=full, stderr=subprocess.PIPE) as cut:
        said = cut.communicate()[1].decode().splitlines()
    assert (cut.returncode, len(said)) == (2, 1)
    assert said[0].startswith("ttrl-replay: error: ")
    assert (run / "rows.jsonl").stat().st_size == kept
    known, asked = len([row for row in _whole(run / "rows.jsonl") if row["id"]]), len(server.bodies)
    assert known > 0
    assert replay(server, run, *flags, "--resume") == 0
    assert len(server.bodies) - asked == 3 * len(PAIRS) - known


def _growing(path: Path) -> Iterator[int]:
    """Lines of a file that is being written."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        yield path.read_bytes().count(b"\n") if path.exists() else 0
        time.sleep(0.005)


def _whole(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def test_a_run_is_not_resumed_as_another_one(
    server: FakeServer, question_file: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = question_file("q.jsonl", *PAIRS)
    assert replay(server, tmp_path / "run", path) == 0
    assert replay(server, tmp_path / "run", path, "--resume", "--seed", "9") == 2
    assert "was begun with other seed" in capsys.readouterr().err


def test_the_time_of_a_run_is_that_of_all_its_lives(
    server: FakeServer, question_file: Write, tmp_path: Path
) -> None:
    path = question_file("q.jsonl", *PAIRS)
    assert replay(server, tmp_path, path, "--mode", "frozen") == 0
    rows = read(tmp_path, "rows.jsonl")
    rows[-1]["elapsed"] = 5000.0
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert replay(server, tmp_path, path, "--mode", "frozen", "--resume") == 0
    assert 5000 <= read(tmp_path)["wall_seconds"] < 5600


def test_a_folder_of_another_version_is_neither_resumed_nor_drawn_again(
    server: FakeServer, question_file: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = question_file("q.jsonl", (2, 3))
    assert replay(server, tmp_path, path, "--mode", "frozen") == 0
    for name in ("run.json", "report.json"):
        known = read(tmp_path, name)
        (tmp_path / name).write_text(json.dumps(known | {"format": 1}))
    assert replay(server, tmp_path, path, "--mode", "frozen", "--resume") == 2
    assert main(["redraw", str(tmp_path)]) == 2
    assert main(["compare", str(tmp_path)]) == 2
    (tmp_path / "run.json").write_text('{"half')
    assert replay(server, tmp_path, path, "--mode", "frozen", "--resume") == 2
    said = capsys.readouterr().err.splitlines()
    assert [
        "other format" in said[0],
        "another version" in said[1],
        "another version" in said[2],
    ] == [True] * 3
    assert "cannot be read" in said[3]


# ---------------------------------------------------------------- reports


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_is_whole_in_itself_and_what_was_said_is_only_text(
    server: FakeServer, tmp_path: Path, drawn: None
) -> None:
    path = tmp_path / "q.jsonl"
    prompt = "What is 2 * 3?<script>alert(1)</script>"
    path.write_text(json.dumps({"id": "<b>x", "prompt": prompt, "answer": "6", "level": 1}) + "\n")
    assert replay(server, tmp_path / "run", path) == 0
    page = _Page()
    page.feed((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert "svg" in page.tags
    assert "script" not in page.tags
    assert [link for link in page.links if not link.startswith(("data:", "#"))] == []
    assert page.tags.count("details") == 2  # the settings, and the one question


def test_the_notes_have_the_papers_form(
    server: FakeServer, question_file: Write, tmp_path: Path
) -> None:
    assert replay(server, tmp_path, question_file("q.jsonl", *PAIRS), "--batch", "2") == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| trained | 6 | 0.250 (0.250–0.250) → 1.000 (1.000–1.000) | +0.750 | +300% |" in text
    assert "| 0, 6 |" in text  # six majorities went from wrong to right


def test_one_evaluation_is_no_before_and_after(
    server: FakeServer,
    question_file: Write,
    tmp_path: Path,
    drawn: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        replay(
            server,
            tmp_path,
            question_file("q.jsonl", *PAIRS),
            "--mode",
            "frozen",
            "--episodes",
            "0",
        )
        == 0
    )
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| set | questions | avg@16 | maj@16 | pass@16 |" in text
    assert "| trained | 6 | 0.250 (0.250–0.250) | 0.000 | 1.000 |" in text
    table = next(line for line in capsys.readouterr().out.splitlines() if " trained " in line)
    assert re.findall(r"[0-9.]+", table) == ["6", "0.250", "0.000", "0"]
    page = html(tmp_path)
    assert "<th>avg@16</th><th>maj@16</th>" in page
    for word in ("after", "gain", "not asked"):
        assert word not in page


def test_votes_are_worth_what_they_are_by_level(server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    asked = [
        {"prompt": f"What is 2 * {b}?", "answer": str(2 * b + (b > 5)), "level": 1 + (b > 5)}
        for b in range(4, 8)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in asked))
    server.version = (
        2  # twelve of sixteen samples say the product, which is no right answer at level 2
    )
    assert replay(server, tmp_path / "run", path, "--mode", "frozen") == 0
    votes = read(tmp_path / "run")["votes"]
    assert votes == {
        "1": {
            "votes": 2,
            "majority_ratio": 0.75,
            "ground_truth_ratio": 0.75,
            "label_accuracy": 1,
            "reward_accuracy": 1,
        },
        "2": {
            "votes": 2,
            "majority_ratio": 0.75,
            "ground_truth_ratio": 0,
            "label_accuracy": 0,
            "reward_accuracy": 0.25,
        },
    }
    rows = [row for row in read(tmp_path / "run", "rows.jsonl") if row.get("vote")]
    assert [row["reward_accuracy"] for row in sorted(rows, key=lambda row: row["id"])] == [
        1,
        1,
        0.25,
        0.25,
    ]
    assert all(row["seconds"] >= 0 for row in rows)
    assert (
        "| 2 | 2 | 0.750 | 0.000 | 0.000 | 0.250 |" in (tmp_path / "run" / "report.md").read_text()
    )


def test_a_run_is_drawn_again_from_its_folder(
    server: FakeServer,
    question_file: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    drawn: None,
) -> None:
    path, run = question_file("q.jsonl", *PAIRS), tmp_path / "run"
    assert (
        replay(server, run, path, "--batch", "2", "--eval", question_file("other.jsonl", (8, 9)))
        == 0
    )
    first = {
        name: (run / name).read_text(encoding="utf-8") for name in ("report.md", "report.html")
    }
    path.unlink()
    for name in ("report.md", "report.html", "learning.png"):
        (run / name).unlink()
    assert main(["redraw", str(run)]) == 0
    assert (run / "report.md").read_text(encoding="utf-8") == first["report.md"]
    # matplotlib names the parts of a picture anew each time.
    pages = [
        re.sub(r"<svg.*?</svg>", "<svg>", page, flags=re.DOTALL)
        for page in (first["report.html"], html(run))
    ]
    assert pages[0] == pages[1]
    assert "What is 2 * 5?" in pages[0]
    assert (run / "learning.png").read_bytes().startswith(b"\x89PNG")
    assert "trained oracle" not in first["report.html"]
    assert main(["redraw", str(run), "--oracle", str(run)]) == 2  # that run learned from its votes
    assert (
        replay(server, tmp_path / "labels", question_file("q.jsonl", *PAIRS), "--mode", "oracle")
        == 0
    )
    assert main(["redraw", str(run), "--oracle", str(tmp_path / "labels")]) == 0
    assert "trained oracle" in html(run)
    assert "other oracle" not in html(run)
    (run / "rows.jsonl").unlink()
    assert main(["redraw", str(run)]) == 2
    said = capsys.readouterr().err
    assert "mode learn, not oracle" in said
    assert "holds no finished run" in said


def test_runs_are_compared_on_the_questions_they_share(
    server: FakeServer, question_file: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = question_file("q.jsonl", *PAIRS)
    assert replay(server, tmp_path / "frozen", path, "--mode", "frozen") == 0
    assert replay(server, tmp_path / "learned", path, "--batch", "2") == 0
    capsys.readouterr()
    assert (
        main(
            [
                "compare",
                str(tmp_path / "frozen"),
                str(tmp_path / "learned"),
                "--out",
                str(tmp_path / "c.md"),
            ]
        )
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].startswith("| trained | learned | 0.250 → 1.000 | +0.750 | +0.750 to +0.750 | ")
    assert lines[3].endswith("| 6 |")
    assert (tmp_path / "c.md").read_text().splitlines() == lines
    assert main(["compare", str(tmp_path)]) == 2


# ---------------------------------------------------------------- statistics


def test_an_interval_covers_the_mean_and_narrows_with_the_questions() -> None:
    draw = random.Random(0)
    few, many = ([draw.random() for _ in range(n)] for n in (10, 1000))
    (low, high), (lower, higher) = bootstrap(few), bootstrap(many)  # type: ignore[misc]
    assert low < sum(few) / 10 < high
    assert higher - lower < (high - low) / 3
    assert bootstrap([0.5]) is None


def test_a_paired_test_sees_a_steady_difference_and_not_a_mixed_one() -> None:
    assert paired([0.25] * 12) == pytest.approx(1 / 1001, abs=0.003)
    assert paired([0.25, -0.25] * 6) == 1.0
