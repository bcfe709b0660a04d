"""Versions of all kinds handed to a real engine by a test that plays the trainer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.perturbed import Maker
from tests.e2e.conftest import MODEL, Server, plain_vllm
from ttrl_server.registry import export
from ttrl_server.types import Batch, Probe

ALONE: dict[str, Any] = {
    "--train.launch": "elsewhere",
    "--train.questions": 1,
    "--train.max-wait-s": 0,
    "--vote.stop": "none",
    "--guard.refusals": 0,
    "--gate.sentinels": True,
    "--gate.canary-samples": 2,  # nonsense shows in two samples of two dozen questions too
}
"""A server that waits for a trainer from elsewhere."""
QUESTION = "Name three colours of the rainbow."


@pytest.fixture(scope="module")
def maker() -> Maker:
    torch.set_num_threads(1)
    return Maker(MODEL)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    serving = Server(tmp_path_factory.mktemp("alone"), ALONE)
    serving.start()
    yield serving
    if serving.process.poll() is None:
        serving.stop()


def lease(server: Server) -> Batch:
    """A batch from a new question; its number is the next version's."""
    for n in range(40):
        server.ask(f"What is {n + 2} * 7? Answer with just the number.", temperature=1.0)
        reply = server.admin("POST", "train/lease", {"worker": "test"})
        if reply.status_code == 200:
            return msgspec.msgpack.decode(reply.content, type=Batch)
    raise AssertionError("no group was fit to train on")


def propose(
    server: Server, maker: Maker, seed: int, size: float, probe: Probe | None = None
) -> tuple[int, str, str]:
    """Number, state and reason of a version with random weights."""
    batch = lease(server)
    root = server.folder / "adapters"
    staged = maker.stage(root, batch.number, maker.weights(seed, size), probe=probe)
    parent = batch.parent.number if batch.parent else 0
    folder = maker.publish(root, staged, batch.number, parent=parent).folder
    judgement = server.admin("POST", "train/propose", {"batch": batch.id, "folder": folder}).json()
    return batch.number, judgement["state"], judgement["reason"]


def test_weights_of_another_version_under_this_name_are_found_out(
    alone: Server, maker: Maker
) -> None:
    other = maker.probe(maker.weights(1, 0.002))
    _, state, reason = propose(alone, maker, seed=2, size=0.002, probe=other)
    assert (state, reason.partition(":")[0]) == ("rejected", "probe")
    assert "not the weights that were trained" in reason


def test_an_adapter_that_changes_nothing_is_found_out(alone: Server, maker: Maker) -> None:
    _, state, reason = propose(alone, maker, seed=3, size=1e-14)
    assert (state, reason.partition(":")[0]) == ("rejected", "probe")
    assert "changes nothing" in reason or "as if there were no adapter" in reason


@pytest.mark.slow
def test_an_adapter_that_talks_nonsense_is_found_out(alone: Server, maker: Maker) -> None:
    _, state, reason = propose(alone, maker, seed=4, size=0.3)
    assert (state, reason.partition(":")[0]) == ("rejected", "canary")
    assert "sentinel" in reason
    assert alone.status()["served"]["number"] == 0
    assert alone.ask(QUESTION).choices


def test_a_version_that_was_swapped_in_says_what_plain_peft_says(
    alone: Server, maker: Maker, tmp_path: Path
) -> None:
    number, state, reason = propose(alone, maker, seed=5, size=0.002)
    assert state == "promoted", reason
    assert alone.greedy(QUESTION, f"smollm2-135m@v{number}") == with_peft(
        exported(alone, number, tmp_path)
    )


@pytest.mark.slow
def test_a_rollback_takes_effect_survives_a_restart_and_is_learned_from(
    alone: Server, maker: Maker
) -> None:
    first = alone.status()["served"]["number"]
    second, state, reason = propose(alone, maker, seed=6, size=0.001)
    assert state == "promoted", reason
    said = alone.greedy(QUESTION, "smollm2-135m")
    assert alone.admin("POST", "adapters/rollback", {}).json() == {
        "served": f"smollm2-135m@v{first}"
    }
    alone.stop()
    alone.start()
    assert alone.status()["served"]["number"] == first
    batch = lease(alone)
    assert batch.parent is not None
    assert batch.parent.number == first
    # And forth again: word for word what it said before it was left.
    assert alone.admin("POST", f"adapters/{second}/promote", {}).json()["served"] is True
    assert alone.greedy(QUESTION, "smollm2-135m") == said


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_plain_vllm_says_what_it_says_here(alone: Server, maker: Maker, tmp_path: Path) -> None:
    number = alone.status()["served"]["number"]
    said = alone.greedy(QUESTION, "smollm2-135m")
    folder = exported(alone, number, tmp_path)
    alone.stop()
    ours = ("--enable-lora", "--max-lora-rank", "16", "--lora-modules", f"mine={folder}")
    body = {
        "model": "mine",
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_tokens": 24,
    }
    with plain_vllm(tmp_path / "vllm.log", *ours) as url:
        reply = (
            httpx.post(f"{url}/v1/chat/completions", json=body, timeout=120)
            .raise_for_status()
            .json()
        )
    assert reply["choices"][0]["message"]["content"] == said


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_of_two_engines_is_killed_in_the_middle_of_a_swap(maker: Maker, tmp_path: Path) -> None:
    server = Server(tmp_path, ALONE | {"--engine.replicas": 2, "--gate.sentinels": False})
    server.start()
    try:
        server.until(lambda: server.log().count("engine.ready") == 2, 300)
        _, state, reason = propose(server, maker, seed=7, size=0.002)
        assert state == "promoted", reason
        batch = lease(server)
        staged = maker.stage(tmp_path / "adapters", batch.number, maker.weights(8, 0.002))
        folder = maker.publish(tmp_path / "adapters", staged, batch.number, parent=1).folder
        server.child("engine1.sock").kill()
        judgement = server.admin(
            "POST", "train/propose", {"batch": batch.id, "folder": folder}
        ).json()
        assert judgement["state"] == "promoted", judgement
        for n in range(6):  # nothing is lost beyond what ran on the dead one
            assert server.ask(f"What is {n} + 2?").choices
        server.until(lambda: server.log().count("engine.ready") == 3, 300)
        served = f"smollm2-135m@v{batch.number}"
        said = {server.greedy(QUESTION, served) for _ in range(4)}
        assert len(said) == 1  # the one that came back serves the same weights
    finally:
        server.stop()


# ---------------------------------------------------------------- without us


def exported(server: Server, number: int, to: Path) -> Path:
    root = server.folder / "adapters"
    folder = next(root.glob(f"v{number:06d}-*")).name
    return export.adapter(root, folder, to / "exported", base_model=str(MODEL))


def with_peft(folder: Path) -> str:
    """The greedy answer of plain transformers and PEFT."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32), folder
    ).eval()
    messages = [{"role": "user", "content": QUESTION}]
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        out = model.generate(**prompt, max_new_tokens=24, do_sample=False)
    text: str = tokenizer.decode(out[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    return text
