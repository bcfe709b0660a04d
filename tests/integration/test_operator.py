"""What an operator does with versions, over HTTP, by ``ttrl-adapters`` on a running gateway and
on the folder alone."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.integration.conftest import ADMIN, Gateway, ones
from tests.integration.test_guards import step
from tests.integration.test_learning_loop import engine, lease, promote_one, publish
from ttrl_server.promotion.watch import Watcher
from ttrl_server.types import Batch

Start = Callable[..., Gateway]


def look(gateway: Gateway, path: str = "") -> Any:
    return gateway.http.get(
        f"/ttrl/v1/adapters{path}", headers={"authorization": f"Bearer {ADMIN}"}
    )


def cli(*argv: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ttrl_server.commands.adapters", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def said(*argv: object) -> dict[str, Any]:
    done = cli(*argv, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def refused(*argv: object) -> str:
    done = cli(*argv)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


def watcher(gateway: Gateway) -> Watcher:
    assert gateway.service.learning
    return gateway.service.learning.watcher


def with_versions(start: Start, promoted: int, **sections: Any) -> Gateway:
    gateway = start(engine(), **sections)
    for _ in range(promoted):
        promote_one(gateway)
    return gateway


def refused_version(gateway: Gateway) -> None:
    """The next version is refused for its answers."""
    gateway.engine.of_version[f"tiny@v{gateway.status()['promoted'] + 1}"] = lambda i: "1000"
    gateway.ask()
    assert step(gateway)["state"] == "rejected"


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
    reply = look(gateway, "/9")
    assert reply.status_code == 404
    assert "the nearest is v2" in reply.json()["error"]["message"]
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v2"})
    pinned = gateway.ask(model="tiny@v1")
    assert pinned.status_code == 404
    assert "the nearest is tiny@v2" in pinned.json()["error"]["message"]
    assert look(gateway, "/nonsense").status_code == 400


def test_a_pinned_version_is_answered_whatever_is_served_also_after_a_restart(start: Start) -> None:
    gateway = with_versions(start, 1)
    assert gateway.admin("adapters/v1/pin", {}).json()["pinned"] is True
    promote_one(gateway)
    promote_one(gateway)
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v1", "tiny@v3"})
    assert gateway.ask(model="tiny@v1").json()["ttrl"]["adapter"] == "tiny@v1"
    assert [m["id"] for m in gateway.http.get("/v1/models").json()["data"]] == [
        "tiny",
        "tiny@base",
        "tiny@v1",
        "tiny@v3",
    ]
    gateway.stop()
    again = start(engine())
    assert again.ask(model="tiny@v1").json()["ttrl"]["adapter"] == "tiny@v1"
    assert again.ask().json()["ttrl"]["adapter"] == "tiny@v3"
    assert again.admin("adapters/v1/unpin", {}).json()["pinned"] is False
    again.until(lambda: again.engine.loaded == {"tiny@v3"})


def test_pins_leave_room_for_a_swap(start: Start) -> None:
    gateway = with_versions(start, 2, engine={"max_loras": 4})
    assert gateway.admin("adapters/1/pin", {}).status_code == 200
    full = gateway.admin("adapters/2/pin", {})
    assert (full.status_code, full.json()["error"]["code"]) == (409, "no_room")
    promote_one(gateway)  # and a swap still finds its place
    assert gateway.admin("adapters/3/unpin", {}).status_code == 409


def test_a_retired_version_is_gone_for_good(start: Start) -> None:
    gateway = with_versions(start, 2)
    assert gateway.admin("adapters/2/retire", {}).status_code == 409  # it is served
    assert gateway.admin("adapters/1/retire", {"reason": "old"}).json() == {
        "number": 1,
        "state": "retired",
    }
    assert gateway.admin("adapters/1/promote", {}).status_code == 404
    assert gateway.admin("adapters/rollback", {"to": 1}).status_code == 409
    promote_one(gateway)
    gateway.until(lambda: not list(gateway.config.adapters_root.glob("v000001-*")))


def test_an_operator_may_overrule_a_judgement_but_not_a_fact(start: Start) -> None:
    gateway = with_versions(start, 1, gate={"sentinels": True})
    refused_version(gateway)
    assert "force" in gateway.admin("adapters/2/promote", {}).json()["error"]["message"]
    assert (
        gateway.admin("adapters/2/promote", {"force": True, "reason": "I know"}).json()["served"]
        is True
    )
    assert gateway.ask().json()["ttrl"]["adapter"] == "tiny@v2"
    gateway.engine.of_version.clear()
    gateway.engine.shift = lambda model: 0.0
    gateway.ask()
    assert step(gateway)["state"] == "rejected"  # by the probe
    assert gateway.admin("adapters/3/promote", {"force": True}).status_code == 409


def test_a_rollback_without_a_number_goes_to_the_last_good_version(start: Start) -> None:
    gateway = with_versions(start, 2)
    assert gateway.admin("adapters/rollback", {}).json() == {"served": "tiny@v1"}
    assert gateway.admin("adapters/rollback", {}).json() == {"served": "tiny@base"}
    assert gateway.admin("adapters/2/promote", {}).json()["served"] is True
    events = [(e.event, e.by) for e in gateway.service.promotions.ledger.events("org/tiny")][-3:]
    assert events == [("rolled_back", "operator")] * 3


def test_every_action_is_audited_with_the_requests_id(start: Start) -> None:
    gateway = with_versions(start, 1)
    headers = {"authorization": f"Bearer {ADMIN}", "x-request-id": "ticket-42"}
    with capture_logs() as logs:
        gateway.http.post("/ttrl/v1/adapters/1/retire", json={}, headers=headers)
        gateway.http.post("/ttrl/v1/adapters/rollback", json={"to": 0}, headers=headers)
    noted = [
        {k: entry[k] for k in ("action", "version", "by")}
        for entry in logs
        if entry["event"] == "audit"
    ]
    assert noted == [
        {"action": "retire", "version": 1, "by": "ticket-42"},
        {"action": "rollback", "version": 0, "by": "ticket-42"},
    ]
    assert "refused" in next(entry for entry in logs if entry["event"] == "audit")


# ---------------------------------------------------------------- the command


def test_the_command_acts_on_a_running_gateway(start: Start) -> None:
    gateway = with_versions(start, 2)
    on = ("--base-url", gateway.url, "--admin-key", ADMIN)
    assert [v["number"] for v in said("ls", *on)["versions"]] == [2, 1]
    assert said("show", "v1", *on)["name"] == "tiny@v1"
    assert said("rollback", *on) == {"served": "tiny@v1"}
    assert said("promote", "2", *on)["served"] is True
    assert said("pin", "1", *on)["pinned"] is True
    assert said("unpin", "1", *on)["pinned"] is False
    assert said("retire", "1", *on) == {"number": 1, "state": "retired"}
    assert "the nearest is v2" in refused("show", "7", *on)
    assert "admin key" in refused("ls", "--base-url", gateway.url)
    assert "v2" in cli("ls", *on).stdout


def test_the_command_acts_on_the_folder_alone_and_the_next_start_obeys(start: Start) -> None:
    gateway = with_versions(start, 2)
    where = ("--dir", gateway.config.adapters_root)
    # Looking needs nobody's leave.
    assert [row["number"] for row in said("ls", *where)["versions"]] == [2, 1]
    assert "belongs to a gateway that is running" in refused("rollback", *where)
    gateway.stop()
    assert said("rollback", *where)["number"] == 1
    again = start(engine())
    assert again.ask().json()["ttrl"]["adapter"] == "tiny@v1"
    again.stop()
    assert said("promote", "v2", *where)["served"] is True
    assert said("show", "2", *where)["events"][-1]["by"] == "operator"
    assert "there are v2, v1" in refused("pin", "7", *where)
    assert "is not a version" in refused("show", "x", *where)


def test_a_version_is_exported_and_pushed_without_what_is_only_ours(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = with_versions(start, 1)
    where = ("--dir", gateway.config.adapters_root)
    said("export", "1", tmp_path / "out", *where)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert "not empty" in refused("export", "1", tmp_path / "out", *where)

    import huggingface_hub

    from ttrl_server.commands import adapters

    uploads: list[dict[str, Any]] = []

    class Hub:
        def create_repo(self, repository: str, **more: Any) -> None:
            uploads.append({"repository": repository, **more})

        def upload_folder(self, *, folder_path: str, **more: Any) -> str:
            uploads.append({"files": sorted(p.name for p in Path(folder_path).iterdir()), **more})
            return "https://hub/owner/name"

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(sys, "argv", ["ttrl-adapters", "push", "1", "owner/name", *map(str, where)])
    adapters.main()
    assert uploads[0] == {"repository": "owner/name", "private": False, "exist_ok": True}
    assert uploads[1]["files"] == ["adapter_config.json", "adapter_model.safetensors"]


# ---------------------------------------------------------------- learning that was ended


def test_an_alarm_outlives_a_restart_until_a_person_resumes_learning(start: Start) -> None:
    gateway = start(engine(), guard={"max_kl": 1})
    gateway.ask()
    step(gateway, kl_base=3.0)
    why = gateway.status()["reason"]
    assert why.startswith("kl: 3 nats")
    gateway.stop()
    again = start(engine())
    assert (again.status()["learning"], again.status()["reason"]) == (False, why)
    again.ask()
    assert again.admin("train/lease", {"worker": "test"}).status_code == 204
    assert again.http.post("/ttrl/v1/learning/resume").status_code == 401
    assert said("resume", "--base-url", again.url, "--admin-key", ADMIN)["learning"] is True
    assert promote_one(again)
    again.stop()
    assert start(engine()).status()["learning"] is True


def test_learning_is_resumed_on_the_folder_alone(start: Start) -> None:
    gateway = start(engine(), guard={"max_kl": 1})
    gateway.ask()
    step(gateway, kl_base=3.0)
    gateway.stop()
    assert said("resume", "--dir", gateway.config.adapters_root) == {
        "learning": "goes on at the next start"
    }
    assert start(engine()).status()["learning"] is True


# ---------------------------------------------------------------- a version that falls


def fallen_gateway(start: Start) -> Gateway:
    """v1 is sound; v2 passes the gate, and is nonsense on everything clients ask."""
    gateway = with_versions(start, 1, guard={"watch_groups": 4, "watch_window": 8})
    for n in range(8):
        gateway.ask(ones(n + 1))
    gateway.engine.of_version["tiny@v2"] = lambda i: "I cannot say."
    promote_one(gateway)
    return gateway


def test_a_regression_that_passed_the_gate_is_gone_back_from_within_one_window(
    start: Start,
) -> None:
    gateway = fallen_gateway(start)
    asked = 0
    while gateway.status()["served"]["number"] == 2:
        assert asked < 8, "not within one window"
        gateway.ask(ones(asked % 8 + 1))
        asked += 1
        gateway.until(lambda: not watcher(gateway).looking)
    assert gateway.status()["served"]["name"] == "tiny@v1"
    assert gateway.status()["learning"] is True  # and goes on, from v1
    shown = look(gateway, "/2").json()
    assert shown["state"] == "fallen"
    assert shown["events"][-1]["by"] == "watch"
    assert "v2 fell" in shown["events"][-1]["reason"]
    assert gateway.admin("adapters/2/promote", {"force": True}).status_code == 409
    assert promote_one(gateway).parent.number == 1  # type: ignore[union-attr]


def test_harder_questions_are_no_fall(start: Start) -> None:
    """The new version is as good as the base model on them, which is asked before anybody goes
    back."""
    gateway = fallen_gateway(start)
    gateway.engine.text = lambda i: "I cannot say."
    for n in range(8):
        gateway.ask(ones(n + 1))
        gateway.until(lambda: not watcher(gateway).looking)
    assert gateway.status()["served"]["number"] == 2


def test_a_step_from_a_version_that_was_left_does_not_bring_it_back(start: Start) -> None:
    gateway = with_versions(start, 1)
    gateway.ask()
    batch = lease(gateway)
    folder = publish(gateway, batch.number)  # made from v1
    gateway.admin("adapters/rollback", {"to": 0})
    judgement = gateway.admin("train/propose", {"batch": batch.id, "folder": folder}).json()
    assert (judgement["state"], judgement["parent"]) == ("rejected", None)
    assert "made from v1, which is not served any more" in judgement["reason"]
    assert gateway.status()["served"]["number"] == 0


def test_samples_that_a_client_cut_short_make_no_version_fall(start: Start) -> None:
    """Both are asked again before anything is done, as they are asked by nobody in particular."""
    gateway = with_versions(start, 1, guard={"watch_groups": 4, "watch_window": 8})
    for n in range(8):
        gateway.ask(ones(n + 1))
    promote_one(gateway)
    # For as long as the hostile client asks.
    gateway.engine.of_version["tiny@v2"] = lambda i: "I cannot"
    for n in range(4):
        gateway.ask(ones(n + 1), max_tokens=2)
    del gateway.engine.of_version["tiny@v2"]
    gateway.ask(ones(5))
    gateway.until(lambda: not watcher(gateway).looking)
    assert gateway.status()["served"]["number"] == 2


def proposing(gateway: Gateway, batch: Batch) -> tuple[threading.Thread, list[Any]]:
    """The batch's version is proposed; its judgement is in the list when the thread has ended."""
    proposal = {"batch": batch.id, "folder": publish(gateway, batch.number)}
    judgements: list[Any] = []
    thread = threading.Thread(
        target=lambda: judgements.append(gateway.admin("train/propose", proposal).json())
    )
    thread.start()
    return thread, judgements


def test_a_rollback_does_not_wait_for_a_candidate(start: Start) -> None:
    gateway = with_versions(start, 1, gate={"sentinels": True, "canary_samples": 4})
    gateway.ask()
    batch = lease(gateway)
    gateway.engine.delay_s = 2.0  # the candidate is asked for a long time
    thread, judgements = proposing(gateway, batch)
    gateway.until(lambda: gateway.engine.running > 0)
    assert gateway.admin("adapters/rollback", {"to": 0}).json() == {"served": "tiny@base"}
    thread.join(30)
    assert (judgements[0]["state"], judgements[0]["reason"].partition(":")[0]) == (
        "rejected",
        "given_up",
    )
    assert gateway.status()["served"]["number"] == 0
    assert gateway.status()["learning"] is True


def test_a_candidate_that_is_given_up_while_it_is_loaded_does_not_stay_in_the_engine(
    start: Start,
) -> None:
    gateway = with_versions(start, 1)
    gateway.ask()
    gateway.engine.load_s = 0.5
    thread, judgements = proposing(gateway, lease(gateway))
    gateway.until(lambda: gateway.engine.paths().count("/v1/load_lora_adapter") == 2)
    gateway.admin("adapters/rollback", {"to": 0})
    thread.join(30)
    assert judgements[0]["reason"].partition(":")[0] == "given_up"
    gateway.until(lambda: gateway.engine.paths().count("/v1/unload_lora_adapter") >= 2)
    gateway.until(lambda: gateway.engine.loaded == set())
