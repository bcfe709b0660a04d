"""What an operator does with versions, over HTTP, by ``ttrl-adapters`` on a running gateway and
on the folder alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.integration.conftest import ADMIN, Gateway, Start, ones, problem, until_watched
from ttrl_server.commands import adapters

OPERATOR = {"authorization": f"Bearer {ADMIN}"}


def look(gateway: Gateway, path: str = "") -> Any:
    return gateway.http.get(f"/ttrl/v1/adapters{path}", headers=OPERATOR)


class Command:
    """``ttrl-adapters`` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def prints(self, *argv: object) -> str:
        self._monkeypatch.setattr(sys, "argv", ["ttrl-adapters", *map(str, argv)])
        with capture_logs():  # the gateway's, which runs in this process too
            self._capsys.readouterr()
            adapters.main()
            return self._capsys.readouterr().out

    def says(self, *argv: object) -> dict[str, Any]:
        return dict(json.loads(self.prints(*argv, "--json")))

    def refuses(self, *argv: object) -> str:
        with pytest.raises(SystemExit) as ended:
            self.prints(*argv)
        return str(ended.value)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def with_versions(start: Start, promoted: int, **sections: Any) -> Gateway:
    gateway = start(**sections)
    for _ in range(promoted):
        gateway.promote()
    return gateway


# ---------------------------------------------------------------- over HTTP


def test_versions_are_listed_and_shown_with_manifest_gate_and_history(start: Start) -> None:
    gateway = with_versions(start, 2)
    listed = look(gateway).json()
    assert listed["served"] == "tiny@v2"
    assert [(v["name"], v["state"], v["served"]) for v in listed["versions"]] == [
        ("tiny@v2", "promoted", True),
        ("tiny@v1", "promoted", False),
    ]
    shown = look(gateway, "/v2").json()
    assert shown["manifest"]["sha256"].keys() == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "probe.json",
        "trainer.pt",
    }
    assert (shown["manifest"]["alpha"], shown["manifest"]["targets"]) == (16, ["q_proj"])
    assert [event["event"] for event in shown["events"]] == ["reserved", "proposed", "promoted"]
    assert shown["gate"]["probe_change"] == pytest.approx(0.25)


def test_a_version_that_is_not_there_is_404_with_the_nearest_named(start: Start) -> None:
    gateway = with_versions(start, 2)
    status, message = problem(look(gateway, "/9"), "message")
    assert status == 404
    assert "the nearest is v2" in message
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v2"})
    status, message = problem(gateway.ask(model="tiny@v1"), "message")
    assert status == 404
    assert "the nearest is tiny@v2" in message
    assert look(gateway, "/nonsense").status_code == 400


def test_a_pinned_version_is_answered_whatever_is_served_also_after_a_restart(start: Start) -> None:
    gateway = with_versions(start, 1)
    assert gateway.admin("adapters/v1/pin").json()["pinned"] is True
    gateway.promote()
    gateway.promote()
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v1", "tiny@v3"})
    assert gateway.evidence(model="tiny@v1")["adapter"] == "tiny@v1"
    models = [model["id"] for model in gateway.http.get("/v1/models").json()["data"]]
    assert models == ["tiny", "tiny@base", "tiny@v1", "tiny@v3"]
    gateway.stop()
    again = start()
    assert again.evidence(model="tiny@v1")["adapter"] == "tiny@v1"
    assert again.evidence()["adapter"] == "tiny@v3"
    assert again.admin("adapters/v1/unpin").json()["pinned"] is False
    again.until(lambda: again.engine.loaded == {"tiny@v3"})


def test_pins_leave_room_for_a_swap(start: Start) -> None:
    gateway = with_versions(start, 2, engine={"max_loras": 4})
    assert gateway.admin("adapters/1/pin").status_code == 200
    assert problem(gateway.admin("adapters/2/pin")) == (409, "no_room")
    gateway.promote()  # and a swap still finds its place
    assert gateway.admin("adapters/3/unpin").status_code == 409


def test_a_retired_version_is_gone_for_good(start: Start) -> None:
    gateway = with_versions(start, 2)
    assert gateway.admin("adapters/2/retire").status_code == 409  # it is served
    retired = gateway.admin("adapters/1/retire", {"reason": "old"})
    assert retired.json() == {"number": 1, "state": "retired"}
    assert gateway.admin("adapters/1/promote").status_code == 404
    assert gateway.admin("adapters/rollback", {"to": 1}).status_code == 409
    gateway.promote()
    gateway.until(lambda: not list(gateway.config.adapters_root.glob("v000001-*")))


def test_an_operator_may_overrule_a_judgement_but_not_a_fact(start: Start) -> None:
    gateway = with_versions(start, 1, gate={"sentinels": True})
    gateway.engine.of_version["tiny@v2"] = lambda i: "1000"
    gateway.ask()
    assert gateway.propose(gateway.lease())["state"] == "rejected"  # for its answers
    assert "force" in problem(gateway.admin("adapters/2/promote"), "message")[1]
    forced = gateway.admin("adapters/2/promote", {"force": True, "reason": "I know"})
    assert forced.json()["served"] is True
    assert gateway.evidence()["adapter"] == "tiny@v2"
    gateway.engine.of_version.clear()
    gateway.engine.shift = 0.0
    gateway.ask()
    assert gateway.propose(gateway.lease())["state"] == "rejected"  # by the probe
    assert gateway.admin("adapters/3/promote", {"force": True}).status_code == 409


def test_a_rollback_without_a_number_goes_to_the_last_good_version(start: Start) -> None:
    gateway = with_versions(start, 2)
    assert gateway.admin("adapters/rollback").json() == {"served": "tiny@v1"}
    assert gateway.admin("adapters/rollback").json() == {"served": "tiny@base"}
    assert gateway.admin("adapters/2/promote").json()["served"] is True
    events = gateway.service.promotions.ledger.events("org/tiny")[-3:]
    assert [(e.event, e.by) for e in events] == [("rolled_back", "operator")] * 3


def test_every_action_is_audited_with_the_requests_id(start: Start) -> None:
    gateway = with_versions(start, 1)
    headers = OPERATOR | {"x-request-id": "ticket-42"}
    with capture_logs() as logs:
        gateway.http.post("/ttrl/v1/adapters/1/retire", json={}, headers=headers)
        gateway.http.post("/ttrl/v1/adapters/rollback", json={"to": 0}, headers=headers)
    audits = [entry for entry in logs if entry["event"] == "audit"]
    assert [(entry["action"], entry["version"], entry["by"]) for entry in audits] == [
        ("retire", 1, "ticket-42"),
        ("rollback", 0, "ticket-42"),
    ]
    assert "refused" in audits[0]


# ---------------------------------------------------------------- the command


def test_the_command_is_there_and_fails_without_a_traceback(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", adapters.__name__, "ls", "--dir", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ttrl-adapters: ")
    assert done.stderr.endswith("is this an adapters folder?\n")


def test_the_command_acts_on_a_running_gateway(start: Start, command: Command) -> None:
    gateway = with_versions(start, 2)
    on = ("--base-url", gateway.url, "--admin-key", ADMIN)
    assert [v["number"] for v in command.says("ls", *on)["versions"]] == [2, 1]
    assert command.says("show", "v1", *on)["name"] == "tiny@v1"
    assert command.says("rollback", *on) == {"served": "tiny@v1"}
    assert command.says("promote", "2", *on)["served"] is True
    assert command.says("pin", "1", *on)["pinned"] is True
    assert command.says("unpin", "1", *on)["pinned"] is False
    assert command.says("retire", "1", *on) == {"number": 1, "state": "retired"}
    assert "the nearest is v2" in command.refuses("show", "7", *on)
    assert "admin key" in command.refuses("ls", "--base-url", gateway.url)
    assert "v2" in command.prints("ls", *on)


def test_the_command_acts_on_the_folder_alone_and_the_next_start_obeys(
    start: Start, command: Command
) -> None:
    gateway = with_versions(start, 2)
    where = ("--dir", gateway.config.adapters_root)
    # Looking needs nobody's leave.
    assert [row["number"] for row in command.says("ls", *where)["versions"]] == [2, 1]
    assert "belongs to a gateway that is running" in command.refuses("rollback", *where)
    gateway.stop()
    assert command.says("rollback", *where)["number"] == 1
    again = start()
    assert again.evidence()["adapter"] == "tiny@v1"
    again.stop()
    assert command.says("promote", "v2", *where)["served"] is True
    assert command.says("show", "2", *where)["events"][-1]["by"] == "operator"
    assert "there are v2, v1" in command.refuses("pin", "7", *where)
    assert "is not a version" in command.refuses("show", "x", *where)


def test_a_version_is_exported_and_pushed_without_what_is_only_ours(
    start: Start, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = with_versions(start, 1)
    where = ("--dir", gateway.config.adapters_root)
    exported = ["adapter_config.json", "adapter_model.safetensors"]
    command.says("export", "1", tmp_path / "out", *where)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == exported
    assert "not empty" in command.refuses("export", "1", tmp_path / "out", *where)

    import huggingface_hub

    uploads: list[dict[str, Any]] = []

    class Hub:
        def create_repo(self, repository: str, **more: Any) -> None:
            uploads.append({"repository": repository, **more})

        def upload_folder(self, *, folder_path: str, **more: Any) -> str:
            uploads.append({"files": sorted(p.name for p in Path(folder_path).iterdir()), **more})
            return "https://hub/owner/name"

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    command.says("push", "1", "owner/name", *where)
    assert uploads[0] == {"repository": "owner/name", "private": False, "exist_ok": True}
    assert uploads[1]["files"] == exported


# ---------------------------------------------------------------- learning that was ended


def alarmed(start: Start) -> Gateway:
    """Learning has been ended by a step that went too far."""
    gateway = start(guard={"max_kl": 1, "refusals": 1})
    gateway.ask()
    gateway.propose(gateway.lease(), kl_base=3.0)
    return gateway


@pytest.mark.usefixtures("impatient")
def test_an_alarm_outlives_a_restart_until_a_person_resumes_learning(
    start: Start, command: Command
) -> None:
    gateway = alarmed(start)
    why = gateway.status()["reason"]
    assert why.startswith("held_back: 1 candidates in a row were refused: kl: 3 nats")
    gateway.stop()
    again = start()
    assert (again.status()["learning"], again.status()["reason"]) == (False, why)
    again.ask()
    assert again.waiting() is None
    assert again.http.post("/ttrl/v1/learning/resume").status_code == 401
    on = ("--base-url", again.url, "--admin-key", ADMIN)
    assert command.says("resume", *on)["learning"] is True
    assert again.promote()
    again.stop()
    assert start().status()["learning"] is True


def test_learning_is_resumed_on_the_folder_alone(start: Start, command: Command) -> None:
    gateway = alarmed(start)
    gateway.stop()
    said = command.says("resume", "--dir", gateway.config.adapters_root)
    assert said == {"learning": "goes on at the next start"}
    assert start().status()["learning"] is True


# ---------------------------------------------------------------- a version that falls


def watched(start: Start) -> Gateway:
    """v1 is served, and eight questions were asked of it."""
    gateway = with_versions(start, 1, guard={"watch_groups": 4, "watch_window": 8})
    for n in range(1, 9):
        gateway.ask(ones(n))
    return gateway


def fallen(start: Start) -> Gateway:
    """v1 is sound; v2 passes the gate, and is nonsense on everything clients ask."""
    gateway = watched(start)
    gateway.engine.of_version["tiny@v2"] = lambda i: "I cannot say."
    gateway.promote()
    return gateway


def test_a_regression_that_passed_the_gate_is_gone_back_from_within_one_window(
    start: Start,
) -> None:
    gateway = fallen(start)
    for n in range(1, 9):
        gateway.ask(ones(n))
        until_watched(gateway)
        if gateway.served != "tiny@v2":
            break
    assert gateway.served == "tiny@v1"
    assert gateway.status()["learning"] is True  # and goes on, from v1
    shown = look(gateway, "/2").json()
    assert (shown["state"], shown["events"][-1]["by"]) == ("fallen", "watch")
    assert "v2 fell" in shown["events"][-1]["reason"]
    assert gateway.admin("adapters/2/promote", {"force": True}).status_code == 409
    parent = gateway.promote().parent
    assert parent
    assert parent.number == 1


def test_harder_questions_are_no_fall(start: Start) -> None:
    """The new version is as good as the base model on them, which is asked before anybody goes
    back."""
    gateway = fallen(start)
    gateway.engine.text = lambda i: "I cannot say."
    for n in range(1, 9):
        gateway.ask(ones(n))
        until_watched(gateway)
    assert gateway.served == "tiny@v2"


def test_a_step_from_a_version_that_was_left_does_not_bring_it_back(start: Start) -> None:
    gateway = with_versions(start, 1)
    gateway.ask()
    batch = gateway.lease()
    folder = gateway.publish(batch)  # made from v1
    gateway.admin("adapters/rollback", {"to": 0})
    judgement = gateway.propose(batch, folder)
    assert (judgement["state"], judgement["parent"]) == ("rejected", None)
    assert "made from v1, which is not served any more" in judgement["reason"]
    assert gateway.served == "tiny@base"


def test_samples_that_a_client_cut_short_make_no_version_fall(start: Start) -> None:
    """Both are asked again before anything is done, as they are asked by nobody in particular."""
    gateway = watched(start)
    gateway.promote()
    # For as long as the hostile client asks.
    gateway.engine.of_version["tiny@v2"] = lambda i: "I cannot"
    for n in range(1, 5):
        gateway.ask(ones(n), max_tokens=2)
    del gateway.engine.of_version["tiny@v2"]
    gateway.ask(ones(5))
    until_watched(gateway)
    assert gateway.served == "tiny@v2"


def test_a_rollback_does_not_wait_for_a_candidate(start: Start) -> None:
    gateway = with_versions(start, 1, gate={"sentinels": True, "canary_samples": 4})
    gateway.ask()
    gateway.engine.held = lambda i: True  # the candidate is asked for a long time
    proposal = gateway.aside(gateway.propose, gateway.lease())
    gateway.until(lambda: gateway.engine.running > 0)
    assert gateway.admin("adapters/rollback", {"to": 0}).json() == {"served": "tiny@base"}
    judgement = proposal.result()
    assert judgement["state"] == "rejected"
    assert judgement["reason"].startswith("given_up:")
    assert gateway.served == "tiny@base"
    assert gateway.status()["learning"] is True


def test_a_candidate_that_is_given_up_while_it_is_loaded_does_not_stay_in_the_engine(
    start: Start,
) -> None:
    gateway = with_versions(start, 1)
    gateway.ask()
    gateway.engine.load_s = 0.5
    proposal = gateway.aside(gateway.propose, gateway.lease())
    gateway.until(lambda: gateway.engine.paths().count("/v1/load_lora_adapter") == 2)
    gateway.admin("adapters/rollback", {"to": 0})
    assert proposal.result()["reason"].startswith("given_up:")
    gateway.until(lambda: gateway.engine.paths().count("/v1/unload_lora_adapter") >= 2)
    gateway.until(lambda: gateway.engine.loaded == set())
