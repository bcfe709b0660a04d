"""Turns a request into a Question, or says why it is unvoted; turns an Answer into a response."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from ttrl_server.answering.pipeline import Answer
from ttrl_server.answers.kinds import housekeeping
from ttrl_server.api import body, deadline
from ttrl_server.api.extension import Extension
from ttrl_server.errors import RequestError
from ttrl_server.learning.reasons import words
from ttrl_server.settings.config import Config
from ttrl_server.types import Question, Sampling, VoteOptions, spoken
from ttrl_server.voting import signals

Kind = Literal["chat", "completion"]

SAMPLING_FIELDS = frozenset(
    {"top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty"}
    | {"stop", "stop_token_ids", "min_tokens", "ignore_eos", "bad_words", "allowed_token_ids"}
    | {"logit_bias"}
)
"""Fields that are sent to the engine with every sample."""

TEMPLATE_FIELDS = frozenset(
    {"chat_template_kwargs", "continue_final_message"}
    | {"add_generation_prompt", "add_special_tokens"}
)
"""Arguments of the chat template, which are sent to the engine with the prompt."""

READ_HERE = frozenset(
    {"model", "messages", "prompt", "stream", "stream_options"}
    | {"temperature", "max_tokens", "max_completion_tokens"}
    | {"seed", "n", "ttrl", "store", "user", "metadata", "safety_identifier", "service_tier"}
)
"""Fields that the gateway reads. A request with any other field is passed to vLLM unvoted."""

_HARMLESS: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tools": ([],),
    "tool_choice": ("none",),
    "logprobs": (False,),
    "echo": (False,),
    "best_of": (1,),
    "parallel_tool_calls": (True, False),
}
"""Values that still ask for a plain text answer only."""

PREFIX: dict[Kind, str] = {"chat": "chatcmpl", "completion": "cmpl"}
"""Prefix of the response's id."""

TRAIN_HEADER = "x-ttrl-train"
"""In a request: off keeps it out of the store; in a response: what became of the group."""

MOST_VOTES = 2**20
"""Most samples of a question. Sample i has the seed ``seed + i``, which must fit in 64 bits."""


def check_common(data: dict[str, Any], kind: Kind) -> None:
    """Raises RequestError for what is wrong in any request, voted on or passed through."""
    body.number(data, "temperature", 0, 2)
    body.number(data, "top_p", 0, 1, above=True)
    body.whole(data, "n", 1, 128)
    body.flag(data, "stream")
    body.flag(data, "store")
    for name in ("max_tokens", "max_completion_tokens"):
        body.whole(data, name, 1, 2**31)
    body.whole(data, "seed", -(2**63), 2**63 - 1 - MOST_VOTES)
    if not isinstance(data.get("chat_template_kwargs"), dict | None):
        raise body.wrong("chat_template_kwargs", "must be an object.", code="invalid_type")
    name = "messages" if kind == "chat" else "prompt"
    value = data.get(name)
    if kind == "chat":
        right = isinstance(value, list) and bool(value) and all(isinstance(m, dict) for m in value)
        wanted = "a non-empty array of message objects"
    else:
        right = isinstance(value, (str, list)) and bool(value)
        wanted = "a non-empty string or array"
    if not right:
        problem = "is missing" if value is None else "is not right"
        raise body.wrong(name, f"{problem}: it must be {wanted}.")


# ---------------------------------------------------------------- to vote or not to vote


def unvoted(data: dict[str, Any], kind: Kind, config: Config, asked: Extension) -> str | None:
    """Why a request is unvoted: a reason or the name of a field; None when it is voted on.

    auto votes on requests for one plain text answer whose temperature is not 0 (docs/design.md).
    """
    if config.vote.policy == "never" and asked.samples is None:
        return "policy"
    odd = _not_plain(data, kind)
    if odd and asked.samples is not None:
        message = f"ttrl.samples was given, but a request with {odd} cannot be voted on. "
        message += "Leave one of the two out."
        raise RequestError(message, param=odd, code="cannot_vote")
    if odd:
        return odd
    if asked.samples is not None or config.vote.policy != "auto":
        return None
    if data.get("temperature") == 0:
        return "temperature"
    # A front-end's own requests: Open WebUI marks them; others are known by their text.
    metadata = data.get("metadata")
    if isinstance(metadata, dict) and metadata.get("task"):
        return "housekeeping"
    text = spoken(data["messages"][-1].get("content")) if kind == "chat" else data["prompt"]
    return "housekeeping" if text is not None and housekeeping(text) else None


def _not_plain(data: dict[str, Any], kind: Kind) -> str | None:
    """The first field that asks for more than a plain text answer, if any."""
    for name, value in data.items():
        plain = _HARMLESS.get(name, ())
        if value is None or any(type(value) is type(p) and value == p for p in plain):
            continue
        if name == "n" or name not in READ_HERE | SAMPLING_FIELDS | TEMPLATE_FIELDS:
            return name
    if kind == "completion":
        # vLLM's /tokenize takes one text; ids and lists are passed through.
        return None if isinstance(data["prompt"], str) else "prompt"
    spoken_only = all(_is_text(message.get("content")) for message in data["messages"])
    return None if spoken_only else "messages"


def _is_text(content: Any) -> bool:
    """Whether the content is text only: samples are drawn from token ids, without pictures."""
    return not isinstance(content, list) or all(
        isinstance(p, dict) and p.get("type") == "text" for p in content
    )


def question(
    data: dict[str, Any],
    kind: Kind,
    config: Config,
    asked: Extension,
    headers: Mapping[str, str],
    tenant: str,
) -> Question:
    """The request as a Question. Raises RequestError for a header that is wrong."""
    may_train = headers.get(TRAIN_HEADER, "on").lower() not in ("off", "false", "0")
    data = {name: value for name, value in data.items() if value is not None}
    max_tokens = data.get("max_completion_tokens") or data.get("max_tokens")
    return Question(
        id=uuid.uuid4().hex,
        tenant=tenant,
        prompt=data["messages" if kind == "chat" else "prompt"],
        kind=kind,
        model=data.get("model") or config.name,
        version=asked.version,
        sampling=Sampling(
            temperature=float(data.get("temperature") or config.vote.temperature),
            max_tokens=max_tokens or config.vote.max_tokens,
            seed=data.get("seed"),
            extra={name: data[name] for name in SAMPLING_FIELDS & data.keys()},
        ),
        vote=VoteOptions(
            samples=asked.samples or config.vote.samples,
            train=may_train and False not in (asked.train, data.get("store")),
            stop=asked.stop or config.vote.stop,
            level=asked.level or config.vote.level,
            probe=config.vote.policy == "auto" and asked.samples is None,
        ),
        template={name: data[name] for name in TEMPLATE_FIELDS & data.keys()},
        deadline_s=deadline.of(headers, streaming=bool(data.get("stream"))),
        label=asked.label,
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


def usage(answer: Answer) -> dict[str, int]:
    """Tokens of the returned rollout; ``ttrl.sampled_tokens`` counts those of all samples."""
    prompt, answered = len(answer.group.prompt_token_ids), len(answer.chosen.token_ids)
    total = prompt + answered
    return {"prompt_tokens": prompt, "completion_tokens": answered, "total_tokens": total}


def response(q: Question, answer: Answer) -> dict[str, Any]:
    """OpenAI's ``chat.completion`` or ``text_completion``, with the ``ttrl`` object."""
    chosen = answer.chosen
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": finish(answer)}
    if q.kind == "chat":
        choice["message"] = {"role": "assistant", "content": chosen.text, "refusal": None}
    else:
        choice["text"] = chosen.text
    return head(q, "chat.completion" if q.kind == "chat" else "text_completion") | {
        # the id of the group: identical questions share one group
        "id": f"{PREFIX[q.kind]}-{answer.group.question_id}",
        "choices": [choice],
        "usage": usage(answer),
        "ttrl": evidence(answer),
    }


def head(q: Question, object: str) -> dict[str, Any]:
    """The first fields of every response and every chunk."""
    name, now = f"{PREFIX[q.kind]}-{q.id}", int(time.time())
    return {"id": name, "object": object, "created": now, "model": q.model}


def finish(answer: Answer) -> str:
    return "length" if answer.chosen.finish_reason == "length" else "stop"
