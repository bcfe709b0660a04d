"""One question's whole way on real parts, and what is left of it when each part is killed. The
tests run in order."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import httpx
import openai
import psutil
import pytest
from ttrl_client.cli import main as replay

from benchmarks.data import DATA
from tests.e2e.conftest import ADMIN, Server

QUESTION = "What is 3 * 4? Answer with just the number."
pytestmark = pytest.mark.timeout(600)


def test_a_question_is_answered_by_vote_and_queued(server: Server) -> None:
    completion = server.ask(QUESTION)
    evidence = completion.ttrl
    assert completion.choices[0].message.content
    assert (evidence["votes"], evidence["adapter"]) == (8, "smollm2-135m@base")
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
    manifest = next((server.folder / "adapters").glob(f"v{served['number']:06d}-*"))
    assert {"adapter_config.json", "adapter_model.safetensors", "manifest.json"} <= {
        p.name for p in manifest.iterdir()
    }


def test_a_client_that_leaves_a_vote_of_64_leaves_nothing_running_and_nothing_to_train_on(
    server: Server,
) -> None:
    server.settle()
    body = {
        "model": "smollm2-135m",
        "messages": [{"role": "user", "content": "Count from one to five hundred."}],
        "max_tokens": 900,
        "ttrl": {"samples": 64},
    }
    with contextlib.suppress(httpx.ReadTimeout):
        server.http.post("/v1/chat/completions", json=body, timeout=httpx.Timeout(5, read=4))
    left = time.monotonic()
    server.until(lambda: server.engine_gauge("vllm:num_requests_running") == 0, 30)
    assert server.engine_gauge("vllm:num_requests_waiting") == 0
    print(f"the engine was idle {time.monotonic() - left:.2f} s after the client left")
    server.until(lambda: server.status()["groups"].get("kept/cancelled") == 1, 60)


def test_the_base_model_still_answers_beside_the_adapter(server: Server) -> None:
    served = server.status()["served"]["name"]
    alone = server.greedy(QUESTION, "smollm2-135m@base")
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        beside = [pool.submit(server.greedy, f"What is {i} * 7?", served) for i in range(8)]
        assert pool.submit(server.greedy, QUESTION, "smollm2-135m@base").result() == alone
        assert all(future.result() for future in beside)


@pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no benchmark questions in {DATA}; set TTRL_TEST_DATA"
)
def test_the_papers_benchmarks_are_replayed_to_the_end(server: Server, tmp_path: Path) -> None:
    """A handful of each; the base model, so that nothing depends on what was learned before."""
    files = [tmp_path / name for name in ("aime24.jsonl", "amc.jsonl", "math_l1_l4.jsonl")]
    for path in files:
        path.write_text(
            "".join((DATA / path.name).read_text(encoding="utf-8").splitlines(keepends=True)[:2])
        )
    server.settle()
    stored = server.status()["groups"]
    flags = [
        "--base-url",
        f"http://127.0.0.1:{server.port}/v1",
        "--model",
        "smollm2-135m@base",
        "--mode",
        "frozen",
    ]
    flags += [
        "--eval",
        str(files[1]),
        "--eval",
        str(files[2]),
        "--eval-samples",
        "2",
        "--max-tokens",
        "48",
    ]
    assert replay([str(files[0]), *flags, "--top-p", "1", "--out", str(tmp_path / "run")]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    for name in ("trained", "amc", "math_l1_l4"):
        for moment in ("before", "after"):
            assert (report[name][moment]["answered"], report[name][moment]["failed"]) == (2, 0)
            assert 0 <= report[name][moment]["avg@2"] <= report[name][moment]["pass@2"] <= 1
    assert report["math_l1_l4"]["after"]["groups"].keys() == {"1"}
    assert report["history"][0]["answered"] == 2
    assert report["versions_promoted"] == 0
    assert server.status()["groups"] == stored


def test_log_probabilities_of_a_prompt_do_not_end_an_engine_with_adapters(server: Server) -> None:
    body = {
        "model": "smollm2-135m",
        "messages": [{"role": "user", "content": QUESTION}],
        "n": 2,
        "prompt_logprobs": 0,
    }
    assert server.http.post("/v1/chat/completions", json=body).status_code == 200
    assert server.ready()


def test_a_seed_does_not_end_an_engine_that_prefills_in_pieces(server: Server) -> None:
    """64 long prompts are more than one step takes, so that some are prefilled in pieces; stock
    vLLM ends there."""
    words = " ".join(f"word{i}" for i in range(60))
    votes = server.ask(
        f"{words} What is 2 * 2?",
        seed=7,
        max_tokens=4,
        extra_body={"ttrl": {"samples": 64, "stop": "none"}},
    )
    assert votes.ttrl["votes"] == 64
    assert server.ready()


@pytest.mark.slow  # test_kills does the same, twenty ways, before a hand-written engine
def test_killing_the_trainer_costs_no_answer_and_no_group(server: Server) -> None:
    server.until(lambda: any("training.worker" in " ".join(p.cmdline()) for p in server.children()))
    before = server.status()["groups"]["consumed"]
    while not server.status()["training"]:
        for a in range(4):
            server.ask(
                f"What is {a + 2} * {int(time.time()) % 7 + 2}? Answer with just the number."
            )
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
    victims = [
        p
        for p in server.children()
        if "api_server.entry" in " ".join(p.cmdline()) or "VLLM" in p.name()
    ]
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
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive
    server.start()
    after = server.status()
    assert sum(v for k, v in after["groups"].items() if "/" not in k) == groups
    assert after["served"]["number"] >= served["number"]
    assert [server.greedy(question, served["name"]) for question in questions] == before


def test_one_request_rolls_back_to_the_base_model(server: Server) -> None:
    reply = server.http.post(
        "/ttrl/v1/adapters/rollback", json={"to": 0}, headers={"authorization": f"Bearer {ADMIN}"}
    )
    assert reply.json() == {"served": "smollm2-135m@base"}
    assert server.ask(QUESTION).ttrl["adapter"] == "smollm2-135m@base"


def test_a_stop_is_clean_and_quick(server: Server) -> None:
    family = server.children()
    assert server.stop() in (0, -signal.SIGTERM)
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
