"""A swap drops nothing, mixes nothing, and takes nothing away from a question that is still
running."""

from __future__ import annotations

from tests.integration.conftest import Start


def test_a_vote_that_runs_through_a_swap_ends_on_the_version_it_began_with(start: Start) -> None:
    gateway = start(engine={"max_num_seqs": 1})
    gateway.promote()
    gateway.ask()
    batch = gateway.lease()
    gateway.engine.held = lambda i: True
    asking = gateway.aside(gateway.evidence, "What is 1 + 1?", seed=100)
    # Six of its eight samples have not been sent yet.
    gateway.until(lambda: gateway.engine.running == 2)
    assert gateway.propose(batch)["state"] == "promoted"
    assert gateway.served == "tiny@v2"
    gateway.engine.held = lambda i: False
    assert asking.result()["adapter"] == "tiny@v1"
    models = [body["model"] for _, body in gateway.engine.seen if body.get("seed", 0) >= 100]
    assert models == ["tiny@v1"] * 8


def test_a_version_is_unloaded_only_when_its_last_question_has_ended(start: Start) -> None:
    gateway = start()
    gateway.promote()
    gateway.ask()
    batch = gateway.lease()
    gateway.engine.held = lambda i: True
    asking = gateway.aside(gateway.ask, "What is 1 + 1?", ttrl={"samples": 8})
    gateway.until(lambda: gateway.engine.running == 8)
    assert gateway.propose(batch)["state"] == "promoted"
    assert gateway.served == "tiny@v2"
    assert gateway.engine.loaded == {"tiny@v1", "tiny@v2"}
    gateway.engine.held = lambda i: False
    assert asking.result().status_code == 200
    gateway.until(lambda: gateway.engine.loaded == {"tiny@v2"})
