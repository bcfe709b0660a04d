"""Client of one vLLM server: render, sample, score, load and unload adapters, pass through.

    Question ─render─▶ Prompt ─generate─▶ ids, log-probabilities ─derender─▶ message

vLLM owns templates, grammars and parsers; ids and log-probabilities are ours. An engine without
these routes (vLLM before 0.30, or without ``--enable-scale-out``) is asked to tokenise and to
complete, which is enough for plain text.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import aiohttp
import msgspec
import structlog

from ttrl_server.errors import EngineError
from ttrl_server.types import (
    SAID,
    FinishReason,
    Kind,
    Prompt,
    Question,
    Rollout,
    Sampling,
    VoteOptions,
)

log = structlog.get_logger()

RENDER: dict[Kind, str] = {
    "chat": "/v1/chat/completions/render",
    "messages": "/v1/messages/render",
    "responses": "/v1/responses/render",
}
"""The route that makes a prompt of a conversation, by kind."""
GENERATE, DERENDER = "/inference/v1/generate", "/v1/chat/completions/derender"
PARSED = ("tools", "tool_choice", "parallel_tool_calls")
"""What the engine's parsers must know of a request with tools."""
MAX_TOKENS = 16
"""What vLLM's sampling parameters mean where they do not say it."""
TEMPLATE = frozenset(
    {"chat_template_kwargs", "continue_final_message"}
    | {"add_generation_prompt", "add_special_tokens"}
)
"""Arguments of the chat template that an engine takes where it does not render."""


class _Logprobs(msgspec.Struct):
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(msgspec.Struct):
    text: str
    token_ids: list[int]
    finish_reason: str | None
    logprobs: _Logprobs | None
    stop_reason: int | str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]


class _Token(msgspec.Struct):
    logprob: float
    top_logprobs: list[_Token] = []


class _Tokens(msgspec.Struct):
    content: list[_Token]


class _Drawn(msgspec.Struct):
    token_ids: list[int]
    text: str
    finish_reason: str | None
    logprobs: _Tokens | None
    stop_reason: int | str | None = None


class _Generated(msgspec.Struct):
    choices: list[_Drawn]


_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length"}
_completion = msgspec.json.Decoder(_Completion)
_generated = msgspec.json.Decoder(_Generated)

RENDERED = ("features", "reasoning_ended", "reasoning_parser_kwargs", "cache_salt")
"""What render says beside ids and sampling parameters, and generate wants to have."""

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
        self.renders: frozenset[Kind] = frozenset()
        """The kinds of conversations that the engine renders, generates and derenders."""
        self.context: int | None = None
        """Most tokens of a prompt with its completion, as ``models`` told it."""
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

    async def find_routes(self, model: str) -> None:
        """Asks the engine which conversations it renders, and draws and reads one token of one: an
        older vLLM has some of the routes. Raises EngineError when it does not answer."""
        found: set[Kind] = set()
        said: list[dict[str, Any]] = [{"role": "user", "content": "1"}]
        try:
            for kind in RENDER:
                more = {} if kind == "responses" else {"max_tokens": 1}
                asked = Question("", "", said, kind, model, 0, Sampling(1.0), VoteOptions(1), more)
                prompt = await self.prompt(asked, model, render=True)
                if kind == "chat":
                    prompt = replace(prompt, parse={"model": model, "messages": said})
                    drawn = await self.sample(prompt, model, Sampling(1.0, max_tokens=1), 0)
                    if drawn.message is None:
                        raise EngineError(f"no {DERENDER}", status=404)
                found.add(kind)
        except (EngineError, msgspec.DecodeError, KeyError) as error:
            if isinstance(error, EngineError) and (error.status is None or error.status >= 500):
                raise
            log.warning("engine.no_render", renders=sorted(found), reason=str(error))
        self.renders = frozenset(found)

    async def prompt(self, question: Question, model: str, *, render: bool = False) -> Prompt:
        """The question as the engine reads it; ``render``: whatever is known of its routes. Raises
        EngineError (400) for what vLLM refuses."""
        said = {"model": model, SAID[question.kind]: question.prompt}
        limit = question.request.get("max_tokens")  # of messages, which must have one
        if limit and self.context:  # vLLM refuses more than the context
            said["max_tokens"] = min(limit, self.context)
        if question.kind in RENDER and (render or question.kind in self.renders):
            reply = json.loads(
                await self._call("POST", RENDER[question.kind], question.request | said)
            )
            rendered = {name: reply[name] for name in RENDERED if reply.get(name) is not None}
            rendered["sampling_params"] = params = reply["sampling_params"]
            chat, ids = question.chat, tuple(reply["token_ids"])
            read: dict[str, Any] = {}
            if chat.get("tools"):
                read = {name: chat[name] for name in PARSED if chat.get(name) is not None}
            if template := rendered.get("reasoning_parser_kwargs"):  # with what the request meant
                read |= template
            nothing = {"model": model, "messages": [{"role": "user", "content": ""}]}
            parse = nothing | read if read else None
            longest = params.get("max_tokens", MAX_TOKENS)
            return Prompt(ids, longest, rendered, parse, question.wanted)
        spoken = question.kind == "chat"
        body: dict[str, Any] = said | ({"add_generation_prompt": True} if spoken else {})
        names = TEMPLATE if spoken else {"add_special_tokens"}
        body |= {name: question.request[name] for name in names & question.request.keys()}
        reply = json.loads(await self._call("POST", "/tokenize", body))
        ids = tuple(reply["tokens"])
        return Prompt(ids, reply["max_model_len"] - len(ids), wanted=question.wanted)

    async def sample(
        self,
        prompt: Prompt,
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
        wanted: dict[str, Any] = {"temperature": sampling.temperature, "logprobs": alternatives}
        wanted["max_tokens"] = min(sampling.max_tokens or prompt.longest, prompt.longest)
        if sampling.seed is not None:
            wanted["seed"] = sampling.seed + index
        body = {"model": model, "priority": priority}
        if not prompt.rendered:
            body |= PLAIN_SAMPLING | sampling.extra | wanted
            body |= {"prompt": prompt.token_ids, "return_token_ids": True}
            choice = _completion.decode(await self._call("POST", "/v1/completions", body)).choices[
                0
            ]
            given = choice.logprobs
            return Rollout(
                index=index,
                token_ids=tuple(choice.token_ids),
                logprobs=tuple(given.token_logprobs if given else ()),
                text=choice.text,
                finish_reason=_FINISH.get(choice.finish_reason or "", "abort"),
                stop_reason=choice.stop_reason,
                certainty=_certainty(
                    [list(row.values()) for row in (given and given.top_logprobs) or [] if row]
                )
                if alternatives
                else None,
            )
        plain = {name: v for name, v in PLAIN_SAMPLING.items() if name not in sampling.extra}
        params = prompt.rendered["sampling_params"]
        likely = params.get("logprobs") is not None
        wanted["logprobs"] = max(alternatives, params.get("logprobs") or 0)
        params = params | plain | wanted | {"n": 1}
        body |= prompt.rendered | {"token_ids": prompt.token_ids, "sampling_params": params}
        reply = await self._call("POST", GENERATE, body | {"output_mode": "text"})
        drawn = _generated.decode(reply).choices[0]
        tokens = drawn.logprobs.content if drawn.logprobs else []
        message = await self._message(prompt, drawn, model) if prompt.parse else None
        return Rollout(
            index=index,
            token_ids=tuple(drawn.token_ids),
            logprobs=tuple(token.logprob for token in tokens),
            text=drawn.text if message is None else message.get("content") or "",
            finish_reason=_FINISH.get(drawn.finish_reason or "", "abort"),
            certainty=_certainty([[t.logprob for t in each.top_logprobs] for each in tokens])
            if alternatives
            else None,
            stop_reason=drawn.stop_reason,
            message=message,
            likely=json.loads(reply)["choices"][0]["logprobs"]["content"] if likely else None,
        )

    async def _message(self, prompt: Prompt, drawn: _Drawn, model: str) -> dict[str, Any] | None:
        """What the engine's parsers make of a sample; None where they fail. They see text without
        what ended it in a chat, so the end token is left out, and a stop string is cut off."""
        ids, stop, request = drawn.token_ids, drawn.stop_reason, prompt.parse or {}
        ids = ids[:-1] if drawn.finish_reason == "stop" and not isinstance(stop, str) else ids
        if not ids:
            return None
        choice = {"index": 0, "token_ids": ids, "finish_reason": drawn.finish_reason}
        body = {"model": model, "chat_request": request, "prompt_token_ids": prompt.token_ids}
        body["generate_response"] = {"choices": [choice], "prompt_token_ids": prompt.token_ids}
        try:
            reply = json.loads(await self._call("POST", DERENDER, body))
        except EngineError as error:
            if error.status is None:
                raise
            log.warning("sample.not_parsed", reason=error.message)
            return None
        message = dict(reply["choices"][0]["message"])
        if request.get("parallel_tool_calls") is False and message.get("tool_calls"):
            message["tool_calls"] = message["tool_calls"][:1]
        elif isinstance(stop, str):
            last = "content" if message.get("content") else "reasoning"
            before, found, _ = (message.get(last) or "").rpartition(stop)
            message[last] = before if found else message.get(last)
        return message

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
        said = [model["max_model_len"] for model in reply["data"] if model.get("max_model_len")]
        self.context = min(said, default=None)
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


def _certainty(rows: Sequence[Sequence[float]]) -> float | None:
    """Self-certainty (arXiv 2502.18581, section 3) over the most likely tokens only, whose
    log-probabilities each row has: the mean −log p of the alternatives, as in DeepConf (arXiv
    2508.15260, section 2). None where none were asked for."""
    full = [row for row in rows if row]
    return sum(-sum(row) / len(row) for row in full) / len(full) if full else None
