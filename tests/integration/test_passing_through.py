"""What is not voted on: every byte as the engine sent it, and nothing left running for a client
that has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Literal

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from tests.integration.conftest import Gateway
from tests.integration.fake_vllm import FakeVLLM, _sleep_unless_gone

NEVER = {"policy": "never"}


@dataclass
class Upstream(FakeVLLM):
    """An engine that keeps silent, streams for long, breaks off, or says a lot."""

    mode: Literal["silent", "streaming", "broken", "large"] = "silent"
    aborted: bool = False

    async def chat(self, request: Request) -> Response:
        await self._body(request)
        if self.mode == "silent":
            self.aborted = not await _sleep_unless_gone(request, 10)
            return JSONResponse({})
        if self.mode == "large":
            return Response(b"x" * (3 << 20), media_type="application/json")
        if self.mode == "broken":
            headers = {"content-length": "10", "content-type": "application/json"}
            return StreamingResponse(self._breaking(), headers=headers)
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _breaking(self) -> AsyncIterator[bytes]:
        yield b"{"
        raise ConnectionError("the engine dies here")

    async def _events(self) -> AsyncIterator[bytes]:
        try:
            for i in range(1000):
                yield b"data: %d\n\n" % i
                await asyncio.sleep(0.02)
        finally:
            self.aborted = True


@pytest.mark.parametrize("mode", ["silent", "streaming"])
@pytest.mark.parametrize("patience_s", [0.05, 0.5])
def test_a_client_that_hangs_up_ends_the_engines_work(
    start: Callable[..., Gateway], mode: Literal["silent", "streaming"], patience_s: float
) -> None:
    upstream = Upstream(mode=mode)
    gateway = start(upstream, vote=NEVER)
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "x"}],
        "stream": mode == "streaming",
    }
    try:
        with httpx.stream(
            "POST", f"{gateway.url}/v1/chat/completions", json=body, timeout=patience_s
        ) as reply:
            next(reply.iter_raw())
    except httpx.ReadTimeout:
        assert mode == "silent"
    gateway.until(lambda: upstream.aborted)
    gateway.until(lambda: gateway.service.fleet.idle)


def test_an_answer_that_breaks_off_is_an_error_and_not_half_an_answer(
    start: Callable[..., Gateway],
) -> None:
    gateway = start(Upstream(mode="broken"), vote=NEVER)
    reply = gateway.ask()
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "engine_lost")
    assert gateway.service.fleet.idle


def test_a_large_answer_arrives_whole(start: Callable[..., Gateway]) -> None:
    gateway = start(Upstream(mode="large"), vote=NEVER)
    assert gateway.ask().content == b"x" * (3 << 20)
    gateway.until(lambda: gateway.service.fleet.idle)
