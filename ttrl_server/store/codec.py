"""Converts experiences to rows of the store, and back.

Token ids are 32-bit unsigned, log-probabilities 32-bit floats (as in the engine), rewards 64-bit
floats; all little endian, without gaps. A model's text is UTF-8 bytes: a model may write characters
(NUL, lone surrogates) that a text column refuses. The vote is ASCII JSON.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ttrl_server.types import Admission, Experience, Group, Rollout, Vote

Row = Mapping[str, Any]


def pack_ids(ids: Iterable[int]) -> bytes:
    """Raises OverflowError for an id outside 0 … 2³²−1."""
    return _little_endian(array("I", ids)).tobytes()


def unpack_ids(data: bytes) -> tuple[int, ...]:
    return tuple(_little_endian(array("I", data)))


def pack_logprobs(logprobs: Iterable[float]) -> bytes:
    return _little_endian(array("f", logprobs)).tobytes()


def unpack_logprobs(data: bytes) -> tuple[float, ...]:
    return tuple(_little_endian(array("f", data)))


def pack_rewards(rewards: Iterable[float]) -> bytes:
    return _little_endian(array("d", rewards)).tobytes()


def unpack_rewards(data: bytes) -> tuple[float, ...]:
    return tuple(_little_endian(array("d", data)))


def pack_vote(vote: Vote) -> str:
    return json.dumps(msgspec.to_builtins(vote), separators=(",", ":"))


def unpack_vote(text: str) -> Vote:
    return msgspec.convert(json.loads(text), Vote)


def experience_row(experience: Experience) -> dict[str, Any]:
    """The experience without its rollouts."""
    group = experience.group
    return {
        "id": experience.id,
        "tenant": experience.tenant,
        "reason": experience.admission.reason,
        "question_id": group.question_id,
        "version": group.version,
        "temperature": group.temperature,
        "prompt_token_ids": pack_ids(group.prompt_token_ids),
        "vote": pack_vote(experience.vote),
        "rewards": pack_rewards(experience.rewards),
    }


def rollout_row(rollout: Rollout) -> dict[str, Any]:
    return {
        "index": rollout.index,
        "token_ids": pack_ids(rollout.token_ids),
        "logprobs": pack_logprobs(rollout.logprobs),
        "text": rollout.text.encode("utf-8", "surrogatepass"),
        "finish_reason": rollout.finish_reason,
    }


def experience_of(row: Row, rollout_rows: Sequence[Row]) -> Experience:
    """The experience of a row; its rollouts are in the order of ``rollout_rows``."""
    group = Group(
        question_id=row["question_id"],
        prompt_token_ids=unpack_ids(row["prompt_token_ids"]),
        rollouts=tuple(rollout_of(rollout) for rollout in rollout_rows),
        version=row["version"],
        temperature=row["temperature"],
    )
    return Experience(
        id=row["id"],
        tenant=row["tenant"],
        group=group,
        vote=unpack_vote(row["vote"]),
        rewards=unpack_rewards(row["rewards"]),
        admission=Admission(admitted=row["state"] != "kept", reason=row["reason"]),
    )


def rollout_of(row: Row) -> Rollout:
    return Rollout(
        index=row["index"],
        token_ids=unpack_ids(row["token_ids"]),
        logprobs=unpack_logprobs(row["logprobs"]),
        text=row["text"].decode("utf-8", "surrogatepass"),
        finish_reason=row["finish_reason"],
    )


def _little_endian(numbers: array[Any]) -> array[Any]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
