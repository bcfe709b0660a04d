"""One question's whole way on real parts, what is left of it when each part is killed, and versions
of all kinds handed to the engine by a test that plays the trainer.

The tests run in order, with one server: each start of the engine takes most of a minute."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import psutil
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from ttrl_client.cli import main as replay

from benchmarks.data import DATA
from benchmarks.perturbed import Maker
from tests.e2e.conftest import MODEL, NAME, Server, plain_vllm, serving
from ttrl_server.registry import export
from ttrl_server.types import Batch, Probe

QUESTION = "What is 3 * 4? Answer with just the number."
RAINBOW = "Name three colours of the rainbow."
ALONE: dict[str, Any] = {
    "--train.launch": "elsewhere",
    "--train.questions": 1,
    "--train.max-wait-s": 0,
    "--vote.stop": "none",
    "--guard.refusals": 0,
    "--gate.sentinels": True,
    "--gate.canary-samples": 2,  # nonsense shows in a few samples of a dozen questions too
    "--gate.blind": "promote",
}
"""Waits for a trainer from elsewhere. So the server comes back after its gateway was killed."""
pytestmark = pytest.mark.timeout(600)


def test_a_question_is_answered_by_vote_and_queued(server: Server) -> None:
    completion = server.ask(QUESTION)
    evidence = completion.ttrl
    assert completion.choices[0].message.content
    assert (evidence["votes"], evidence["adapter"]) == (8, f"{NAME}@base")
    assert sum(evidence["counts"].values()) <= 8
    assert evidence["train"] in ("queued", "unanimous", "no_answer")


def test_a_prompt_longer_than_the_models_context_is_refused_with_its_length(server: Server) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        server.ask("word " * 3000)
    assert refused.value.code == "context_length_exceeded"
    assert "1024" in str(refused.value)


def test_a_batch_is_trained_and_the_new_version_answers(server: Server) -> None:
    server.learn(0)
    served = server.status()["served"]
    assert served["number"] >= 1
    assert server.ask(QUESTION).ttrl["adapter"] == served["name"]
    folder = next((server.folder / "adapters").glob(f"v{served['number']:06d}-*"))
    for name in ("adapter_config.json", "adapter_model.safetensors", "manifest.json"):
        assert (folder / name).is_file()


def test_a_client_that_leaves_a_vote_of_64_leaves_nothing_running_and_nothing_to_train_on(
    server: Server,
) -> None:
    server.settle()
    messages = [{"role": "user", "content": "Count from one to five hundred."}]
    body = {"model": NAME, "messages": messages, "max_tokens": 900, "ttrl": {"samples": 64}}
    with contextlib.suppress(httpx.ReadTimeout):
        server.http.post("/v1/chat/completions", json=body, timeout=httpx.Timeout(5, read=4))
    left = time.monotonic()
    server.until(lambda: server.engine_gauge("vllm:num_requests_running") == 0, 30)
    assert server.engine_gauge("vllm:num_requests_waiting") == 0
    print(f"the engine was idle {time.monotonic() - left:.2f} s after the client left")
    server.until(lambda: server.status()["groups"].get("kept/cancelled") == 1, 60)


def test_the_base_model_still_answers_beside_the_adapter(server: Server) -> None:
    served = server.status()["served"]["name"]
    alone = server.greedy(QUESTION, f"{NAME}@base")
    with ThreadPoolExecutor(9) as pool:
        beside = [pool.submit(server.greedy, f"What is {i} * 7?", served) for i in range(8)]
        assert pool.submit(server.greedy, QUESTION, f"{NAME}@base").result() == alone
        assert all(future.result() for future in beside)


@pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no benchmark questions in {DATA}; set TTRL_TEST_DATA"
)
def test_the_papers_benchmarks_are_replayed_to_the_end(server: Server, tmp_path: Path) -> None:
    """One of each; the base model, so that nothing depends on what was learned before."""
    files = [tmp_path / name for name in ("aime24.jsonl", "amc.jsonl", "math_l1_l4.jsonl")]
    for path in files:
        path.write_text((DATA / path.name).read_text(encoding="utf-8").splitlines()[0])
    server.settle()
    stored = server.status()["groups"]
    flags = ["--base-url", f"http://127.0.0.1:{server.port}/v1", "--model", f"{NAME}@base"]
    flags += ["--mode", "frozen", "--eval", str(files[1]), "--eval", str(files[2])]
    flags += ["--eval-samples", "2", "--max-tokens", "48", "--top-p", "1"]
    assert replay([str(files[0]), *flags, "--out", str(tmp_path / "run")]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    for name in ("trained", "amc", "math_l1_l4"):
        for moment in ("before", "after"):
            assert (report[name][moment]["answered"], report[name][moment]["failed"]) == (1, 0)
            assert 0 <= report[name][moment]["avg@2"] <= report[name][moment]["pass@2"] <= 1
    assert report["math_l1_l4"]["after"]["groups"].keys() == {"1"}
    assert report["history"][0]["answered"] == 1
    assert report["versions_promoted"] == 0
    assert server.status()["groups"] == stored


def test_log_probabilities_of_a_prompt_do_not_end_an_engine_with_adapters(server: Server) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    body = {"model": NAME, "messages": messages, "n": 2, "prompt_logprobs": 0}
    assert server.http.post("/v1/chat/completions", json=body).status_code == 200
    assert server.ready()


def test_a_seed_does_not_end_an_engine_that_prefills_in_pieces(server: Server) -> None:
    """64 long prompts are more than one step takes, so that some are prefilled in pieces; stock
    vLLM ends there."""
    words = " ".join(f"word{i}" for i in range(60))
    every = {"ttrl": {"samples": 64, "stop": "none"}}
    votes = server.ask(f"{words} What is 2 * 2?", seed=7, max_tokens=4, extra_body=every)
    assert votes.ttrl["votes"] == 64
    assert server.ready()


@pytest.mark.slow  # test_kills does the same, twenty ways, before a hand-written engine
def test_killing_the_trainer_costs_no_answer_and_no_group(server: Server) -> None:
    server.until(lambda: any("training.worker" in " ".join(p.cmdline()) for p in server.children()))
    before = server.status()["groups"]["consumed"]
    while not server.status()["training"]:
        for a in range(4):
            b = int(time.time()) % 7 + 2
            server.ask(f"What is {a + 2} * {b}? Answer with just the number.")
        with contextlib.suppress(AssertionError):
            server.until(lambda: server.status()["training"], 5)
    leased = server.status()["groups"]["leased"]
    server.child("training.worker").kill()
    assert server.ask(QUESTION).choices[0].message.content
    server.until(lambda: server.status()["groups"]["consumed"] >= before + leased, 180)
    assert server.status()["groups"].get("dropped/attempts", 0) == 0


@pytest.mark.slow
def test_killing_the_engine_brings_it_back_with_the_served_version(server: Server) -> None:
    server.settle()
    served = server.status()["served"]["name"]
    before = server.greedy(QUESTION, served)
    family = [(p, " ".join([p.name(), *p.cmdline()])) for p in server.children()]
    victims = [p for p, name in family if "api_server.entry" in name or "VLLM" in name]
    server.child("api_server.entry").kill()
    server.until(lambda: server.http.get("/ready").status_code == 503, 30)
    with pytest.raises(openai.InternalServerError) as refused:
        server.ask(QUESTION)
    assert refused.value.response.headers["retry-after"]
    server.until(server.ready, 180)
    assert server.greedy(QUESTION, served) == before
    assert not [p for p in victims if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_killing_the_gateway_leaves_no_orphan_loses_nothing_and_the_same_is_said_after(
    server: Server,
) -> None:
    server.settle()
    served = server.status()["served"]
    assert served["number"] >= 1
    questions = [f"What is {a} * 7? Answer with just the number." for a in range(2, 6)]
    before = [server.greedy(question, served["name"]) for question in questions]
    server.ask("What is 9 * 6? Answer with just the number.")
    groups = sum(v for k, v in server.status()["groups"].items() if "/" not in k)
    family = server.children()
    assert len(family) >= 4
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    server.flags = ALONE
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive
    server.start()
    after = server.status()
    assert sum(v for k, v in after["groups"].items() if "/" not in k) == groups
    assert after["served"]["number"] >= served["number"]
    assert [server.greedy(question, served["name"]) for question in questions] == before


def test_one_request_rolls_back_to_the_base_model(server: Server) -> None:
    reply = server.admin("POST", "adapters/rollback", {"to": 0})
    assert reply.json() == {"served": f"{NAME}@base"}
    assert server.ask(QUESTION).ttrl["adapter"] == f"{NAME}@base"


# ---------------------------------------------------------------- a test plays the trainer


@pytest.fixture(scope="module")
def maker() -> Maker:
    torch.set_num_threads(1)
    return Maker(MODEL)


@pytest.fixture(scope="module")
def alone(server: Server) -> Server:
    if server.flags != ALONE:  # the test that kills the gateway did not run
        server.stop()
        server.flags = ALONE
        server.start()
    return server


def lease(server: Server) -> Batch:
    """A batch from a new question; its number is the next version's."""
    for n in range(40):
        server.ask(f"What is {n + 2} * 7? Answer with just the number.", temperature=1.0)
        reply = server.admin("POST", "train/lease", {"worker": "test"})
        if reply.status_code == 200:
            return msgspec.msgpack.decode(reply.content, type=Batch)
    raise AssertionError("no group was fit to train on")


def publish(
    server: Server, maker: Maker, seed: int, size: float, probe: Probe | None = None
) -> tuple[int, dict[str, str]]:
    """The number of a version with random weights, and what proposes it."""
    batch, root = lease(server), server.folder / "adapters"
    staged = maker.stage(root, batch.number, maker.weights(seed, size), probe=probe)
    parent = batch.parent.number if batch.parent else 0
    folder = maker.publish(root, staged, batch.number, parent=parent).folder
    return batch.number, {"batch": batch.id, "folder": folder}


def propose(server: Server, *version: Any, **more: Any) -> tuple[int, str, str]:
    """Number, state and reason of a version with random weights."""
    number, proposal = publish(server, *version, **more)
    judgement = server.admin("POST", "train/propose", proposal).json()
    return number, judgement["state"], judgement["reason"]


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
    served = alone.status()["served"]
    _, state, reason = propose(alone, maker, seed=4, size=0.3)
    assert (state, reason.partition(":")[0]) == ("rejected", "canary")
    assert "sentinel" in reason
    assert alone.status()["served"] == served
    assert alone.ask(RAINBOW).choices


def test_a_version_that_was_swapped_in_says_what_plain_peft_says(
    alone: Server, maker: Maker, tmp_path: Path
) -> None:
    number, state, reason = propose(alone, maker, seed=5, size=0.002)
    assert state == "promoted", reason
    said = alone.greedy(RAINBOW, f"{NAME}@v{number}")
    assert said == with_peft(exported(alone, number, tmp_path))


@pytest.mark.slow
def test_a_rollback_takes_effect_survives_a_restart_and_is_learned_from(
    alone: Server, maker: Maker
) -> None:
    first = alone.status()["served"]["number"]
    second, state, reason = propose(alone, maker, seed=6, size=0.001)
    assert state == "promoted", reason
    said = alone.greedy(RAINBOW, NAME)
    reply = alone.admin("POST", "adapters/rollback", {})
    assert reply.json() == {"served": f"{NAME}@v{first}"}
    alone.stop()
    alone.start()
    assert alone.status()["served"]["number"] == first
    parent = lease(alone).parent
    assert parent is not None
    assert parent.number == first
    # And forth again: word for word what it said before it was left.
    assert alone.admin("POST", f"adapters/{second}/promote", {}).json()["served"] is True
    assert alone.greedy(RAINBOW, NAME) == said


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_plain_vllm_says_what_it_says_here(alone: Server, maker: Maker, tmp_path: Path) -> None:
    number = alone.status()["served"]["number"]
    said = alone.greedy(RAINBOW, NAME)
    folder = exported(alone, number, tmp_path)
    ours = ("--enable-lora", "--max-lora-rank", "16", "--lora-modules", f"mine={folder}")
    messages = [{"role": "user", "content": RAINBOW}]
    body = {"model": "mine", "messages": messages, "temperature": 0, "max_tokens": 24}
    with plain_vllm(tmp_path / "vllm.log", *ours) as url:
        reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=120).json()
    assert reply["choices"][0]["message"]["content"] == said


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_of_two_engines_is_killed_in_the_middle_of_a_swap(maker: Maker, tmp_path: Path) -> None:
    flags = ALONE | {"--engine.replicas": 2, "--gate.sentinels": False}
    with serving(tmp_path, flags) as server:
        server.until(lambda: server.log().count("engine.ready") == 2, 300)
        _, state, reason = propose(server, maker, seed=7, size=0.002)
        assert state == "promoted", reason
        number, proposal = publish(server, maker, seed=8, size=0.002)
        server.child("engine1.sock").kill()
        judgement = server.admin("POST", "train/propose", proposal).json()
        assert judgement["state"] == "promoted", judgement
        for n in range(6):  # nothing is lost beyond what ran on the dead one
            assert server.ask(f"What is {n} + 2?").choices
        server.until(lambda: server.log().count("engine.ready") == 3, 300)
        said = {server.greedy(RAINBOW, f"{NAME}@v{number}") for _ in range(4)}
        assert len(said) == 1  # the one that came back serves the same weights


def test_a_stop_is_clean_and_quick(server: Server) -> None:
    family = server.children()
    assert server.stop() in (0, -signal.SIGTERM)
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


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
    messages = [{"role": "user", "content": RAINBOW}]
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        out = model.generate(**prompt, max_new_tokens=24, do_sample=False)
    text: str = tokenizer.decode(out[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    return text
