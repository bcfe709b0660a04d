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
from ttrl_client.votes import RATIOS

from tests.conftest import ROOT
from tests.unit.client.fake_openai import FakeServer
from tests.unit.client.test_client_replay import flags, read, replay

TIMES = {"wall_seconds", "seconds", "wait_seconds", "elapsed"}


def timeless(value: Any) -> Any:
    """A report without its times."""
    if isinstance(value, dict):
        return {name: timeless(v) for name, v in value.items() if name not in TIMES}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def text(name: str) -> str:
    return Path("run", name).read_text(encoding="utf-8")


# ---------------------------------------------------------------- modes


def test_frozen_stores_nothing_and_waits_for_nothing(server: FakeServer) -> None:
    assert replay(server, "products.jsonl --mode frozen") == 0
    assert all(body["store"] is False for body in server.voted)


def test_oracle_gives_the_answers_along(server: FakeServer) -> None:
    assert replay(server, "one.jsonl --mode oracle") == 0
    assert [body["ttrl"] for body in server.voted] == [{"label": "56.0"}]


def test_prequential_scores_each_answer_before_it_is_learned_from(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(server, "products.jsonl --mode prequential --batch 2") == 0
    right = [row["right"] for row in read("run/rows.jsonl") if "vote" in row]
    assert read()["prequential"] == pytest.approx(sum(right) / len(right))
    assert len(right) == 6
    assert replay(server, "products.jsonl --mode prequential --episodes 3") == 2
    assert "asks every question once" in capsys.readouterr().err


def test_every_set_is_evaluated_every_so_many_batches(server: FakeServer) -> None:
    assert replay(server, "products.jsonl --eval other.jsonl --batch 2 --eval-every 1") == 0
    evaluations = read()["evaluations"]
    moments = [(evaluation["moment"], evaluation["step"]) for evaluation in evaluations]
    assert moments == [("before", 0), ("at step 1", 1), ("at step 2", 2), ("after", 3)]
    assert [e["sets"]["other"]["avg@16"] for e in evaluations] == [0.25, 0.5, 0.75, 1.0]


# ---------------------------------------------------------------- resumed


def known(rows: str) -> set[tuple[str, str]]:
    """Phase and id of every question that has a whole row there."""
    found = set()
    for line in Path(rows).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row["id"]:
            found.add((row["phase"], row["id"]))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_run_cut_at_a_random_point_goes_on_and_asks_nothing_twice(
    server: FakeServer, seed: int
) -> None:
    """The journal is cut where a kill could have cut it, in the middle of a line too."""
    line = "failing.jsonl --mode frozen --batch 2 --eval-every 1 --eval other.jsonl"
    assert replay(server, f"{line} --out whole") == 0
    assert replay(server, line) == 0
    rows = Path("run/rows.jsonl").read_bytes()
    Path("run/rows.jsonl").write_bytes(rows[: random.Random(seed).randrange(len(rows))])
    left, asked = known("whole/rows.jsonl") - known("run/rows.jsonl"), len(server.bodies)
    assert replay(server, f"{line} --resume") == 0
    assert timeless(read()) == timeless(read("whole/report.json"))
    assert len(server.bodies) - asked == len(left)


def process(server: FakeServer, line: str, **how: Any) -> subprocess.Popen[bytes]:
    """The command, as ``replay`` gives it, in a process of its own."""
    command = [sys.executable, "-m", "ttrl_client.cli", *flags(server, line)]
    # No bytecode: a full disk would cut it.
    env = {"PYTHONPATH": str(ROOT / "clients"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(command, env=os.environ | env, stdout=subprocess.DEVNULL, **how)


@pytest.mark.parametrize("seed", range(5))
def test_a_run_killed_at_a_random_point_goes_on_and_reports_the_same(
    server: FakeServer, seed: int
) -> None:
    line = "failing.jsonl --mode frozen --batch 2 --concurrency 1 --eval other.jsonl"
    assert replay(server, f"{line} --out whole") == 0
    every = known("whole/rows.jsonl")
    server.delay_s = 0.1  # a row comes slower than the last one is seen
    with process(server, line) as run:
        for count in _growing(Path("run/rows.jsonl")):
            assert run.poll() is None, "it ended before its time"
            if count > random.Random(seed).randrange(len(every)):
                run.kill()
                break
    assert not Path("run/report.json").exists()
    left = every - known("run/rows.jsonl")
    time.sleep(2 * server.delay_s)  # what was on its way has come
    asked, server.delay_s = len(server.bodies), 0.0
    assert replay(server, f"{line} --resume") == 0
    assert timeless(read()) == timeless(read("whole/report.json"))
    assert len(server.bodies) - asked == len(left)


def test_a_full_disk_ends_a_run_with_one_line_and_loses_no_row(server: FakeServer) -> None:
    line, kept = "products.jsonl --mode frozen", 1500

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kept, kept))

    with process(server, line, preexec_fn=full, stderr=subprocess.PIPE) as cut:
        said = cut.communicate()[1].decode().splitlines()
    assert (cut.returncode, len(said)) == (2, 1)
    assert said[0].startswith("ttrl-replay: error: ")
    assert Path("run/rows.jsonl").stat().st_size == kept
    answered, asked = len(known("run/rows.jsonl")), len(server.bodies)
    assert answered > 0
    assert replay(server, f"{line} --resume") == 0
    assert len(server.bodies) - asked == 3 * 6 - answered


def _growing(path: Path) -> Iterator[int]:
    """Lines of a file that is being written."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        yield path.read_bytes().count(b"\n") if path.exists() else 0
        time.sleep(0.005)


def test_a_run_is_not_resumed_as_another_one(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(server, "products.jsonl") == 0
    assert replay(server, "products.jsonl --resume --seed 9") == 2
    assert "was begun with other seed" in capsys.readouterr().err


def test_the_time_of_a_run_is_that_of_all_its_lives(server: FakeServer) -> None:
    assert replay(server, "products.jsonl --mode frozen") == 0
    rows = read("run/rows.jsonl")
    rows[-1]["elapsed"] = 5000.0
    Path("run/rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert replay(server, "products.jsonl --mode frozen --resume") == 0
    assert 5000 <= read()["wall_seconds"] < 5600


def test_a_folder_of_another_version_is_neither_resumed_nor_drawn_again(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "one.jsonl --mode frozen"
    assert replay(server, line) == 0
    for path in ("run/run.json", "run/report.json"):
        Path(path).write_text(json.dumps(read(path) | {"format": 1}))
    assert replay(server, f"{line} --resume") == 2
    assert main(["redraw", "run"]) == 2
    assert main(["compare", "run"]) == 2
    Path("run/run.json").write_text('{"half')
    assert replay(server, f"{line} --resume") == 2
    said = capsys.readouterr().err.splitlines()
    complaints = ("other format", "another version", "another version", "cannot be read")
    for complaint, told in zip(complaints, said, strict=True):
        assert complaint in told


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
    server: FakeServer, drawn: None
) -> None:
    prompt = "What is 2 * 3?<script>alert(1)</script>"
    record = {"id": "<b>x", "prompt": prompt, "answer": "6", "level": 1}
    Path("q.jsonl").write_text(json.dumps(record))
    assert replay(server, "q.jsonl") == 0
    page = _Page()
    page.feed(text("report.html"))
    assert "svg" in page.tags
    assert "script" not in page.tags
    assert [link for link in page.links if not link.startswith(("data:", "#"))] == []
    assert page.tags.count("details") == 2  # the settings, and the one question


def test_the_notes_have_the_papers_form(server: FakeServer) -> None:
    assert replay(server, "products.jsonl --batch 2") == 0
    notes = text("report.md")
    assert (
        "| trained | 6 | 0.250 (0.250–0.250) → 1.000 (1.000–1.000) | +0.750 | +300% | +0.750 |"
        in notes
    )
    assert "| 0, 6 |" in notes  # six majorities went from wrong to right


def test_one_evaluation_is_no_before_and_after(
    server: FakeServer, drawn: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(server, "products.jsonl --mode frozen --episodes 0") == 0
    assert "| set | questions | avg@16 | maj@16 | pass@16 |" in text("report.md")
    assert "| trained | 6 | 0.250 (0.250–0.250) | 0.000 | 1.000 |" in text("report.md")
    table = next(line for line in capsys.readouterr().out.splitlines() if " trained " in line)
    assert re.findall(r"[0-9.]+", table) == ["6", "0.250", "0.000", "0"]
    page = text("report.html")
    assert "<th>avg@16</th><th>maj@16</th>" in page
    for word in ("after", "gain", "not asked"):
        assert word not in page


def test_votes_are_worth_what_they_are_by_level(server: FakeServer) -> None:
    asked = [
        {"prompt": f"What is 2 * {b}?", "answer": str(2 * b + (b > 5)), "level": 1 + (b > 5)}
        for b in range(4, 8)
    ]
    Path("q.jsonl").write_text("".join(json.dumps(record) + "\n" for record in asked))
    # Twelve of sixteen samples say the product, which is no right answer at level 2.
    server.version = 2
    assert replay(server, "q.jsonl --mode frozen") == 0
    votes = read()["votes"]
    assert {tuple(worth) for worth in votes.values()} == {("votes", *RATIOS)}
    worths = {level: tuple(worth.values()) for level, worth in votes.items()}
    assert worths == {"1": (2, 0.75, 0.75, 1, 1), "2": (2, 0.75, 0, 0, 0.25)}
    rows = [row for row in read("run/rows.jsonl") if row.get("vote")]
    accuracies = {row["id"]: row["reward_accuracy"] for row in rows}
    assert accuracies == {"0": 1, "1": 1, "2": 0.25, "3": 0.25}
    assert all(row["seconds"] >= 0 for row in rows)
    assert "| 2 | 2 | 0.750 | 0.000 | 0.000 | 0.250 |" in text("report.md")


def test_a_run_is_drawn_again_from_its_folder(
    server: FakeServer, capsys: pytest.CaptureFixture[str], drawn: None
) -> None:
    assert replay(server, "products.jsonl --batch 2 --eval other.jsonl") == 0
    notes, page = text("report.md"), text("report.html")
    questions = Path("products.jsonl").rename("away.jsonl")
    for name in ("report.md", "report.html", "learning.png"):
        Path("run", name).unlink()
    assert main(["redraw", "run"]) == 0
    assert text("report.md") == notes
    # matplotlib names the parts of a picture anew each time.
    pictures = re.compile(r"<svg.*?</svg>", flags=re.DOTALL)
    assert pictures.sub("", text("report.html")) == pictures.sub("", page)
    assert "What is 2 * 5?" in page
    assert Path("run/learning.png").read_bytes().startswith(b"\x89PNG")
    assert "trained oracle" not in page
    assert main(["redraw", "run", "--oracle", "run"]) == 2  # that run learned from its votes
    questions.rename("products.jsonl")
    assert replay(server, "products.jsonl --mode oracle --out labels") == 0
    assert main(["redraw", "run", "--oracle", "labels"]) == 0
    assert "trained oracle" in text("report.html")
    assert "other oracle" not in text("report.html")
    Path("run/rows.jsonl").unlink()
    assert main(["redraw", "run"]) == 2
    said = capsys.readouterr().err
    assert "mode learn, not oracle" in said
    assert "holds no finished run" in said


def test_runs_are_compared_on_the_questions_they_share(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(server, "products.jsonl --mode frozen --out frozen") == 0
    assert replay(server, "products.jsonl --batch 2 --out learned") == 0
    capsys.readouterr()
    assert main(["compare", "frozen", "learned", "--out", "c.md"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].startswith("| trained | learned | 0.250 → 1.000 | +0.750 | +0.750 to +0.750 | ")
    assert lines[3].endswith("| 6 |")
    assert Path("c.md").read_text().splitlines() == lines
    assert main(["compare", "."]) == 2


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
