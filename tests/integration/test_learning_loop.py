"""From a group to a served adapter, with the trainer played by the test: leases, judgements,
crashes, the way back."""

from __future__ import annotations

import sqlite3

import pytest

from tests.integration.conftest import Gateway, Start
from tests.integration.fake_vllm import FakeVLLM
from tests.unit.registry import build
from ttrl_server.engine import supervisor
from ttrl_server.types import Batch


def asked_and_leased(gateway: Gateway) -> Batch:
    gateway.ask()
    return gateway.lease()


def consume_unjudged(gateway: Gateway, batch: Batch) -> None:
    """A version of the batch is proposed and gets no judgement: the gateway was killed, or the
    disk was full."""
    assert gateway.service.learning
    store = gateway.service.learning._store
    store.consume(batch.id, folder=gateway.publish(batch), reason="proposed")


def test_a_leased_batch_holds_the_engines_own_tokens_and_the_votes_rewards(start: Start) -> None:
    gateway = start()
    batch = asked_and_leased(gateway)
    (experience,) = batch.experiences
    assert (batch.number, batch.parent) == (1, None)
    assert [r.token_ids for r in experience.group.rollouts[:2]] == [(ord("9"),), (ord("7"),)]
    assert experience.rewards == (0.0, 1.0, 1.0, 1.0)
    assert gateway.status()["training"] is True


def test_the_reply_and_the_store_tell_the_same_of_a_group(start: Start) -> None:
    """One long unsure sample among short sure ones: a mean of means says something else."""
    fake = FakeVLLM(
        text=lambda i: "The answer is 9." if i == 0 else "7", nats=lambda i: 4.0 if i == 0 else 0.1
    )
    gateway = start(fake, vote={"stop": "none"})
    said = gateway.evidence()
    assert said["entropy"] == pytest.approx((16 * 4.0 + 7 * 0.1) / 23)
    with sqlite3.connect(gateway.config.state_dir / "store.sqlite") as db:
        kept = db.execute("SELECT majority, entropy, length, extractable FROM signals").fetchone()
    told = (said["majority_ratio"], said["entropy"], said["sampled_tokens"] / said["drawn"], 1.0)
    assert kept == pytest.approx(told)


def test_a_promoted_adapter_answers_the_next_question(start: Start) -> None:
    gateway = start()
    gateway.promote()
    reply = gateway.ask()
    assert reply.headers["x-ttrl-adapter"] == reply.json()["ttrl"]["adapter"] == "tiny@v1"
    assert gateway.engine.seen[-1][1]["model"] == "tiny@v1"
    assert gateway.status()["served"] == {"number": 1, "name": "tiny@v1"}
    models = [model["id"] for model in gateway.http.get("/v1/models").json()["data"]]
    assert models == ["tiny", "tiny@base", "tiny@v1"]
    assert gateway.evidence(model="tiny@base")["adapter"] == "tiny@base"


def test_the_next_batch_starts_from_the_served_version_and_the_old_one_is_unloaded(
    start: Start,
) -> None:
    gateway = start()
    first, second = gateway.promote(), gateway.promote()
    assert first.parent is None
    assert second.parent
    assert (second.parent.number, second.number) == (1, 2)
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v2"})


@pytest.mark.parametrize(
    ("shift", "reason"), [(0.0, "as if there were no adapter"), (9.0, "not the weights")]
)
def test_an_engine_that_does_not_serve_what_was_trained_gets_the_version_rejected(
    start: Start, shift: float, reason: str
) -> None:
    gateway = start(FakeVLLM(shift=shift))
    judgement = gateway.propose(asked_and_leased(gateway))
    assert (judgement["state"], judgement["parent"]) == ("rejected", None)
    assert reason in judgement["reason"]
    assert gateway.served == "tiny@base"
    assert gateway.engine.loaded == set()
    assert gateway.ask().status_code == 200


def test_a_batch_is_consumed_once_and_a_repeated_proposal_gets_the_same_verdict(
    start: Start,
) -> None:
    gateway = start()
    batch = asked_and_leased(gateway)
    folder = gateway.publish(batch)
    assert [gateway.propose(batch, folder)["state"] for _ in range(2)] == ["promoted", "promoted"]
    assert gateway.admin("train/skip", {"batch": batch.id, "reason": "again"}).status_code == 409
    assert gateway.status()["groups"]["consumed"] == 1
    assert gateway.status()["promoted"] == 1


def test_a_skipped_batch_is_used_up_and_makes_no_version(start: Start) -> None:
    gateway = start()
    batch = asked_and_leased(gateway)
    skip = {"batch": batch.id, "reason": "nothing to learn"}
    assert gateway.admin("train/renew", {"batch": batch.id}).status_code == 204
    assert gateway.admin("train/skip", skip).status_code == 204
    assert gateway.status()["groups"]["consumed"] == 1
    assert gateway.admin("train/renew", {"batch": batch.id}).status_code == 409


def test_what_is_proposed_must_be_there(start: Start) -> None:
    gateway = start()
    judgement = gateway.propose(asked_and_leased(gateway), "v000001-00000000")
    assert judgement["state"] == "rejected"
    assert "preflight" in judgement["reason"]


def test_a_restart_serves_the_version_last_promoted(start: Start) -> None:
    first = start()
    first.promote()
    first.stop()
    second = start()
    assert second.engine.loaded == {"tiny@v1"}
    assert second.evidence()["adapter"] == "tiny@v1"
    assert second.promote().number == 2


def test_a_proposal_without_a_verdict_is_judged_after_a_restart(start: Start) -> None:
    first = start()
    consume_unjudged(first, asked_and_leased(first))
    first.stop()
    second = start()
    second.until(lambda: second.served == "tiny@v1")
    assert second.status()["groups"]["consumed"] == 1


def test_a_version_nobody_proposed_and_a_half_written_one_are_swept(start: Start) -> None:
    gateway = start()
    root = gateway.config.adapters_root
    gateway.promote()
    build.publish(root, 5)
    build.stage(root)
    assert gateway.service.learning
    gateway.service.learning._sweep([])
    assert [path.name[:7] for path in root.glob("v*")] == ["v000001"]
    assert not list(root.glob(".tmp-*"))


def test_rolling_back_takes_effect_at_once_and_survives_a_restart(start: Start) -> None:
    gateway = start()
    gateway.promote()
    gateway.promote()
    assert gateway.admin("adapters/rollback", {"to": 1}).json() == {"served": "tiny@v1"}
    assert gateway.evidence()["adapter"] == "tiny@v1"
    assert gateway.admin("adapters/rollback", {"to": 7}).status_code == 409
    gateway.stop()
    again = start()
    assert again.evidence()["adapter"] == "tiny@v1"
    assert again.admin("adapters/rollback", {"to": 0}).json() == {"served": "tiny@base"}
    assert again.evidence()["adapter"] == "tiny@base"


def test_groups_that_are_too_old_are_dropped_not_trained_on(start: Start) -> None:
    gateway = start(train={"max_staleness": 0})
    gateway.promote()
    gateway.ask(model="tiny@base")
    (experience,) = asked_and_leased(gateway).experiences
    assert experience.group.version == 1
    assert gateway.status()["groups"]["dropped/stale"] == 1


def test_versions_of_another_base_model_are_neither_served_nor_swept(start: Start) -> None:
    first = start()
    first.promote()
    first.stop()
    other = start(served_model_name="tiny", model="org/other")
    assert other.served == "tiny@base"
    assert list(other.config.adapters_root.glob("v000001-*"))


def test_after_a_rollback_new_groups_are_fresh_and_learning_goes_on(start: Start) -> None:
    gateway = start(train={"max_staleness": 0})
    gateway.promote()
    gateway.promote()
    gateway.admin("adapters/rollback", {"to": 0})
    assert gateway.promote().parent is None
    assert gateway.served == "tiny@v3"


def test_a_late_verdict_never_goes_over_a_newer_version(start: Start) -> None:
    first = start()
    batch = asked_and_leased(first)
    consume_unjudged(first, batch)
    first.promote()
    first.stop()
    second = start()
    second.until(lambda: second.service.promotions.ledger.judgement(batch.number) == "rejected")
    assert second.served == "tiny@v2"


def test_a_rollback_asked_for_while_no_engine_is_up_does_not_keep_it_down(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "ATTACHED_POLL_S", 0.2)
    gateway = start()
    gateway.promote()
    gateway.promote()
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v2"})
    (replica,) = gateway.service.fleet.replicas
    replica.ready = False  # lost; the supervisor finds it healthy again, with what it had loaded
    assert gateway.admin("adapters/rollback", {"to": 1}).json() == {"served": "tiny@v1"}
    assert gateway.evidence()["adapter"] == "tiny@v1"


@pytest.mark.usefixtures("impatient")
def test_version_numbers_are_not_used_up_by_asking(start: Start) -> None:
    gateway = start()
    batch = asked_and_leased(gateway)
    gateway.ask("What is 5 + 4?")
    for _ in range(2):
        assert gateway.waiting() is None
    assert gateway.service.promotions.ledger.next_number() <= batch.number + 2


def test_a_gateway_that_restarts_adopts_what_an_attached_engine_still_holds(start: Start) -> None:
    fake = FakeVLLM()
    first = start(fake)
    first.promote()
    first.stop()
    second = start(fake)
    assert second.evidence()["adapter"] == "tiny@v1"
    assert fake.paths().count("/v1/load_lora_adapter") == 1


@pytest.mark.usefixtures("impatient")
def test_a_rest_too_small_for_a_step_waits_for_more_and_the_status_says_so(start: Start) -> None:
    gateway = start(train={"questions": 4, "least": 2})
    assert gateway.status()["rest"] is True
    gateway.ask("What is 3 + 4?")
    assert (gateway.status()["pending"], gateway.status()["rest"]) == (1, True)
    assert gateway.waiting() is None
    gateway.ask("And what is 3 + 4?")
    assert gateway.status()["rest"] is False
    assert len(gateway.lease().experiences) == 2
