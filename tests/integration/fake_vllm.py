"""As much of vLLM's HTTP API as the gateway uses, with answers a test chooses. Real vLLM is met
in tests/e2e."""

from __future__ import annotations

import asyncio
import json
import random
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

from ttrl_server.promotion.bank import questions

CONTEXT = 128
BANK = dict(enumerate(questions(), start=10_000))
"""By the first token of its prompt."""
PLACES = {each.text: place for place, each in BANK.items()}


@dataclass
class FakeVLLM:
    """Answers sample number i of its life with ``text(i)``; ``seen`` holds every request as
    (path, body)."""

    text: Callable[[int], str] = lambda i: "7" if i % 4 else "9"
    of_version: dict[str, Callable[[int], str]] = field(default_factory=dict)
    """What a version says instead of ``text``."""
    right: dict[str, float] = field(default_factory=dict)
    """By version: its share of right answers to the bank, by the seed; the others' is one half."""
    delay_s: float = 0.0
    load_s: float = 0.0
    held: Callable[[int], bool] = lambda i: False
    """Whether sample i is held back; asked again and again."""
    nats: Callable[[int], float] = lambda i: 0.5
    """−log p of every token of sample i."""
    surprise: Callable[[int], float] = lambda i: 1.0
    """Mean −log p of the alternatives at every position of sample i."""
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    loaded: set[str] = field(default_factory=set)
    running: int = 0
    most_running: int = 0
    drawn: int = 0
    shift: float = 0.25
    """Nats an adapter adds to every scored token; so many does the probe of every built version."""

    def paths(self) -> list[str]:
        return [path for path, _ in self.seen]

    async def _body(self, request: Request) -> dict[str, Any]:
        body = json.loads(await request.body() or b"{}")
        self.seen.append((request.url.path, body))
        return dict(body)

    async def models(self, request: Request) -> Response:
        known = ["tiny@base", *sorted(self.loaded)]
        return JSONResponse({"data": [{"id": name, "max_model_len": CONTEXT} for name in known]})

    async def health(self, request: Request) -> Response:
        return PlainTextResponse("")

    async def tokenize(self, request: Request) -> Response:
        body = await self._body(request)
        asked = body.get("messages") or body.get("prompt")
        tokens = list(range(len(str(asked).split())))
        if isinstance(asked, list) and (known := PLACES.get(str(asked[-1].get("content")))):
            tokens[0] = known
        return JSONResponse({"tokens": tokens, "count": len(tokens), "max_model_len": CONTEXT})

    async def completions(self, request: Request) -> Response:
        body = await self._body(request)
        if "prompt_logprobs" in body:
            return JSONResponse(self._score(body))
        number, self.drawn = self.drawn, self.drawn + 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            begun = time.monotonic()
            while self.held(number) or time.monotonic() < begun + self.delay_s:
                if await request.is_disconnected():
                    return Response(status_code=499)
                await asyncio.sleep(0.02)
        finally:
            self.running -= 1
        text = self._said(body, number)
        ids = [ord(c) for c in text]
        choice = {"text": text, "token_ids": ids, "finish_reason": "stop"}
        logprobs: dict[str, Any] = {"token_logprobs": [-self.nats(number)] * len(ids)}
        if k := body.get("logprobs"):
            row = {str(rank): -self.surprise(number) for rank in range(k)}
            logprobs["top_logprobs"] = [row] * len(ids)
        return JSONResponse({"choices": [choice | {"logprobs": logprobs}]})

    def _said(self, body: dict[str, Any], number: int) -> str:
        known, model = BANK.get(body["prompt"][0]), body["model"]
        if known is None or (model in self.of_version and model not in self.right):
            return self.of_version.get(model, self.text)(number)
        luck = random.Random(body["seed"]).random()
        return known.answer if luck < self.right.get(model, 0.5) else "none"

    def _score(self, body: dict[str, Any]) -> dict[str, Any]:
        value = -1.0 if body["model"] == "tiny@base" else -1.0 + self.shift
        rows = [None, *({str(token): {"logprob": value}} for token in body["prompt"][1:])]
        return {"choices": [{"prompt_logprobs": rows}]}

    async def chat(self, request: Request) -> Response:
        body = await self._body(request)
        if (body.get("max_tokens") or 0) > CONTEXT:
            return JSONResponse({"error": {"message": "max_tokens is too large"}}, 400)
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


END = 0
"""The end token of an engine that renders: it is no text."""


class Rendering(FakeVLLM):
    """An engine that renders: a sample ``call NAME ARGUMENTS`` calls a tool, each line one; what is
    before ``</think>`` is its reasoning."""

    async def render(self, request: Request) -> Response:
        body = await self._body(request)
        said = body.get("messages") or body["input"]
        ids = list(range(len(str(said).split())))
        if len(ids) > CONTEXT:
            long = f"This model's maximum context length is {CONTEXT} tokens."
            return JSONResponse({"error": {"message": long, "code": 400}}, 400)
        params: dict[str, Any] = {"max_tokens": CONTEXT - len(ids), "temperature": 1.0}
        if body.get("logprobs"):
            params["logprobs"] = body.get("top_logprobs") or 0
        if body.get("response_format"):
            params["structured_outputs"] = {"json_object": True}
        thinks: dict[str, Any] = {"reasoning_parser_kwargs": {"chat_template_kwargs": {}}}
        return JSONResponse({"token_ids": ids, "sampling_params": params} | thinks)

    async def generate(self, request: Request) -> Response:
        body = await self._body(request)
        if body["sampling_params"]["max_tokens"] == 1:  # the gateway looks for this route
            token = {"token": "1", "logprob": 0.0, "bytes": None, "top_logprobs": []}
            one = {"index": 0, "token_ids": [49], "text": "1", "finish_reason": "length"}
            return JSONResponse({"choices": [one | {"logprobs": {"content": [token]}}]})
        number, self.drawn = self.drawn, self.drawn + 1
        while self.held(number):  # noqa: ASYNC110  # a switch of the test
            await asyncio.sleep(0.02)
        text = self.of_version.get(body["model"], self.text)(number)
        ids = [*map(ord, text), END]
        wanted = body["sampling_params"]["logprobs"]
        content = [
            {"token": each, "logprob": -self.nats(number), "bytes": None}
            | {"top_logprobs": [{"token": each, "logprob": -self.nats(number)}] * max(1, wanted)}
            for each in (*text, "")
        ]
        choice = {"index": 0, "token_ids": ids, "text": text, "finish_reason": "stop"}
        return JSONResponse({"choices": [choice | {"logprobs": {"content": content}}]})

    async def derender(self, request: Request) -> Response:
        body = await self._body(request)
        text = "".join(map(chr, body["generate_response"]["choices"][0]["token_ids"]))
        thought, _, said = text.rpartition("</think>")
        message: dict[str, Any] = {"role": "assistant", "content": said, "refusal": None}
        message["reasoning"] = thought or None
        if said.startswith("call "):
            given = [line.split(" ", 2)[1:] for line in said.splitlines()]
            message["content"] = None
            message["tool_calls"] = [
                {"id": f"c{i}", "type": "function", "function": {"name": n, "arguments": a}}
                for i, (n, a) in enumerate(given)
            ]
        return JSONResponse({"choices": [{"index": 0, "message": message}]})

    def app(self) -> Starlette:
        app = super().app()
        for path, answer in (
            ("/v1/chat/completions/render", self.render),
            ("/v1/messages/render", self.render),
            ("/v1/messages", self.chat),
            ("/v1/responses", self.chat),
            ("/v1/responses/render", self.render),
            ("/v1/chat/completions/derender", self.derender),
            ("/inference/v1/generate", self.generate),
        ):
            app.router.routes.insert(0, Route(path, answer, methods=["POST"]))
        return app


class Serving:
    """An ASGI app on a loopback port, in a thread of its own, until ``stop``."""

    def __init__(self, app: Any, http: Any = "auto") -> None:
        quiet: Any = {"log_level": "warning", "timeout_graceful_shutdown": 2}
        config = uvicorn.Config(app, port=0, http=http, **quiet)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server died at its start"
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def end(self) -> None:
        """It stops by itself, soon."""
        self._server.should_exit = True

    def stop(self) -> None:
        self.end()
        self._thread.join(10)
