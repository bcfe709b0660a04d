"""What went wrong for others who swap adapters under load, each with its right outcome here.

Reports whose kind is covered elsewhere: vllm-project/vllm#17972 (healthy, and no request ends) in
``test_wedged_engine``; vllm-project/vllm#13698 (a load ends the server) in ``test_two_replicas``;
sgl-project/sglang#31084 (an adapter is known to one of several workers) in
``test_command_lines``; ray-project/ray#36042 (which version a replica has after the controller
died) and NovaSky-AI/SkyRL#2129 (a reload under running requests) in ``test_learning_loop`` and
``test_swap_under_load``.
"""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import httpx

from tests.integration.conftest import Gateway, Start, problem
from tests.integration.test_operator import with_versions
from ttrl_server.registry.past import Event

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


def times(gateway: Gateway, path: str, name: str) -> int:
    return sum(p == path and body.get("lora_name") == name for p, body in gateway.engine.seen)


def held_question(gateway: Gateway) -> Future[httpx.Response]:
    """A question whose eight samples are held back; later ones are not."""
    first = gateway.engine.drawn
    gateway.engine.held = lambda i: i < first + 8
    asking = gateway.aside(gateway.ask, "What is 9 + 1?", ttrl={"samples": 8})
    gateway.until(lambda: gateway.engine.running == 8)
    return asking


def events(gateway: Gateway) -> list[Event]:
    return list(gateway.service.promotions.ledger.events("org/tiny"))


def folder_of(gateway: Gateway, number: int) -> Path:
    (folder,) = gateway.config.adapters_root.glob(f"v{number:06d}-*")
    return folder


def test_one_adapter_asked_for_twice_at_once_is_loaded_once(start: Start) -> None:
    """ai-dynamo/dynamo#5184: concurrent loads of the same adapter raced."""
    gateway = with_versions(start, 2)
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v2"})
    before = times(gateway, LOAD, "tiny@v1")
    gateway.engine.load_s = 0.3
    pins = [gateway.aside(gateway.admin, "adapters/1/pin") for _ in range(2)]
    assert {pin.result().status_code for pin in pins} == {200}
    assert times(gateway, LOAD, "tiny@v1") == before + 1
    assert gateway.engine.loaded == {"tiny@v1", "tiny@v2"}


def test_a_swap_waits_for_room_where_the_engine_is_full(start: Start) -> None:
    """huggingface/trl#7017: at the least number of slots the new adapter went in before the old
    one was out, and vLLM evicted one that was in use."""
    gateway = with_versions(start, 1, engine={"max_loras": 2})
    gateway.ask()
    second = gateway.lease()
    asking = held_question(gateway)
    assert gateway.propose(second)["state"] == "promoted"
    gateway.ask()
    third = gateway.aside(gateway.propose, gateway.lease())
    gateway.until(lambda: events(gateway)[-1].event == "proposed")
    gateway.engine.held = lambda i: False
    assert third.result()["state"] == "promoted"
    assert asking.result().status_code == 200
    swaps = [(path, b["lora_name"]) for path, b in gateway.engine.seen if path in (LOAD, UNLOAD)]
    assert swaps.index((UNLOAD, "tiny@v1")) < swaps.index((LOAD, "tiny@v3"))


def test_going_back_while_the_later_version_still_answers(start: Start) -> None:
    """restatedev/restate-operator#174: after v1, v2, v1 the later one went on being routed to."""
    gateway = with_versions(start, 2)
    asking = held_question(gateway)
    assert gateway.admin("adapters/rollback", {"to": 1}).json() == {"served": "tiny@v1"}
    assert gateway.evidence()["adapter"] == "tiny@v1"
    gateway.engine.held = lambda i: False
    assert asking.result().json()["ttrl"]["adapter"] == "tiny@v2"
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v1"})


def test_going_back_to_a_version_that_a_pin_has_kept_in_the_engine(start: Start) -> None:
    """restatedev/restate-operator#178: the earlier one was active already, so nothing was done."""
    gateway = with_versions(start, 1)
    gateway.admin("adapters/1/pin")
    gateway.promote()
    assert gateway.admin("adapters/rollback", {"to": 1}).json() == {"served": "tiny@v1"}
    assert gateway.evidence()["adapter"] == "tiny@v1"
    gateway.admin("adapters/1/unpin")
    assert gateway.evidence()["adapter"] == "tiny@v1"
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v1"})


def test_the_pointer_moves_only_to_a_version_that_is_there_and_loads(start: Start) -> None:
    """Pulsefy/Lumenpulse#1448: a rollback moved the pointer to a version that did not load."""
    gateway = with_versions(start, 2)
    (folder_of(gateway, 1) / "adapter_model.safetensors").write_bytes(b"not what was published")
    assert problem(gateway.admin("adapters/rollback", {"to": 1})) == (409, "version_conflict")
    assert gateway.evidence()["adapter"] == "tiny@v2"
    assert gateway.service.promotions.ledger.served("org/tiny") is not None
    assert gateway.served == "tiny@v2"


def test_a_start_serves_the_last_version_that_can_be_served(start: Start) -> None:
    """kserve/kserve#6: a new cluster tried the latest revision, which had never come up."""
    gateway = with_versions(start, 2)
    gateway.stop()
    (folder_of(gateway, 2) / "probe.json").unlink()
    again = start()
    assert again.evidence()["adapter"] == "tiny@v1"
    last = events(again)[-1]
    assert (last.event, last.by, last.number) == ("rolled_back", "restart", 1)


def test_two_wishes_at_once_are_both_done_and_cost_no_candidate_twice(start: Start) -> None:
    """valon-technologies/gestalt#2907: what one rollout left behind counted for the next."""
    gateway = with_versions(start, 2, gate={"sentinels": True, "canary_samples": 4})
    gateway.ask()
    batch = gateway.lease()
    gateway.engine.held = lambda i: True
    proposal = gateway.aside(gateway.propose, batch)
    gateway.until(lambda: gateway.engine.running > 0)
    wishes = [
        gateway.aside(gateway.admin, "adapters/rollback", {"to": 0}),
        gateway.aside(gateway.admin, "adapters/1/pin"),
    ]
    proposal.result()
    assert {wish.result().status_code for wish in wishes} == {200}
    assert gateway.served == "tiny@base"
    about = gateway.service.promotions.ledger.about(batch.number)
    assert [event.stage for event in about if event.event == "rejected"] == ["given_up"]
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v1"})


def test_a_load_that_ends_after_it_was_given_up_leaves_nothing(start: Start) -> None:
    """ai-dynamo/dynamo#11520: an unload won against a load under way, which then stayed."""
    gateway = with_versions(start, 1)
    gateway.ask()
    gateway.engine.load_s = 1.0
    proposal = gateway.aside(gateway.propose, gateway.lease())
    gateway.until(lambda: times(gateway, LOAD, "tiny@v2") == 1)
    assert gateway.admin("adapters/1/retire").status_code == 409  # it is served
    proposal.result()
    gateway.until(lambda: times(gateway, UNLOAD, "tiny@v2") >= 1)
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v1"})
