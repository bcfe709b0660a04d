"""Turns a request into a Question, or says why it is unvoted; turns an Answer into a response."""

from __future__ import annotations

import time
from typing import Any, Literal

from ttrl_server.answering.pipeline import Answer
from ttrl_server.answers.kinds import housekeeping
from ttrl_server.api import body
from ttrl_server.api.extension import Extension, resolve_model
from ttrl_server.errors import RequestError
from ttrl_server.learning.reasons import words
from ttrl_server.settings.config import Config
from ttrl_server.types import Question, Sampling, VoteOptions, spoken
from ttrl_server.voting import signals

Kind = Literal["chat", "completion"]

SAMPLING_FIELDS = frozenset(
    {
        "top_p",
        "top_k",
        "min_p",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
        "logit_bias",
    }
    | {"stop", "stop_token_ids", "min_tokens", "ignore_eos", "bad_words", "allowed_token_ids"}
)
"""Fields that are sent to the engine with every sample."""

TEMPLATE_FIELDS = frozenset(
    {
        "chat_template_kwargs",
        "continue_final_message",
        "add_generation_prompt",
        "add_special_tokens",
    }
)

READ_HERE = frozenset(
    {
        "model",
        "messages",
        "prompt",
        "stream",
        "stream_options",
        "temperature",
        "max_tokens",
        "max_completion_tokens",
    }
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
        name = "chat_template_kwargs"
        raise RequestError(f"{name} must be an object.", param=name, code="invalid_type")
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
        wrong = f"{name} {problem}: it must be {wanted}."
        raise RequestError(wrong, param=name, code="invalid_value")


# ---------------------------------------------------------------- to vote or not to vote


def unvoted(data: dict[str, Any], kind: Kind, config: Config, asked: Extension) -> str | None:
    """Why a request is unvoted: a reason or the name of a field; None when it is voted on.

    auto votes on requests for one plain text answer whose temperature is not 0 (docs/design.md).
    """
    if config.vote.policy == "never" and asked.samples is None:
        return "policy"
    odd = _not_plain(data, kind)
    if odd and asked.samples is not None:
        raise RequestError(
            f"ttrl.samples was given, but a request with {odd} cannot be voted on. Leave one of "
            "the two out.",
            param=odd,
            code="cannot_vote",
        )
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
        if value is None or any(
            type(value) is type(plain) and value == plain for plain in _HARMLESS.get(name, ())
        ):
            continue
        if name == "n" or name not in READ_HERE | SAMPLING_FIELDS | TEMPLATE_FIELDS:
            return name
    if kind == "completion":
        # vLLM's /tokenize takes one text; ids and lists are passed through.
        return None if isinstance(data["prompt"], str) else "prompt"
    return (
        None
        if all(_is_text(message.get("content")) for message in data["messages"])
        else "messages"
    )


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
    *,
    id: str,
    tenant: str,
    may_train: bool,
    deadline_s: float | None = None,
) -> Question:
    """The request as a Question. ``may_train``: False when a header forbids to store it."""
    version = resolve_model(data, config)
    temperature = data.get("temperature")
    extra = {name: data[name] for name in SAMPLING_FIELDS & data.keys() if data[name] is not None}
    template = {
        name: data[name] for name in TEMPLATE_FIELDS & data.keys() if data[name] is not None
    }
    if kind == "chat" and config.chat_template_kwargs:
        template["chat_template_kwargs"] = config.chat_template_kwargs | template.get(
            "chat_template_kwargs", {}
        )
    return Question(
        id=id,
        tenant=tenant,
        prompt=data["messages" if kind == "chat" else "prompt"],
        kind=kind,
        model=data.get("model") or config.name,
        version=asked.version if asked.version is not None else version,
        sampling=Sampling(
            temperature=float(temperature) if temperature else config.vote.temperature,
            max_tokens=data.get("max_completion_tokens")
            or data.get("max_tokens")
            or config.vote.max_tokens,
            seed=data.get("seed"),
            extra=extra,
        ),
        vote=VoteOptions(
            samples=asked.samples or config.vote.samples,
            train=may_train and asked.train is not False and data.get("store") is not False,
            stop=asked.stop or config.vote.stop,
            level=asked.level or config.vote.level,
            probe=config.vote.policy == "auto" and asked.samples is None,
        ),
        template=template,
        deadline_s=deadline_s,
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
    prompt, completion = len(answer.group.prompt_token_ids), len(answer.chosen.token_ids)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


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
    return {
        "id": f"{PREFIX[q.kind]}-{q.id}",
        "object": object,
        "created": int(time.time()),
        "model": q.model,
    }


def finish(answer: Answer) -> str:
    return "length" if answer.chosen.finish_reason == "length" else "stop"
