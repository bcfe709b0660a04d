"""What goes into the store comes out of it, bit by bit."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.store.build import experience
from ttrl_server.store import codec
from ttrl_server.types import Cluster, Experience, Group, Rollout, Vote


def some(elements: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[Any]:
    return st.lists(elements, max_size=most).map(tuple)


IDS = some(st.integers(0, 2**32 - 1), 20)
WILD_TEXT = st.text(st.characters(), max_size=20)  # NUL and lone surrogates included
SHARE = st.none() | st.floats(0, 1)

# What is not named here is drawn from the fields' types.
ROLLOUTS = st.builds(
    Rollout, token_ids=IDS, logprobs=some(st.floats(width=32, allow_nan=False), 20), text=WILD_TEXT
)
VOTES = st.builds(
    Vote,
    answers=some(st.none() | WILD_TEXT, 5),
    clusters=some(st.builds(Cluster, answer=WILD_TEXT), 3),
    pseudo_label=st.none() | WILD_TEXT,
    majority_ratio=SHARE,
    margin=SHARE,
)
GROUPS = st.builds(
    Group,
    prompt_token_ids=IDS,
    rollouts=some(ROLLOUTS, 4),
    temperature=st.floats(0.1, 2),
    asked=st.dictionaries(WILD_TEXT, WILD_TEXT, max_size=2),
    bent=st.dictionaries(WILD_TEXT, st.floats(0, 2) | WILD_TEXT, max_size=3),
)
EXPERIENCES = st.builds(Experience, group=GROUPS, vote=VOTES, rewards=some(st.floats(-1, 1), 4))


@given(EXPERIENCES)
def test_an_experience_survives_being_written_as_rows(given_experience: Experience) -> None:
    state = "pending" if given_experience.admission.admitted else "kept"
    row = codec.experience_row(given_experience) | {"state": state}
    rollouts = [codec.rollout_row(rollout) for rollout in given_experience.group.rollouts]
    assert codec.experience_of(row, rollouts) == given_experience


def test_numbers_are_packed_little_endian_in_four_bytes() -> None:
    assert codec.pack(codec.IDS, (1, 258)) == b"\x01\0\0\0\x02\x01\0\0"
    assert codec.pack(codec.LOGPROBS, (-0.5,)) == struct.pack("<f", -0.5)


def test_a_logprob_is_rounded_to_the_nearest_32_bit_float() -> None:
    (rounded,) = codec.unpack(codec.LOGPROBS, codec.pack(codec.LOGPROBS, (-0.1,)))
    assert rounded == pytest.approx(-0.1, rel=2**-24)


@pytest.mark.parametrize("wrong", [-1, 2**32])
def test_an_id_that_no_tokenizer_has_is_refused(wrong: int) -> None:
    with pytest.raises(OverflowError):
        codec.pack(codec.IDS, (wrong,))


def test_a_vote_is_plain_ascii_json() -> None:
    assert codec.pack_vote(experience().vote, bent={"stop": ["é"]}).isascii()
