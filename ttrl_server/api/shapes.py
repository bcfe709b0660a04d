"""Turns a request into a Question, or says why it is unvoted; turns an Answer into a response."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from ttrl_server.answering.pipeline import Answer
from ttrl_server.answers.kinds import housekeeping
from ttrl_server.api import body, deadline
from ttrl_server.api.extension import Extension
from ttrl_server.api.sse import DONE, Event
from ttrl_server.engine.client import TEMPLATE
from ttrl_server.errors import RequestError
from ttrl_server.learning.reasons import words
from ttrl_server.settings.config import Config
from ttrl_server.types import SAID, Kind, Question, Rollout, Sampling, VoteOptions, text_in
from ttrl_server.voting import signals

SAMPLING_FIELDS = frozenset(
    {"top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty"}
    | {"stop", "stop_token_ids", "min_tokens", "ignore_eos", "bad_words", "allowed_token_ids"}
    | {"logit_bias"}
)
"""Fields that are sent to the engine with every sample."""

RENDERED_FIELDS = frozenset(
    {"tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort"}
    | {"documents", "chat_template", "logprobs", "top_logprobs", "messages", "input"}
    | {"system", "thinking", "output_config", "instructions"}
)
"""Fields that an engine which renders puts into the prompt, the grammar or the message."""

READ_HERE = frozenset(
    {"model", "prompt", "stream", "stream_options"}
    | {"temperature", "max_tokens", "max_completion_tokens"}
    | {"seed", "n", "ttrl", "store", "user", "metadata", "safety_identifier", "service_tier"}
    | {"prompt_cache_key", "prompt_cache_retention", "prediction", "verbosity"}
    | {"request_id", "session_id", "stream_interval"}
)
"""Fields that the gateway reads, or that ask vLLM for nothing. A request with any other field is
passed to vLLM unvoted."""

_HARMLESS: dict[str, tuple[Any, ...]] = {
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tools": ([],),
    "tool_choice": ("none",),
    "functions": ([],),
    "documents": ([],),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "echo": (False,),
    "best_of": (1,),
    "parallel_tool_calls": (True, False),
    "include_reasoning": (True,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "include_stop_str_in_output": (False,),
    "use_beam_search": (False,),
    "length_penalty": (1, 1.0),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "priority": (0,),
    "suffix": ("",),
    "mm_processor_kwargs": ({},),
    "media_io_kwargs": ({},),
    "extra_body": ({},),
    "truncation": ("disabled",),
    "background": (False,),
    "include": ([],),
}
"""Values that still ask for a plain text answer only: vLLM's defaults, mostly."""

PREFIX: dict[Kind, str] = {"chat": "chatcmpl", "completion": "cmpl"}
"""Prefix of the response's id."""
PIECE = 48
"""Characters of text in one event of a stream."""

VOTE_HEADER = "x-ttrl-vote"
"""In a request: off passes it to vLLM, whatever it asks for."""
TRAIN_HEADER = "x-ttrl-train"
"""In a request: off keeps it out of the store; in a response: what became of the group."""

COLDEST = 0.01
"""Lowest temperature above 0: vLLM raises a lower one to it. Clients write 1e-8 for 0."""
MOST_VOTES = 2**20
"""Most samples of a question. Sample i has the seed ``seed + i``, which must fit in 64 bits."""


def check_common(data: dict[str, Any], kind: Kind) -> None:
    """Raises RequestError for what is wrong in any request, voted on or passed through."""
    body.number(data, "temperature", 0, 2)
    body.number(data, "top_p", 0, 1, above=True)
    body.whole(data, "n", 1, 128)
    body.whole(data, "top_logprobs", 0, 2**31)
    body.flag(data, "stream")
    body.flag(data, "store")
    for name in ("max_tokens", "max_completion_tokens"):
        body.whole(data, name, 0 if kind == "completion" else 1, 2**31)
    body.whole(data, "seed", -(2**63), 2**63 - 1 - MOST_VOTES)
    for name in ("chat_template_kwargs", "response_format"):
        if not isinstance(data.get(name), dict | None):
            raise body.wrong(name, "must be an object.", code="invalid_type")
    for place, tool in enumerate(body.array(data, "tools")):
        if not isinstance(tool, dict):
            raise body.wrong(f"tools[{place}]", "must be an object.", code="invalid_type")
    name = SAID[kind]
    value = data.get(name)
    texts, lists = kind in ("completion", "responses"), isinstance(value, list) and bool(value)
    if kind != "completion":
        lists = lists and all(isinstance(message, dict) for message in value or ())
    if not (lists or (texts and isinstance(value, str) and value)):
        problem = "is missing" if value is None else "is not right"
        wanted = "a non-empty string or array" if texts else "a non-empty array of message objects"
        raise body.wrong(name, f"{problem}: it must be {wanted}.")


def is_off(headers: Mapping[str, str], name: str) -> bool:
    return headers.get(name, "on").lower() in ("off", "false", "0")


# ---------------------------------------------------------------- to vote or not to vote


def unvoted(
    data: dict[str, Any], kind: Kind, config: Config, asked: Extension, renders: bool
) -> str | None:
    """Why a request is unvoted: a reason or the name of a field; None when it is voted on.

    auto votes on requests for one message whose temperature is not 0 (docs/design.md). Without an
    engine that ``renders`` only text is voted on.
    """
    if config.vote.policy == "never" and asked.samples is None:
        return "policy"
    odd = _not_plain(data, kind, renders)
    if odd and asked.samples is not None:
        message = f"ttrl.samples was given, but a request with {odd} cannot be voted on. "
        message += "Leave one of the two out."
        raise RequestError(message, param=odd, code="cannot_vote")
    if odd:
        return odd
    if asked.samples is not None or config.vote.policy != "auto":
        return None
    warmth = data.get("temperature")
    if (warmth is not None and warmth < COLDEST) or data.get("top_k") == 1:
        return "temperature"
    # A front-end's own requests: Open WebUI marks them; others are known by their text.
    metadata = data.get("metadata")
    if isinstance(metadata, dict) and metadata.get("task"):
        return "housekeeping"
    text = text_in(data[SAID[kind]])
    return "housekeeping" if text is not None and housekeeping(text) else None


def _not_plain(data: dict[str, Any], kind: Kind, renders: bool) -> str | None:
    """The first field that asks for more than one message that can be voted on, if any."""
    if data.get("max_tokens") == 0:  # with echo, it scores the prompt
        return "max_tokens"
    known, said = READ_HERE | SAMPLING_FIELDS | TEMPLATE | {"messages"}, SAID[kind]
    if renders and kind != "completion":
        known |= RENDERED_FIELDS
    for name, value in data.items():
        plain = _HARMLESS.get(name, ())
        if value is None or any(type(value) is type(p) and value == p for p in plain):
            continue
        if name not in known or (name == "response_format" and not _json(value)):
            return name
        if name == "tools" and not all(map(_is_function, value)):
            return name
        if name == "tool_choice" and isinstance(value, dict) and not _is_function(value):
            return name
    if kind == "completion" or isinstance(data[said], str):
        # vLLM's /tokenize takes one text; ids and lists are passed through.
        return None if isinstance(data[said], str) else said
    spoken_only = all(
        _is_text(message.get("content")) and _is_text(message.get("output"))
        for message in data[said]
    )
    return None if spoken_only and (renders or kind == "chat") else said


def _json(value: Any) -> bool:
    """Whether a response_format asks for JSON, which can be compared."""
    return isinstance(value, dict) and value.get("type") in ("json_object", "json_schema")


def _is_function(tool: dict[str, Any]) -> bool:
    """Whether a tool is the client's own; others the engine or a provider runs."""
    function = tool.get("function")
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _is_text(content: Any) -> bool:
    """Whether the content has no pictures or sound, which the trainer cannot read."""
    if not isinstance(content, list):
        return True
    parts = [part.get("type") if isinstance(part, dict) else None for part in content]
    inner = (part.get("content") for part in content if isinstance(part, dict))
    known = all(isinstance(part, str) and part in PARTS for part in parts)
    return known and all(map(_is_text, inner))


PARTS = frozenset(
    {"text", "input_text", "output_text", "refusal", "thinking", "redacted_thinking"}
    | {"reasoning_text", "summary_text", "tool_use", "tool_result"}
)
"""Types of the parts of a message that are text in the end."""


def question(
    data: dict[str, Any],
    chat: dict[str, Any],
    kind: Kind,
    config: Config,
    asked: Extension,
    headers: Mapping[str, str],
    tenant: str,
) -> Question:
    """The request as a Question; ``chat``: the same with a chat request's names. Raises
    RequestError for a header that is wrong."""
    may_train = not is_off(headers, TRAIN_HEADER)
    data, chat = ({n: v for n, v in each.items() if v is not None} for each in (data, chat))
    ours = READ_HERE | {"priority", "max_output_tokens", SAID[kind]}
    if not chat.get("tools"):  # vLLM refuses a choice of none, and an empty list
        ours |= {"tools", "tool_choice"}
    if kind == "messages":
        ours -= {"max_tokens"}  # it must have one
    choices = chat.get("n") or 1
    if asked.samples is not None and asked.samples < choices:
        raise body.wrong("ttrl.samples", f"is {asked.samples}, below n, which is {choices}.")
    max_tokens = chat.get("max_completion_tokens") or chat.get("max_tokens")
    return Question(
        id=uuid.uuid4().hex,
        tenant=tenant,
        prompt=data[SAID[kind]],
        kind=kind,
        model=data.get("model") or config.name,
        version=asked.version,
        sampling=Sampling(
            temperature=max(COLDEST, float(data.get("temperature") or config.vote.temperature)),
            max_tokens=max_tokens or config.vote.max_tokens,
            seed=None if data.get("seed") == -1 else data.get("seed"),  # vLLM: a random one
            extra={name: chat[name] for name in SAMPLING_FIELDS & chat.keys()},
        ),
        vote=VoteOptions(
            samples=max(asked.samples or config.vote.samples, choices),
            choices=choices,
            json=config.vote.json,
            ignored=tuple(config.vote.ignored),
            train=may_train and False not in (asked.train, data.get("store")),
            stop=asked.stop or config.vote.stop,
            level=asked.level or config.vote.level,
            probe=config.vote.policy == "auto" and asked.samples is None,
        ),
        request={name: value for name, value in data.items() if name not in ours},
        chat={name: chat[name] for name in CHAT if name in chat},
        deadline_s=deadline.of(headers, streaming=bool(data.get("stream"))),
        label=asked.label,
        shared=headers.get("idempotency-key") or ("" if config.vote.share else None),
    )


# ---------------------------------------------------------------- the answer


def evidence(answer: Answer) -> dict[str, Any]:
    """The evidence: the response's ``ttrl`` object."""
    vote = answer.vote
    return {
        "answer": vote.pseudo_label,
        "majority_ratio": vote.majority_ratio,
        "margin": vote.margin,
        "confidence": vote.confidence,
        "base_ratio": vote.base_ratio,
        "counts": {cluster.answer: len(cluster.members) for cluster in vote.clusters},
        "entropy": signals.of_group(answer.group, vote).entropy,
        "samples": vote.requested,
        "drawn": len(vote.answers),
        "votes": len(vote.answers),  # old names of drawn and samples, until 0.3
        "requested": vote.requested,
        "stopped": vote.stopped,
        "level": vote.level,
        "adapter": answer.model,
        "sampled_tokens": answer.sampled_tokens,
        "train": answer.training,
        "why": words(answer.training),
    }


def usage(answer: Answer, choices: int) -> dict[str, int]:
    """Tokens of the returned rollouts; ``ttrl.sampled_tokens`` counts those of all samples."""
    prompt = len(answer.group.prompt_token_ids)
    answered = sum(len(rollout.token_ids) for rollout in answer.choices(choices))
    total = prompt + answered
    return {"prompt_tokens": prompt, "completion_tokens": answered, "total_tokens": total}


def response(q: Question, answer: Answer) -> dict[str, Any]:
    """OpenAI's ``chat.completion`` or ``text_completion``, with the ``ttrl`` object."""
    choices = []
    for index, rollout in enumerate(answer.choices(q.vote.choices)):
        chat = {"message": message(rollout), "logprobs": logprobs(q, rollout)}
        said = chat if q.kind == "chat" else {"text": rollout.text, "logprobs": None}
        ended = {"finish_reason": finish(q, rollout), "stop_reason": rollout.stop_reason}
        choices.append({"index": index} | said | ended)
    return head(q, "chat.completion" if q.kind == "chat" else "text_completion") | {
        # the id of the group: questions that share a vote share one group
        "id": f"{PREFIX[q.kind]}-{answer.group.question_id}",
        "choices": choices,
        "usage": usage(answer, q.vote.choices),
        "ttrl": evidence(answer),
    }


def preview(q: Question, rollout: Rollout) -> Iterator[Event]:
    """A sample as reasoning, which clients show apart from the answer."""
    said = message(rollout)
    yield "", _chunk(q, 0, {"role": "assistant", "content": ""})
    for piece in pieces(said.get("content") or said.get("reasoning") or ""):
        yield "", _chunk(q, 0, {"reasoning": piece})
    yield "", _chunk(q, 0, {"reasoning": "\n\n"})


def _chunk(q: Question, index: int, delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    chat = q.kind == "chat"
    choice: dict[str, Any] = {"delta": delta} if chat else {"text": delta.get("content", "")}
    choice |= {"index": index, "logprobs": None, "finish_reason": None} | more
    own = head(q, "chat.completion.chunk" if chat else "text_completion")
    return own | {"choices": [choice]}


def chunks(q: Question, answer: Answer, include_usage: bool, begun: bool) -> Iterator[Event]:
    """The chosen response as OpenAI's chunks; the last content chunk has ``ttrl``. ``begun``: a
    preview has begun the first choice."""
    chunk = partial(_chunk, q)
    rollouts = list(enumerate(answer.choices(q.vote.choices)))
    for index, _ in rollouts[begun:]:  # some readers take a first event for part of a comment
        yield "", chunk(index, {"role": "assistant", "content": ""})
    for index, rollout in rollouts:
        said = message(rollout)
        if likely := logprobs(q, rollout):  # all at once: a piece of text is not a token
            yield "", chunk(index, {"content": ""}, logprobs=likely)
        for name in ("reasoning", "content"):
            for piece in pieces(said.get(name) or ""):
                yield "", chunk(index, {name: piece})
        for number, call in enumerate(said.get("tool_calls") or ()):
            yield "", chunk(index, {"tool_calls": [{"index": number, **call}]})
        ended = {"finish_reason": finish(q, rollout), "stop_reason": rollout.stop_reason}
        told = {"ttrl": evidence(answer)} if index == len(rollouts) - 1 else {}
        yield "", chunk(index, {}, **ended) | told
    if include_usage:
        last = _chunk(q, 0, {}) | {"choices": [], "usage": usage(answer, q.vote.choices)}
        yield "", last
    yield DONE


def head(q: Question, object: str) -> dict[str, Any]:
    """The first fields of every response and every chunk."""
    name, now = f"{PREFIX[q.kind]}-{q.id}", int(time.time())
    return {"id": name, "object": object, "created": now, "model": q.model}


CHAT = (
    *("tools", "tool_choice", "response_format", "logprobs", "top_logprobs"),
    *("parallel_tool_calls", "metadata", "user", "service_tier"),
)
"""What decides what a sample may be and how it is read; and what a response repeats."""


def pieces(text: str) -> Iterator[str]:
    """The text in the pieces of a stream."""
    return (text[i : i + PIECE] for i in range(0, len(text), PIECE))


def message(rollout: Rollout) -> dict[str, Any]:
    """The message as the engine made it, or in its form."""
    none = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))
    return rollout.message or {"role": "assistant", "content": rollout.text} | none


def logprobs(q: Question, rollout: Rollout) -> dict[str, Any] | None:
    """OpenAI's log-probabilities, with as many alternatives as were asked for."""
    if rollout.likely is None:
        return None
    most = q.chat.get("top_logprobs") or 0
    short = [token | {"top_logprobs": token["top_logprobs"][:most]} for token in rollout.likely]
    return {"content": short}


def finish(q: Question, rollout: Rollout) -> str:
    """Why the sample ended, as vLLM says it: tool_calls where the model was free to call."""
    cut, choice = rollout.finish_reason == "length", q.chat.get("tool_choice", "auto")
    if rollout.calls and (choice == "auto" or (choice == "required" and not cut)):
        return "tool_calls"
    return "length" if cut else "stop"
