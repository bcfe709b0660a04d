"""From a group to a served adapter, with the trainer played by the test: leases, judgements,
crashes, the way back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.integration.conftest import Gateway
from tests.integration.fake_vllm import FakeVLLM
from tests.unit.registry import build
from ttrl_server.types import Batch


def engine(shift: float = 0.25) -> FakeVLLM:
    """Scores adapters as the builder's probe says they score."""
    return FakeVLLM(
        text=lambda i: "7" if i % 4 else "9",
        shift=lambda model: 0.0 if model == "tiny@base" else shift,
    )


def lease(gateway: Gateway) -> Batch:
    reply = gateway.admin("train/lease", {"worker": "test"})
    assert reply.status_code == 200, reply.text
    return msgspec.msgpack.decode(reply.content, type=Batch)


def publish(gateway: Gateway, number: int) -> str:
    served = gateway.status()["served"]["number"]
    return build.publish(gateway.config.adapters_root, number, parent=served).folder


def promote_one(gateway: Gateway) -> Batch:
    gateway.ask()
    batch = lease(gateway)
    folder = publish(gateway, batch.number)
    reply = gateway.admin("train/propose", {"batch": batch.id, "folder": folder})
    assert reply.json()["state"] == "promoted", reply.text
    return batch


def test_a_leased_batch_holds_the_engines_own_tokens_and_the_votes_rewards(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(engine())
    gateway.ask()
    batch = lease(gateway)
    (experience,) = batch.experiences
    assert (batch.number, batch.parent) == (1, None)
    assert [r.token_ids for r in experience.group.rollouts[:2]] == [(ord("9"),), (ord("7"),)]
    assert experience.rewards == (0.0, 1.0, 1.0, 1.0)
    assert gateway.status()["training"] is True


def test_the_reply_and_the_store_tell_the_same_of_a_group(start: Callable[..., Gateway]) -> None:
    """One long unsure sample among short sure ones: a mean of means says something else."""
    fake = FakeVLLM(text=lambda i: "The answer is 9." if i == 0 else "7")
    fake.nats = lambda i: 4.0 if i == 0 else 0.1
    gateway = start(fake, vote={"stop": "none"})
    said = gateway.ask().json()["ttrl"]
    assert said["entropy"] == pytest.approx((16 * 4.0 + 7 * 0.1) / 23)
    with sqlite3.connect(gateway.config.state_dir / "store.sqlite") as db:
        kept = db.execute("SELECT majority, entropy, length, extractable FROM signals").fetchone()
    told = (said["majority_ratio"], said["entropy"], said["sampled_tokens"] / said["drawn"], 1.0)
    assert kept == pytest.approx(told)


def test_a_promoted_adapter_answers_the_next_question(start: Callable[..., Gateway]) -> None:
    gateway = start(engine())
    promote_one(gateway)
    reply = gateway.ask()
    assert reply.headers["x-ttrl-adapter"] == reply.json()["ttrl"]["adapter"] == "tiny@v1"
    assert gateway.engine.seen[-1][1]["model"] == "tiny@v1"
    assert gateway.status()["served"] == {"number": 1, "name": "tiny@v1"}
    models = [model["id"] for model in gateway.http.get("/v1/models").json()["data"]]
    assert models == ["tiny", "tiny@base", "tiny@v1"]
    assert gateway.ask(model="tiny@base").json()["ttrl"]["adapter"] == "tiny@base"


def test_the_next_batch_starts_from_the_served_version_and_the_old_one_is_unloaded(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(engine())
    first = promote_one(gateway)
    second = promote_one(gateway)
    assert first.parent is None
    assert second.parent
    assert (second.parent.number, second.number) == (1, 2)
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v2"})


@pytest.mark.parametrize(
    ("shift", "reason"), [(0.0, "as if there were no adapter"), (9.0, "not the weights")]
)
def test_an_engine_that_does_not_serve_what_was_trained_gets_the_version_rejected(
    start: Callable[..., Gateway], shift: float, reason: str
) -> None:
    gateway = start(engine(shift))
    gateway.ask()
    batch = lease(gateway)
    reply = gateway.admin(
        "train/propose", {"batch": batch.id, "folder": publish(gateway, batch.number)}
    ).json()
    assert reply["state"] == "rejected"
    assert reason in reply["reason"]
    assert reply["parent"] is None
    assert gateway.status()["served"]["name"] == "tiny@base"
    assert gateway.engine.loaded == set()
    assert gateway.ask().status_code == 200


def test_a_batch_is_consumed_once_and_a_repeated_proposal_gets_the_same_verdict(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(engine())
    gateway.ask()
    batch = lease(gateway)
    proposal = {"batch": batch.id, "folder": publish(gateway, batch.number)}
    replies = [gateway.admin("train/propose", proposal) for _ in range(2)]
    assert [reply.json()["state"] for reply in replies] == ["promoted", "promoted"]
    assert gateway.admin("train/skip", {"batch": batch.id, "reason": "again"}).status_code == 409
    assert gateway.status()["groups"]["consumed"] == 1
    assert gateway.status()["promoted"] == 1


def test_a_skipped_batch_is_used_up_and_makes_no_version(start: Callable[..., Gateway]) -> None:
    gateway = start(engine())
    gateway.ask()
    batch = lease(gateway)
    assert gateway.admin("train/renew", {"batch": batch.id}).status_code == 204
    assert (
        gateway.admin("train/skip", {"batch": batch.id, "reason": "nothing to learn"}).status_code
        == 204
    )
    assert gateway.status()["groups"]["consumed"] == 1
    assert gateway.admin("train/renew", {"batch": batch.id}).status_code == 409


def test_what_is_proposed_must_be_a_version_folder(start: Callable[..., Gateway]) -> None:
    gateway = start(engine())
    gateway.ask()
    batch = lease(gateway)
    assert (
        gateway.admin("train/propose", {"batch": batch.id, "folder": "../../etc"}).status_code
        == 400
    )
    missing = gateway.admin(
        "train/propose", {"batch": batch.id, "folder": "v000001-00000000"}
    ).json()
    assert missing["state"] == "rejected"
    assert "preflight" in missing["reason"]


def test_a_restart_serves_the_version_last_promoted(start: Callable[..., Gateway]) -> None:
    first = start(engine())
    promote_one(first)
    first.stop()
    second = start(engine())
    assert second.engine.loaded == {"tiny@v1"}
    assert second.ask().json()["ttrl"]["adapter"] == "tiny@v1"
    assert promote_one(second).number == 2


def test_a_proposal_without_a_verdict_is_judged_after_a_restart(
    start: Callable[..., Gateway],
) -> None:
    first = start(engine())
    first.ask()
    batch = lease(first)
    folder = publish(first, batch.number)
    assert first.service.learning
    # And then it was killed.
    first.service.learning._store.consume(batch.id, folder=folder, reason="proposed")
    first.stop()
    second = start(engine())
    second.until(lambda: second.status()["served"]["name"] == "tiny@v1")
    assert second.status()["groups"]["consumed"] == 1


def test_a_version_nobody_proposed_and_a_half_written_one_are_swept(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(engine())
    root: Path = gateway.config.adapters_root
    promote_one(gateway)
    build.publish(root, 5)
    build.stage(root)
    assert gateway.service.learning
    gateway.service.learning._sweep([])
    assert [path.name[:7] for path in root.glob("v*")] == ["v000001"]
    assert not list(root.glob(".tmp-*"))


def test_rolling_back_takes_effect_at_once_and_survives_a_restart(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(engine())
    promote_one(gateway)
    promote_one(gateway)
    assert gateway.admin("adapters/rollback", {"to": 1}).json() == {"served": "tiny@v1"}
    assert gateway.ask().json()["ttrl"]["adapter"] == "tiny@v1"
    assert gateway.admin("adapters/rollback", {"to": 7}).status_code == 409
    gateway.stop()
    again = start(engine())
    assert again.ask().json()["ttrl"]["adapter"] == "tiny@v1"
    assert again.admin("adapters/rollback", {"to": 0}).json() == {"served": "tiny@base"}
    assert again.ask().json()["ttrl"]["adapter"] == "tiny@base"


def test_groups_that_are_too_old_are_dropped_not_trained_on(start: Callable[..., Gateway]) -> None:
    train = {"max_staleness": 0}
    gateway = start(engine(), train=train)
    promote_one(gateway)
    gateway.ask(model="tiny@base")
    gateway.ask()
    (experience,) = lease(gateway).experiences
    assert experience.group.version == 1
    assert gateway.status()["groups"]["dropped/stale"] == 1


def test_versions_of_another_base_model_are_neither_served_nor_swept(
    start: Callable[..., Gateway],
) -> None:
    first = start(engine())
    promote_one(first)
    first.stop()
    other = start(engine(), served_model_name="tiny", model="org/other")
    assert other.status()["served"]["name"] == "tiny@base"
    assert list(other.config.adapters_root.glob("v000001-*"))


def test_after_a_rollback_new_groups_are_fresh_and_learning_goes_on(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(engine(), train={"max_staleness": 0})
    promote_one(gateway)
    promote_one(gateway)
    gateway.admin("adapters/rollback", {"to": 0})
    assert promote_one(gateway).parent is None
    assert gateway.status()["served"]["name"] == "tiny@v3"


def test_a_late_verdict_never_goes_over_a_newer_version(start: Callable[..., Gateway]) -> None:
    first = start(engine())
    first.ask()
    batch = lease(first)
    folder = publish(first, batch.number)
    assert first.service.learning
    # No judgement: the disk was full.
    first.service.learning._store.consume(batch.id, folder=folder, reason="proposed")
    promote_one(first)
    first.stop()
    second = start(engine())
    second.until(lambda: second.service.promotions.ledger.judgement(batch.number) == "rejected")
    assert second.status()["served"]["name"] == "tiny@v2"


def test_a_rollback_asked_for_while_no_engine_is_up_does_not_keep_it_down(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(engine())
    promote_one(gateway)
    promote_one(gateway)
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v2"})
    (replica,) = gateway.service.fleet.replicas
    replica.ready = False  # lost; the supervisor finds it healthy again, with what it had loaded
    assert gateway.admin("adapters/rollback", {"to": 1}).json() == {"served": "tiny@v1"}
    assert gateway.ask().json()["ttrl"]["adapter"] == "tiny@v1"


def test_version_numbers_are_not_used_up_by_asking(start: Callable[..., Gateway]) -> None:
    gateway = start(engine())
    gateway.ask()
    batch = lease(gateway)
    gateway.ask("What is 5 + 4?")
    for _ in range(2):
        assert gateway.admin("train/lease", {"worker": "another"}).status_code == 204
    assert gateway.service.promotions.ledger.next_number() <= batch.number + 2


def test_a_gateway_that_restarts_adopts_what_an_attached_engine_still_holds(
    start: Callable[..., Gateway],
) -> None:
    fake = engine()
    first = start(fake)
    promote_one(first)
    first.stop()
    second = start(fake)
    assert second.ask().json()["ttrl"]["adapter"] == "tiny@v1"
    assert fake.paths().count("/v1/load_lora_adapter") == 1
