"""What is not voted on: every byte as the engine sent it, and nothing left running for a client
that has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from tests.integration.conftest import Start, asking, problem
from tests.integration.fake_vllm import FakeVLLM

NEVER = {"policy": "never"}
Mode = Literal["silent", "streaming", "broken", "large"]


@dataclass
class Upstream(FakeVLLM):
    """An engine that keeps silent, streams for long, breaks off, or says a lot."""

    mode: Mode = "silent"
    aborted: bool = False

    async def chat(self, request: Request) -> Response:
        await self._body(request)
        if self.mode == "silent":
            while not self.aborted:
                self.aborted = await request.is_disconnected()
                await asyncio.sleep(0.02)
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
    start: Start, mode: Mode, patience_s: float
) -> None:
    upstream = Upstream(mode=mode)
    gateway = start(upstream, vote=NEVER)
    body = asking("x", stream=mode == "streaming")
    path = "/v1/chat/completions"
    with (
        suppress(*[httpx.ReadTimeout] if mode == "silent" else []),
        gateway.http.stream("POST", path, json=body, timeout=patience_s) as reply,
    ):
        next(reply.iter_raw())
    gateway.until(lambda: upstream.aborted)
    gateway.until(lambda: gateway.service.fleet.idle)


def test_an_answer_that_breaks_off_is_an_error_and_not_half_an_answer(start: Start) -> None:
    gateway = start(Upstream(mode="broken"), vote=NEVER)
    assert problem(gateway.ask()) == (503, "engine_lost")
    assert gateway.service.fleet.idle


def test_a_large_answer_arrives_whole(start: Start) -> None:
    gateway = start(Upstream(mode="large"), vote=NEVER)
    assert gateway.ask().content == b"x" * (3 << 20)
    gateway.until(lambda: gateway.service.fleet.idle)
