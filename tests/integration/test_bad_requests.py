"""Whatever a client gets wrong: the right status, OpenAI's envelope, the offending name, and an
undisturbed engine."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.conftest import Gateway, Start, asking, problem
from tests.integration.fake_vllm import FakeVLLM, Rendering


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{not json", 400, None),
        (b"[1, 2]", 400, None),
        (b'"text"', 400, None),
        (b"\xff\xfe", 400, None),
        (b"[" * 100_000, 400, None),
        (b'{"model": "tiny"}', 400, "messages"),
        ({"messages": []}, 400, "messages"),
        ({"messages": ["hello"]}, 400, "messages"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, None),
        (b'{"messages": [{"role": "user", "content": "\xed\xa0\x80"}]}', 400, None),
        ({"model": "gpt-9"}, 404, "model"),
        ({"model": "tiny@v99"}, 404, "model"),
        ({"model": "tiny@../../etc"}, 404, "model"),
        ({"model": 7}, 400, "model"),
        ({"ttrl": {"samples": 1_000_000_000}}, 400, "ttrl.samples"),
        ({"ttrl": {"samples": 0}}, 400, "ttrl.samples"),
        ({"ttrl": {"samples": True}}, 400, "ttrl.samples"),
        ({"ttrl": {"samples": 4, "votes": 3}}, 400, "ttrl.samples"),  # its old name
        ({"ttrl": {"samples": 4}, "n": 5}, 400, "ttrl.samples"),
        ({"ttrl": {"samples": 4}, "beam": 2}, 400, "beam"),
        ({"ttrl": {"vote": 4}}, 400, "ttrl.vote"),
        ({"ttrl": []}, 400, "ttrl"),
        ({"ttrl": {"train": "yes"}}, 400, "ttrl.train"),
        ({"ttrl": {"adapter": "v1/../x"}}, 404, "ttrl.adapter"),
        ({"ttrl": {"stop": "soon"}}, 400, "ttrl.stop"),
        ({"ttrl": {"level": 1}}, 400, "ttrl.level"),
        ({"ttrl": {"level": 0.2}}, 400, "ttrl.level"),
        ({"ttrl": {"level": "high"}}, 400, "ttrl.level"),
        ({"max_tokens": -5}, 400, "max_tokens"),
        ({"max_tokens": 1.5}, 400, "max_tokens"),
        ({"max_completion_tokens": 0}, 400, "max_completion_tokens"),
        ({"temperature": "hot"}, 400, "temperature"),
        ({"temperature": 3}, 400, "temperature"),
        ({"temperature": 10**400}, 400, "temperature"),
        ({"temperature": math.nan}, 400, "temperature"),
        ({"n": 2, "min_p": math.nan}, 400, "min_p"),
        ({"min_p": math.nan}, 400, "min_p"),  # voted on
        (b'{"messages": [{"role": "user", "content": "7"}], "min_p": 1e999}', 400, "min_p"),
        ({"logit_bias": {"7": -math.inf}}, 400, "logit_bias"),
        ({"top_p": 0}, 400, "top_p"),
        ({"n": 1000}, 400, "n"),
        ({"seed": 2**63 - 1}, 400, "seed"),
        ({"chat_template_kwargs": [1]}, 400, "chat_template_kwargs"),
    ],
)
def test_a_bad_request_is_refused_before_the_engine_sees_it(
    gateway: Gateway, body: Any, status: int, param: str | None
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(asking() | body)
    reply = gateway.http.post("/v1/chat/completions", content=content)
    assert problem(reply, "param") == (status, param)
    error = reply.json()["error"]
    assert error["message"]
    assert error["type"] in ("invalid_request_error", "not_found_error")
    assert set(error) == {"message", "type", "param", "code"}
    assert reply.headers["x-request-id"]
    assert gateway.engine.seen == []


@pytest.mark.parametrize("seconds", ["soon", "-1", "0", "nan", ""])
def test_a_limit_that_is_no_time_is_refused(gateway: Gateway, seconds: str) -> None:
    reply = gateway.ask(headers={"x-ttrl-timeout": seconds})
    assert problem(reply, "param") == (400, "x-ttrl-timeout")


def test_a_prompt_longer_than_the_context_is_not_sampled(gateway: Gateway) -> None:
    reply = gateway.ask("word " * 500)
    assert problem(reply) == (400, "context_length_exceeded")
    assert problem(reply, "param") == (400, "messages")
    assert "128" in reply.json()["error"]["message"]
    assert set(gateway.engine.paths()) == {"/tokenize"}


def test_an_engine_that_says_it_is_too_long_is_understood(start: Start) -> None:
    gateway = start(Rendering())
    assert problem(gateway.ask("word " * 500)) == (400, "context_length_exceeded")


def test_a_huge_body_is_refused_whether_or_not_it_says_how_long_it_is(start: Start) -> None:
    gateway = start(api={"max_body_mib": 0.001})

    def pieces() -> Iterator[bytes]:
        yield b'{"model": "tiny", "x": "'
        for _ in range(50):
            yield b"y" * 1000

    chunked = gateway.http.post("/v1/chat/completions", content=pieces())
    for reply in (gateway.ask("x" * 5000), chunked):
        assert problem(reply) == (413, "request_too_large")
    assert gateway.engine.seen == []


def test_an_unknown_route_and_a_wrong_method_are_enveloped(gateway: Gateway) -> None:
    unknown, wrong = gateway.http.get("/v1/nothing"), gateway.http.get("/v1/chat/completions")
    assert problem(unknown) == (404, "unknown_route")
    assert problem(wrong) == (405, "method_not_allowed")
    assert unknown.headers["x-request-id"]


@pytest.mark.parametrize(
    "path", ["/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters", "/invocations"]
)
def test_the_engines_own_dangerous_routes_are_not_reachable(gateway: Gateway, path: str) -> None:
    assert gateway.http.post(path, json={"lora_name": "x", "lora_path": "/etc"}).status_code == 404
    assert gateway.engine.seen == []


def test_the_old_name_of_samples_is_read(gateway: Gateway) -> None:
    assert gateway.evidence(ttrl={"votes": 3})["samples"] == 3
    assert gateway.ask(ttrl={"votes": 3, "samples": 3}).status_code == 200


def test_too_many_samples_in_flight_is_429_with_retry_after(start: Start) -> None:
    engine = FakeVLLM(held=lambda i: True)
    gateway = start(engine, limits={"samples_in_flight": 8, "wait_s": 0.2})
    first = gateway.aside(gateway.ask)
    gateway.until(lambda: engine.running > 0)
    reply = gateway.ask(temperature=0)  # also what is passed on
    assert problem(reply, "type") == (429, "rate_limit_error")
    assert int(reply.headers["retry-after"]) > 0
    assert gateway.ask(n=8).status_code == 429
    engine.held = lambda i: False
    assert first.result().status_code == gateway.ask(n=8).status_code == 200


def test_what_never_fits_is_no_matter_of_time(start: Start) -> None:
    gateway = start(limits={"samples_in_flight": 8})
    for more in ({"ttrl": {"samples": 9}}, {"n": 9}):
        assert problem(gateway.ask(**more)) == (400, "too_many_samples")
