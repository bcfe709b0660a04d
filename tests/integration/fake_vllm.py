"""As much of vLLM's HTTP API as the gateway uses, with answers a test chooses. Real vLLM is met
in tests/e2e."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

CONTEXT = 128


@dataclass
class FakeVLLM:
    """Answers sample number i of its life with ``text(i)``; ``seen`` holds every request as
    (path, body)."""

    text: Callable[[int], str] = lambda i: "The answer is 7."
    of_version: dict[str, Callable[[int], str]] = field(default_factory=dict)
    """What a version says instead of ``text``."""
    delay_s: float = 0.0
    load_s: float = 0.0
    slow: Callable[[int], float] = lambda i: 0.0
    """Seconds that sample i takes beyond ``delay_s``."""
    nats: Callable[[int], float] = lambda i: 0.5
    """−log p of every token of sample i."""
    surprise: Callable[[int], float] = lambda i: 1.0
    """Mean −log p of the alternatives at every position of sample i."""
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    loaded: set[str] = field(default_factory=set)
    running: int = 0
    most_running: int = 0
    drawn: int = 0
    shift: Callable[[str], float] = lambda model: 0.0
    """Nats a version adds to every scored token."""

    def paths(self) -> list[str]:
        return [path for path, _ in self.seen]

    async def _body(self, request: Request) -> dict[str, Any]:
        body = json.loads(await request.body() or b"{}")
        self.seen.append((request.url.path, body))
        return dict(body)

    async def models(self, request: Request) -> Response:
        return JSONResponse({"data": [{"id": name} for name in sorted(self.loaded)]})

    async def health(self, request: Request) -> Response:
        return PlainTextResponse("")

    async def tokenize(self, request: Request) -> Response:
        body = await self._body(request)
        words = str(body.get("messages") or body.get("prompt")).split()
        return JSONResponse(
            {"tokens": list(range(len(words))), "count": len(words), "max_model_len": CONTEXT}
        )

    async def completions(self, request: Request) -> Response:
        body = await self._body(request)
        if "prompt_logprobs" in body:
            return JSONResponse(self._score(body))
        number, self.drawn = self.drawn, self.drawn + 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if not await _sleep_unless_gone(request, self.delay_s + self.slow(number)):
                return Response(status_code=499)
        finally:
            self.running -= 1
        text = self.of_version.get(body["model"], self.text)(number)
        ids = [ord(c) for c in text]
        choice = {"text": text, "token_ids": ids, "finish_reason": "stop"}
        logprobs: dict[str, Any] = {"token_logprobs": [-self.nats(number)] * len(ids)}
        if k := body["logprobs"]:
            row = {str(rank): -self.surprise(number) for rank in range(k)}
            logprobs["top_logprobs"] = [row] * len(ids)
        return JSONResponse({"choices": [choice | {"logprobs": logprobs}]})

    def _score(self, body: dict[str, Any]) -> dict[str, Any]:
        value = -1.0 + self.shift(body["model"])
        rows = [None, *({str(token): {"logprob": value}} for token in body["prompt"][1:])]
        return {"choices": [{"prompt_logprobs": rows}]}

    async def chat(self, request: Request) -> Response:
        body = await self._body(request)
        if body.get("stream"):
            return StreamingResponse(
                iter([b"data: one\n\n", b"data: [DONE]\n\n"]), media_type="text/event-stream"
            )
        choices = [
            {"index": i, "message": {"role": "assistant", "content": self.text(i)}}
            for i in range(body.get("n") or 1)
        ]
        return JSONResponse({"model": body["model"], "choices": choices})

    async def load(self, request: Request) -> Response:
        name = (await self._body(request))["lora_name"]
        await asyncio.sleep(self.load_s)  # also for a client that has gone
        self.loaded.add(name)
        return PlainTextResponse("ok")

    async def unload(self, request: Request) -> Response:
        self.loaded.discard((await self._body(request))["lora_name"])
        return PlainTextResponse("ok")

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/health", self.health),
                Route("/v1/models", self.models),
                Route("/tokenize", self.tokenize, methods=["POST"]),
                Route("/v1/completions", self.completions, methods=["POST"]),
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/load_lora_adapter", self.load, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self.unload, methods=["POST"]),
            ]
        )


async def _sleep_unless_gone(request: Request, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if await request.is_disconnected():
            return False
        await asyncio.sleep(min(left, 0.02))
    return True


class Serving:
    """An ASGI app on a loopback port, in a thread of its own, until ``stop``."""

    def __init__(self, app: Any) -> None:
        config = uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server died at its start"
            time.sleep(0.01)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
