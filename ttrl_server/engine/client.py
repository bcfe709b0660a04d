"""Client of one vLLM server: tokenise, sample, score, load and unload adapters, pass through."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import aiohttp
import msgspec

from ttrl_server.errors import EngineError
from ttrl_server.types import FinishReason, Question, Rollout, Sampling


class _Logprobs(msgspec.Struct):
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(msgspec.Struct):
    text: str
    token_ids: list[int]
    finish_reason: str | None
    logprobs: _Logprobs | None


class _Completion(msgspec.Struct):
    choices: list[_Choice]


_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length"}
_completion = msgspec.json.Decoder(_Completion)

PLAIN_SAMPLING = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
"""Sent with every sample: else the model's generation_config.json may change the distribution."""


class EngineClient:
    """HTTP calls to one engine, from ``open`` to ``close``. Every failure raises EngineError.

    vLLM aborts the work of a cancelled call. ``timeout_s`` is for load, unload and score.
    """

    _session: aiohttp.ClientSession

    def __init__(
        self, *, url: str = "http://engine", socket: str = "", key: str = "", timeout_s: float = 120
    ) -> None:
        self._base = url.rstrip("/").removesuffix("/v1")
        self._socket, self._key, self._timeout_s = socket, key, timeout_s
        self.answered = 0.0
        """When the engine last answered a call other than ``/health`` (monotonic clock, s)."""

    async def open(self) -> None:
        connector: aiohttp.BaseConnector
        if self._socket:
            connector = aiohttp.UnixConnector(self._socket, limit=0, keepalive_timeout=60)
        else:  # a vLLM we did not start closes idle connections after 5 s
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4)
        key = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"content-type": "application/json"} | key,
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        await self._session.close()

    async def healthy(self, timeout_s: float = 5) -> bool:
        with suppress(EngineError):
            await self._call("GET", "/health", timeout_s=timeout_s)
            return True
        return False

    async def tokenize(self, question: Question, model: str) -> tuple[tuple[int, ...], int]:
        """Applies the chat template: (prompt token ids [P], context length in tokens)."""
        body: dict[str, Any] = {"model": model, "prompt": question.prompt}
        if question.kind == "chat":
            body = {"model": model, "messages": question.prompt, "add_generation_prompt": True}
            body |= question.template
        reply = json.loads(await self._call("POST", "/tokenize", body))
        return tuple(reply["tokens"]), reply["max_model_len"]

    async def sample(
        self,
        prompt: tuple[int, ...],
        model: str,
        sampling: Sampling,
        index: int,
        *,
        priority: int = 0,
        alternatives: int = 0,
    ) -> Rollout:
        """One rollout: token ids, and log-probabilities at the sampling temperature (rule 5).

        ``alternatives``: most likely tokens at each position, for the certainty; 0: no certainty.
        """
        body: dict[str, Any] = {
            **PLAIN_SAMPLING,
            **sampling.extra,
            "model": model,
            "prompt": prompt,
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
            "logprobs": alternatives,
            "return_token_ids": True,
            "priority": priority,
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed + index
        choice = _completion.decode(await self._call("POST", "/v1/completions", body)).choices[0]
        return Rollout(
            index=index,
            token_ids=tuple(choice.token_ids),
            logprobs=tuple(choice.logprobs.token_logprobs if choice.logprobs else ()),
            text=choice.text,
            finish_reason=_FINISH.get(choice.finish_reason or "", "abort"),
            certainty=_certainty(choice.logprobs) if alternatives else None,
        )

    async def score(self, token_ids: tuple[int, ...], start: int, model: str) -> tuple[float, ...]:
        """[L − start] log-probabilities (nats, temperature 1) of known tokens under one version."""
        body = {"model": model, "prompt": token_ids, "max_tokens": 1, "temperature": 1.0}
        body["prompt_logprobs"] = 0
        reply = json.loads(await self._call("POST", "/v1/completions", body, self._timeout_s))
        rows = reply["choices"][0]["prompt_logprobs"]
        return tuple(rows[t][str(token_ids[t])]["logprob"] for t in range(start, len(token_ids)))

    async def load(self, name: str, path: str) -> None:
        body = {"lora_name": name, "lora_path": path}
        await self._call("POST", "/v1/load_lora_adapter", body, self._timeout_s)

    async def unload(self, name: str) -> None:
        body = {"lora_name": name}
        await self._call("POST", "/v1/unload_lora_adapter", body, self._timeout_s)

    async def models(self) -> set[str]:
        reply = json.loads(await self._call("GET", "/v1/models", timeout_s=self._timeout_s))
        return {model["id"] for model in reply["data"]}

    async def stream(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """Returns the response before its body is read; the caller closes it."""
        url = self._base + path
        try:
            return await self._session.request(method, url, data=body, headers=headers)
        except (aiohttp.ClientError, OSError) as error:
            raise EngineError(f"the engine did not answer ({type(error).__name__})") from error

    async def _call(
        self, method: str, path: str, body: Any = None, timeout_s: float | None = None
    ) -> bytes:
        data = None if body is None else msgspec.json.encode(body)
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        request = self._session.request(method, self._base + path, data=data, timeout=timeout)
        try:
            async with request as reply:
                content = await reply.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            silent = f"the engine did not answer {path} ({type(error).__name__})"
            raise EngineError(silent, late=isinstance(error, TimeoutError)) from error
        if path != "/health":
            self.answered = time.monotonic()
        if reply.status >= 400:
            message = ""
            with suppress(ValueError, AttributeError, TypeError):
                given = json.loads(content)["error"]
                message = str(given["message"] if isinstance(given, dict) else given)
            raise EngineError(message or f"{path}: HTTP {reply.status}", status=reply.status)
        return content


def _certainty(logprobs: _Logprobs | None) -> float | None:
    """Self-certainty (arXiv 2502.18581, section 3) over the most likely tokens only: the mean
    −log p of the alternatives, as in DeepConf (arXiv 2508.15260, section 2)."""
    rows = [row for row in (logprobs and logprobs.top_logprobs) or [] if row]
    return sum(-sum(row.values()) / len(row) for row in rows) / len(rows) if rows else None
