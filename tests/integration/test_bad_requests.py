"""Whatever a client gets wrong: the right status, OpenAI's envelope, the offending name, and an
undisturbed engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import Gateway

GOOD = {"model": "tiny", "messages": [{"role": "user", "content": "What is 3 + 4?"}]}


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{not json", 400, None),
        (b"[1, 2]", 400, None),
        (b'"text"', 400, None),
        (b"\xff\xfe", 400, None),
        (b"[" * 100_000, 400, None),
        ({**GOOD, "model": "gpt-9"}, 404, "model"),
        ({**GOOD, "model": "tiny@v99"}, 404, "model"),
        ({**GOOD, "model": "tiny@../../etc"}, 404, "model"),
        ({**GOOD, "model": 7}, 400, "model"),
        ({**GOOD, "ttrl": {"samples": 1_000_000_000}}, 400, "ttrl.samples"),
        ({**GOOD, "ttrl": {"samples": 0}}, 400, "ttrl.samples"),
        ({**GOOD, "ttrl": {"samples": True}}, 400, "ttrl.samples"),
        ({**GOOD, "ttrl": {"vote": 4}}, 400, "ttrl.vote"),
        ({**GOOD, "ttrl": []}, 400, "ttrl"),
        ({**GOOD, "ttrl": {"train": "yes"}}, 400, "ttrl.train"),
        ({**GOOD, "ttrl": {"adapter": "v1/../x"}}, 404, "ttrl.adapter"),
        ({**GOOD, "ttrl": {"samples": 4}, "n": 2}, 400, "n"),
        ({**GOOD, "max_tokens": -5}, 400, "max_tokens"),
        ({**GOOD, "max_completion_tokens": 0}, 400, "max_completion_tokens"),
        ({**GOOD, "max_tokens": 1.5}, 400, "max_tokens"),
        (
            b'{"model": "tiny", "messages": [{"role": "user", "content": "x"}], "temperature": '
            b"NaN}",
            400,
            "temperature",
        ),
        (
            b'{"model": "tiny", "messages": [{"role": "user", "content": "x"}], "n": 2, "min_p": '
            b"NaN}",
            400,
            "min_p",
        ),
        ({**GOOD, "temperature": "hot"}, 400, "temperature"),
        ({**GOOD, "temperature": 3}, 400, "temperature"),
        ({**GOOD, "top_p": 0}, 400, "top_p"),
        ({**GOOD, "n": 1000}, 400, "n"),
        (b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}', 400, None),
        ({**GOOD, "temperature": 10**400}, 400, "temperature"),
        ({**GOOD, "seed": 2**63 - 1}, 400, "seed"),
        ({**GOOD, "chat_template_kwargs": [1]}, 400, "chat_template_kwargs"),
        ({"model": "tiny"}, 400, "messages"),
        ({"model": "tiny", "messages": []}, 400, "messages"),
        ({"model": "tiny", "messages": ["hello"]}, 400, "messages"),
    ],
)
def test_a_bad_request_is_refused_before_the_engine_sees_it(
    gateway: Gateway, body: Any, status: int, param: str | None
) -> None:
    given = {"content": body} if isinstance(body, bytes) else {"json": body}
    reply = gateway.http.post("/v1/chat/completions", **given)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (status, param)
    assert error["message"]
    assert error["type"] in ("invalid_request_error", "not_found_error")
    assert set(error) == {"message", "type", "param", "code"}
    assert reply.headers["x-request-id"]
    assert gateway.engine.seen == []


def test_a_prompt_longer_than_the_context_is_not_sampled(gateway: Gateway) -> None:
    reply = gateway.ask("word " * 500)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (
        400,
        "context_length_exceeded",
        "messages",
    )
    assert "128" in error["message"]
    assert set(gateway.engine.paths()) == {"/tokenize"}


def test_a_huge_body_is_refused_whether_or_not_it_says_how_long_it_is(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(api={"max_body_mib": 0.001})
    declared = gateway.ask("x" * 5000)

    def pieces() -> Any:
        yield b'{"model": "tiny", "x": "'
        for _ in range(50):
            yield b"y" * 1000

    chunked = gateway.http.post("/v1/chat/completions", content=pieces())
    assert [declared.status_code, chunked.status_code] == [413, 413]
    assert chunked.json()["error"]["code"] == "request_too_large"
    assert gateway.engine.seen == []


def test_an_unknown_route_and_a_wrong_method_are_enveloped(gateway: Gateway) -> None:
    unknown, wrong = gateway.http.get("/v1/nothing"), gateway.http.get("/v1/chat/completions")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_route")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert unknown.headers["x-request-id"]


@pytest.mark.parametrize(
    "path", ["/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters", "/invocations"]
)
def test_the_engines_own_dangerous_routes_are_not_reachable(gateway: Gateway, path: str) -> None:
    assert gateway.http.post(path, json={"lora_name": "x", "lora_path": "/etc"}).status_code == 404
    assert gateway.engine.seen == []


def test_the_old_name_of_samples_is_read_and_may_not_contradict_the_new_one(
    gateway: Gateway,
) -> None:
    assert gateway.ask(ttrl={"votes": 3}).json()["ttrl"]["samples"] == 3
    assert gateway.ask(ttrl={"votes": 3, "samples": 3}).status_code == 200
    reply = gateway.ask(ttrl={"votes": 3, "samples": 4})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "ttrl.samples")


def test_too_many_samples_in_flight_is_429_with_retry_after(start: Callable[..., Gateway]) -> None:
    gateway = start(limits={"samples_in_flight": 8})
    reply = gateway.ask(ttrl={"samples": 9})
    assert reply.status_code == 429
    assert int(reply.headers["retry-after"]) > 0
    assert reply.json()["error"]["type"] == "rate_limit_error"
    assert gateway.ask(n=9).status_code == 429
    assert gateway.ask(n=8).status_code == 200
    assert gateway.ask().status_code == 200
