"""A swap drops nothing, mixes nothing, and takes nothing away from a question that is still
running."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tests.integration.conftest import Gateway
from tests.integration.test_learning_loop import engine, lease, promote_one, publish
from ttrl_server.types import Batch


def waiting_batch(gateway: Gateway) -> Batch:
    """A group that the next step learns from, leased."""
    gateway.ask("What is 3 + 3?")
    return lease(gateway)


def propose(gateway: Gateway, batch: Batch) -> None:
    reply = gateway.admin(
        "train/propose", {"batch": batch.id, "folder": publish(gateway, batch.number)}
    )
    assert reply.json()["state"] == "promoted"


def ask_aside(
    gateway: Gateway, question: str, **more: Any
) -> tuple[threading.Thread, list[dict[str, Any]]]:
    replies: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: replies.append(gateway.ask(question, **more).json()))
    asking.start()
    return asking, replies


def test_a_vote_that_runs_through_a_swap_ends_on_the_version_it_began_with(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(engine(), engine={"max_num_seqs": 1})
    promote_one(gateway)
    batch = waiting_batch(gateway)
    gateway.engine.delay_s = 0.4
    asking, replies = ask_aside(gateway, "What is 1 + 1?", seed=100)
    # Six of its eight samples have not been sent yet.
    gateway.until(lambda: gateway.engine.running == 2)
    propose(gateway, batch)
    assert gateway.status()["served"]["name"] == "tiny@v2"
    asking.join(20)
    assert replies[0]["ttrl"]["adapter"] == "tiny@v1"
    models = [body["model"] for _, body in gateway.engine.seen if body.get("seed", 0) >= 100]
    assert models == ["tiny@v1"] * 8


def test_a_version_is_unloaded_only_when_its_last_question_has_ended(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(engine())
    promote_one(gateway)
    batch = waiting_batch(gateway)
    gateway.engine.delay_s = 2.0
    asking, _ = ask_aside(gateway, "What is 1 + 1?", ttrl={"samples": 8})
    gateway.until(lambda: gateway.engine.running == 8)
    propose(gateway, batch)
    assert gateway.status()["served"]["name"] == "tiny@v2"
    assert gateway.engine.loaded == {"tiny@v1", "tiny@v2"}
    asking.join(20)
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v2"})
