"""How much one pass may take, and what happens when it was too much."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from tests.unit.training.tiny import engine_for, same, tiny_base, tiny_batch, tiny_config
from ttrl_server.training import state
from ttrl_server.training.batch import plan
from ttrl_server.training.memory import OutOfMemory, Room
from ttrl_server.training.step import train_step

pytestmark = pytest.mark.usefixtures("ranks")


def room(**settings: Any) -> Room:
    return Room.of(tiny_base(), tiny_config(**settings).train)


def test_a_pass_takes_what_fits_and_never_more_than_it_is_told() -> None:
    assert room(micro_batch_tokens=100, memory_gib=1).tokens == 100
    small = room(micro_batch_tokens=10**9, memory_gib=0.001)
    assert 1 < small.tokens < 1000
    assert small.tokens == int(0.001 * 2**30 / small.bytes_token)


def test_a_pass_is_checkpointed_only_where_the_estimate_asks_for_it() -> None:
    ((micro, *_),) = plan(tiny_batch(None), tiny_config().train, 1).ranks
    assert not room(memory_gib=1).checkpointed(micro)
    assert room(memory_gib=1e-6).checkpointed(micro)
    assert room(gradient_checkpointing="on").checkpointed(micro)
    assert not room(memory_gib=1e-6, gradient_checkpointing="off").checkpointed(micro)


def test_halving_ends_at_one_token() -> None:
    one = room(micro_batch_tokens=5, memory_gib=1)
    one.halve()
    assert one.tokens == 2
    one.halve()
    with pytest.raises(OutOfMemory, match=r"train\.rank"):
        one.halve()


@pytest.mark.parametrize("zero_stage", [0, 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("where", "place"), [("forward", 2), ("backward", 2), ("backward", -1)])
def test_a_step_that_runs_out_of_memory_is_taken_in_smaller_pieces(
    zero_stage: int, where: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = tiny_config(zero_stage=zero_stage, micro_batch_tokens=16)
    batch = tiny_batch(None)
    engine, spared = engine_for(cfg), engine_for(cfg)
    passes = itertools.count()
    first = len(plan(batch, cfg.train, 1).ranks[0])

    def once(*_: Any) -> None:
        if next(passes) == place % first:
            raise torch.OutOfMemoryError("CUDA out of memory")

    if where == "forward":
        engine.module.register_forward_pre_hook(once)
    else:
        whole = engine.backward

        def broken(loss: Any) -> None:
            whole(loss)
            once()

        monkeypatch.setattr(engine, "backward", broken)
    tight = room(micro_batch_tokens=16, memory_gib=1)
    metrics = train_step(engine, batch, cfg.train, tight)
    assert metrics["updated"] == 1
    assert tight.tokens == 8
    train_step(spared, batch, cfg.train, room(micro_batch_tokens=8, memory_gib=1))
    assert same(state.capture(engine), state.capture(spared))
