"""What went wrong for others who swap adapters under load, each with its right outcome here.

Reports whose kind is covered elsewhere: vllm-project/vllm#17972 (healthy, and no request ends) in
``test_wedged_engine``; vllm-project/vllm#13698 (a load ends the server) in ``test_two_replicas``;
sgl-project/sglang#31084 (an adapter is known to one of several workers) in
``test_command_lines``; ray-project/ray#36042 (which version a replica has after the controller
died) and NovaSky-AI/SkyRL#2129 (a reload under running requests) in ``test_learning_loop`` and
``test_swap_under_load``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx

from tests.integration.conftest import Gateway
from tests.integration.test_learning_loop import engine, lease, promote_one, publish
from tests.integration.test_operator import proposing, with_versions

Start = Callable[..., Gateway]
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


def aside(*calls: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """The replies of calls that are made at once."""
    replies: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda call=call: replies.append(call())) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return replies


def times(gateway: Gateway, path: str, name: str) -> int:
    return sum(p == path and body.get("lora_name") == name for p, body in gateway.engine.seen)


def test_one_adapter_asked_for_twice_at_once_is_loaded_once(start: Start) -> None:
    """ai-dynamo/dynamo#5184: concurrent loads of the same adapter raced."""
    gateway = with_versions(start, 2)
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v2"})
    before = times(gateway, LOAD, "tiny@v1")
    gateway.engine.load_s = 0.3
    pin = lambda: gateway.admin("adapters/1/pin", {})  # noqa: E731
    assert {reply.status_code for reply in aside(pin, pin)} == {200}
    assert times(gateway, LOAD, "tiny@v1") == before + 1
    assert gateway.engine.loaded == {"tiny@v1", "tiny@v2"}


def test_a_swap_waits_for_room_where_the_engine_is_full(start: Start) -> None:
    """huggingface/trl#7017: at the least number of slots the new adapter went in before the old
    one was out, and vLLM evicted one that was in use."""
    gateway = with_versions(start, 1, engine={"max_loras": 2})
    gateway.ask()
    second = lease(gateway)
    gateway.engine.delay_s = 3.0
    asking = threading.Thread(target=lambda: gateway.ask("What is 9 + 1?"))
    asking.start()
    gateway.until(lambda: gateway.engine.running > 0)
    gateway.engine.delay_s = 0.0
    body = {"batch": second.id, "folder": publish(gateway, second.number)}
    assert gateway.admin("train/propose", body).json()["state"] == "promoted"
    gateway.ask()
    third = lease(gateway)
    body = {"batch": third.id, "folder": publish(gateway, third.number)}
    (reply,) = aside(lambda: gateway.admin("train/propose", body))
    assert reply.json()["state"] == "promoted"
    asking.join(20)
    swaps = [(path, b["lora_name"]) for path, b in gateway.engine.seen if path in (LOAD, UNLOAD)]
    assert swaps.index((UNLOAD, "tiny@v1")) < swaps.index((LOAD, "tiny@v3"))


def test_going_back_while_the_later_version_still_answers(start: Start) -> None:
    """restatedev/restate-operator#174: after v1, v2, v1 the later one went on being routed to."""
    gateway = with_versions(start, 2)
    gateway.engine.delay_s = 0.8
    replies: list[dict[str, Any]] = []
    asking = threading.Thread(
        target=lambda: replies.append(gateway.ask("What is 9 + 1?").json()["ttrl"])
    )
    asking.start()
    gateway.until(lambda: gateway.engine.running > 0)
    gateway.engine.delay_s = 0.0
    assert gateway.admin("adapters/rollback", {"to": 1}).json() == {"served": "tiny@v1"}
    assert gateway.ask().json()["ttrl"]["adapter"] == "tiny@v1"
    asking.join(20)
    assert replies[0]["adapter"] == "tiny@v2"
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v1"})


def test_going_back_to_a_version_that_a_pin_has_kept_in_the_engine(start: Start) -> None:
    """restatedev/restate-operator#178: the earlier one was active already, so nothing was done."""
    gateway = with_versions(start, 1)
    gateway.admin("adapters/1/pin", {})
    promote_one(gateway)
    assert gateway.admin("adapters/rollback", {"to": 1}).json() == {"served": "tiny@v1"}
    assert gateway.ask().json()["ttrl"]["adapter"] == "tiny@v1"
    gateway.admin("adapters/1/unpin", {})
    assert gateway.ask().json()["ttrl"]["adapter"] == "tiny@v1"
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v1"})


def test_the_pointer_moves_only_to_a_version_that_is_there_and_loads(start: Start) -> None:
    """Pulsefy/Lumenpulse#1448: a rollback moved the pointer to a version that did not load."""
    gateway = with_versions(start, 2)
    (folder,) = gateway.config.adapters_root.glob("v000001-*")
    (folder / "adapter_model.safetensors").write_bytes(b"not what was published")
    reply = gateway.admin("adapters/rollback", {"to": 1})
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "version_conflict")
    assert gateway.ask().json()["ttrl"]["adapter"] == "tiny@v2"
    assert gateway.service.promotions.ledger.served("org/tiny") is not None
    assert gateway.status()["served"]["number"] == 2


def test_a_start_serves_the_last_version_that_can_be_served(start: Start) -> None:
    """kserve/kserve#6: a new cluster tried the latest revision, which had never come up."""
    gateway = with_versions(start, 2)
    (folder,) = gateway.config.adapters_root.glob("v000002-*")
    gateway.stop()
    (folder / "probe.json").unlink()
    again = start(engine())
    assert again.ask().json()["ttrl"]["adapter"] == "tiny@v1"
    events = again.service.promotions.ledger.events("org/tiny")
    assert (events[-1].event, events[-1].by, events[-1].number) == ("rolled_back", "restart", 1)


def test_two_wishes_at_once_are_both_done_and_cost_no_candidate_twice(start: Start) -> None:
    """valon-technologies/gestalt#2907: what one rollout left behind counted for the next."""
    gateway = with_versions(start, 2, gate={"sentinels": True, "canary_samples": 4})
    gateway.ask()
    batch = lease(gateway)
    gateway.engine.delay_s = 2.0
    thread, _ = proposing(gateway, batch)
    gateway.until(lambda: gateway.engine.running > 0)
    replies = aside(
        lambda: gateway.admin("adapters/rollback", {"to": 0}),
        lambda: gateway.admin("adapters/1/pin", {}),
    )
    thread.join(30)
    assert {reply.status_code for reply in replies} == {200}
    assert gateway.status()["served"]["number"] == 0
    refused = [
        e.stage
        for e in gateway.service.promotions.ledger.about(batch.number)
        if e.event == "rejected"
    ]
    assert refused == ["given_up"]
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v1"})


def test_a_load_that_ends_after_it_was_given_up_leaves_nothing(start: Start) -> None:
    """ai-dynamo/dynamo#11520: an unload won against a load under way, which then stayed."""
    gateway = with_versions(start, 1)
    gateway.ask()
    batch = lease(gateway)
    gateway.engine.load_s = 1.0
    thread, _ = proposing(gateway, batch)
    gateway.until(lambda: times(gateway, LOAD, "tiny@v2") == 1)
    assert gateway.admin("adapters/1/retire", {}).status_code == 409  # it is served
    thread.join(30)
    gateway.until(lambda: times(gateway, UNLOAD, "tiny@v2") >= 1)
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v1"})
