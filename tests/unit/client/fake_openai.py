"""A small OpenAI server over real HTTP, which votes and learns by counting."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

KEY = "secret"


class FakeServer:
    """Answers "What is a * b?" rightly in 4 of 16 samples, and in 4 more with each version."""

    def __init__(self) -> None:
        self.version = self.pending = self.training = 0
        self.learning = True
        self.delay_s = 0.01
        self.bodies: list[dict[str, Any]] = []
        self.asked_while_training = 0
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))  # ours from now on, and refused until it listens
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/ttrl/v1/status", self._status),
        ]
        config = uvicorn.Config(Starlette(routes=routes), log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)

    def start(self) -> None:
        threading.Thread(target=self._server.run, args=([self._socket],), daemon=True).start()
        while not self._server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True

    @property
    def voted(self) -> list[dict[str, Any]]:
        return [body for body in self.bodies if body.get("n", 1) == 1]

    @property
    def drawn(self) -> list[dict[str, Any]]:
        return [body for body in self.bodies if body.get("n", 1) > 1]

    async def _models(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"error": {"message": "wrong key"}}, status_code=401)
        model = {"id": "tiny", "object": "model", "created": 0, "owned_by": "-"}
        return JSONResponse({"object": "list", "data": [model]})

    async def _status(self, request: Request) -> Response:
        self._train_a_little()
        return JSONResponse(
            {
                "served": {"number": self.version, "name": f"tiny@v{self.version}"},
                "pending": self.pending,
                "training": self.training > 0,
                "learning": self.learning,
                "reason": None if self.learning else "switched off",
                "promoted": self.version,
                "groups": {},
            }
        )

    def _train_a_little(self) -> None:
        """A batch moves on each time somebody looks: pending, then training, then a version."""
        if self.training:
            self.training -= 1
            self.version += self.training == 0
        elif self.pending and self.learning:
            self.pending, self.training = 0, 2

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        prompt = body["messages"][0]["content"]
        if "fails" in prompt:
            error = {"message": "this one fails", "type": "server_error"}
            return JSONResponse({"error": error}, status_code=400)
        await asyncio.sleep(self.delay_s)
        a, b = map(int, re.findall(r"\d+", prompt)[:2])
        skill = min(16, 4 + 4 * self.version)
        answers = [str(a * b)] * skill + [str(a + b)] * (16 - skill)
        if body.get("n", 1) > 1:
            return JSONResponse(_completion([f"The answer is {x}." for x in answers[: body["n"]]]))
        return self._vote(body, answers)

    def _vote(self, body: dict[str, Any], answers: list[str]) -> Response:
        self.asked_while_training += self.training > 0
        self.pending += self.learning and body.get("store") is not False
        counts = {answer: answers.count(answer) for answer in dict.fromkeys(answers)}
        winner = max(counts, key=lambda answer: counts[answer])
        evidence = {
            "answer": winner,
            "majority_ratio": counts[winner] / 16,
            "margin": 0.0,
            "counts": counts,
            "votes": 16,
            "stopped": "full",
            "adapter": f"tiny@v{self.version}",
            "sampled_tokens": 48,
            "train": True,
        }
        if body.get("stream"):
            return StreamingResponse(_events(winner, evidence), media_type="text/event-stream")
        return JSONResponse({**_completion([winner]), "ttrl": evidence})


def _completion(texts: list[str]) -> dict[str, Any]:
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for i, text in enumerate(texts)
    ]
    reply = {"id": "c-1", "object": "chat.completion", "created": 0, "model": "tiny"}
    return {**reply, "choices": choices}


def _events(text: str, evidence: dict[str, Any]) -> Iterator[str]:
    chunk = {"id": "c-1", "object": "chat.completion.chunk", "created": 0, "model": "tiny"}
    yield ": 8 of 16 votes\n\n"
    for delta, end in (({"role": "assistant", "content": text}, None), ({}, "stop")):
        body = {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
        yield f"data: {json.dumps({**body, 'ttrl': evidence} if end else body)}\n\n"
    yield "data: [DONE]\n\n"
