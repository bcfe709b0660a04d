"""What goes into the store comes out of it, bit by bit."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.store.build import experience
from ttrl_server.store import codec
from ttrl_server.types import Admission, Cluster, Experience, Group, Rollout, Vote

IDS = st.lists(st.integers(0, 2**32 - 1), max_size=20).map(tuple)
FLOATS = st.floats(width=32, allow_nan=False)
WILD_TEXT = st.text(st.characters(), max_size=20)  # NUL and lone surrogates included

ROLLOUTS = st.builds(
    Rollout,
    index=st.integers(0, 1000),
    token_ids=IDS,
    logprobs=st.lists(FLOATS, max_size=20).map(tuple),
    text=WILD_TEXT,
    finish_reason=st.sampled_from(["stop", "length", "abort"]),
)
VOTES = st.builds(
    Vote,
    answers=st.lists(st.none() | WILD_TEXT, max_size=5).map(tuple),
    clusters=st.lists(
        st.builds(
            Cluster, answer=WILD_TEXT, members=st.lists(st.integers(0, 9), max_size=3).map(tuple)
        ),
        max_size=3,
    ).map(tuple),
    pseudo_label=st.none() | WILD_TEXT,
    majority_ratio=st.none() | st.floats(0, 1),
    margin=st.none() | st.floats(0, 1),
    chosen=st.integers(0, 63),
    stopped=st.just("full"),
)
EXPERIENCES = st.builds(
    Experience,
    id=st.uuids().map(str),
    tenant=st.just("tenant"),
    group=st.builds(
        Group,
        question_id=st.uuids().map(str),
        prompt_token_ids=IDS,
        rollouts=st.lists(ROLLOUTS, max_size=4).map(tuple),
        version=st.integers(0, 10**6),
        temperature=st.floats(0.1, 2),
    ),
    vote=VOTES,
    rewards=st.lists(st.floats(-1, 1), max_size=4).map(tuple),
    admission=st.builds(
        Admission, admitted=st.booleans(), reason=st.sampled_from(["admitted", "unanimous"])
    ),
)


@given(EXPERIENCES)
def test_an_experience_survives_being_written_as_rows(given_experience: Experience) -> None:
    state = "pending" if given_experience.admission.admitted else "kept"
    row = codec.experience_row(given_experience) | {"state": state}
    rollouts = [codec.rollout_row(rollout) for rollout in given_experience.group.rollouts]
    assert codec.experience_of(row, rollouts) == given_experience


def test_numbers_are_packed_little_endian_in_four_bytes() -> None:
    assert codec.pack_ids((1, 258)) == b"\x01\0\0\0\x02\x01\0\0"
    assert codec.pack_logprobs((-0.5,)) == struct.pack("<f", -0.5)


def test_a_logprob_is_rounded_to_the_nearest_32_bit_float() -> None:
    (rounded,) = codec.unpack_logprobs(codec.pack_logprobs((-0.1,)))
    assert rounded == pytest.approx(-0.1, rel=2**-24)


@pytest.mark.parametrize("wrong", [-1, 2**32])
def test_an_id_that_no_tokenizer_has_is_refused(wrong: int) -> None:
    with pytest.raises(OverflowError):
        codec.pack_ids((wrong,))


def test_a_vote_is_plain_ascii_json() -> None:
    assert codec.pack_vote(experience().vote).isascii()
