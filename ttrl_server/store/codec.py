"""Converts experiences to rows of the store, and back.

Token ids are 32-bit unsigned, log-probabilities 32-bit floats (as in the engine), rewards 64-bit
floats; all little endian, without gaps. A model's text is UTF-8 bytes: a model may write characters
(NUL, lone surrogates) that a text column refuses. The vote is ASCII JSON.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ttrl_server.types import Admission, Experience, Group, Rollout, Vote

Row = Mapping[str, Any]

IDS, LOGPROBS, REWARDS = "I", "f", "d"
"""The kinds of numbers, as ``array`` names them."""


def pack(kind: str, numbers: Sequence[float]) -> bytes:
    """Raises OverflowError for an id outside 0 … 2³²−1."""
    return _little_endian(array(kind, numbers)).tobytes()


def unpack(kind: str, data: bytes) -> tuple[Any, ...]:
    return tuple(_little_endian(array(kind, data)))


def pack_vote(vote: Vote, **of_group: Mapping[str, Any]) -> str:
    """The vote, and beside it what else is known of its group, if anything is."""
    beside = {name: value for name, value in of_group.items() if value}
    return json.dumps(msgspec.to_builtins(vote) | beside, separators=(",", ":"))


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
        "prompt_token_ids": pack(IDS, group.prompt_token_ids),
        "vote": pack_vote(experience.vote, bent=group.bent, asked=group.asked),
        "rewards": pack(REWARDS, experience.rewards),
    }


def rollout_row(rollout: Rollout) -> dict[str, Any]:
    return {
        "index": rollout.index,
        "token_ids": pack(IDS, rollout.token_ids),
        "logprobs": pack(LOGPROBS, rollout.logprobs),
        "text": rollout.text.encode("utf-8", "surrogatepass"),
        "finish_reason": rollout.finish_reason,
    }


def experience_of(row: Row, rollout_rows: Sequence[Row]) -> Experience:
    """The experience of a row; its rollouts are in the order of ``rollout_rows``."""
    voted = json.loads(row["vote"])
    group = Group(
        question_id=row["question_id"],
        prompt_token_ids=unpack(IDS, row["prompt_token_ids"]),
        rollouts=tuple(map(_rollout, rollout_rows)),
        version=row["version"],
        temperature=row["temperature"],
        bent=voted.get("bent", {}),
        asked=voted.get("asked", {}),
    )
    return Experience(
        id=row["id"],
        tenant=row["tenant"],
        group=group,
        vote=msgspec.convert(voted, Vote),
        rewards=unpack(REWARDS, row["rewards"]),
        admission=Admission(admitted=row["state"] != "kept", reason=row["reason"]),
    )


def _rollout(row: Row) -> Rollout:
    return Rollout(
        index=row["index"],
        token_ids=unpack(IDS, row["token_ids"]),
        logprobs=unpack(LOGPROBS, row["logprobs"]),
        text=row["text"].decode("utf-8", "surrogatepass"),
        finish_reason=row["finish_reason"],
    )


def _little_endian(numbers: array[Any]) -> array[Any]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
