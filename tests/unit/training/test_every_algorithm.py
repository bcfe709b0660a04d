"""Algorithms with parts of their own, and the teacher, through the real step: what they train,
publish and remember."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import safetensors.torch
import torch

from tests.unit.training.tiny import engine_for, same, tiny_batch, tiny_config, tiny_policy
from ttrl_server.training import loop, publish, state
from ttrl_server.training.gateway import Gateway
from ttrl_server.training.memory import Room
from ttrl_server.training.policy import is_served
from ttrl_server.training.ranks import Ranks
from ttrl_server.training.step import train_step

pytestmark = pytest.mark.usefixtures("ranks")
WITH_PARTS_OF_THEIR_OWN = ("ppo", "prime")


@pytest.mark.parametrize("algorithm", WITH_PARTS_OF_THEIR_OWN)
@pytest.mark.parametrize("micro_batch_tokens", [4096, 16])
def test_a_part_of_its_own_is_trained_and_kept_but_never_published(
    algorithm: str, micro_batch_tokens: int, tmp_path: Path
) -> None:
    cfg = tiny_config(algorithm=algorithm, micro_batch_tokens=micro_batch_tokens)
    engine = engine_for(cfg)
    before = state.capture(engine).weights
    one, two = tiny_batch(tiny_policy(tiny_config())), tiny_batch(tiny_policy(tiny_config()), 10)
    assert train_step(engine, one, cfg.train)["updated"] == 1
    trained = state.capture(engine)
    own = {name for name in trained.weights if not is_served(name)}
    moved = {name for name in before if (trained.weights[name] != before[name]).any()}
    assert moved & own
    assert moved - own
    state.save(trained, tmp_path)
    published = safetensors.torch.load_file(tmp_path / "adapter_model.safetensors")
    assert published.keys() == state.initial(tiny_policy(tiny_config())).weights.keys()
    resumed = engine_for(cfg)
    state.restore(resumed, state.load(tmp_path))
    train_step(engine, two, cfg.train)
    train_step(resumed, two, cfg.train)
    assert same(state.capture(engine), state.capture(resumed))


def test_primes_step_does_not_depend_on_how_a_group_is_cut() -> None:
    batch = tiny_batch(tiny_policy(tiny_config()))
    losses = []
    for tokens in (4096, 16):
        cfg = tiny_config(algorithm="prime", micro_batch_tokens=tokens)
        losses.append(train_step(engine_for(cfg), batch, cfg.train)["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize("algorithm", WITH_PARTS_OF_THEIR_OWN)
def test_a_run_may_go_on_with_another_algorithm(algorithm: str, tmp_path: Path) -> None:
    plain = tiny_config()
    grpo = engine_for(plain)
    train_step(grpo, tiny_batch(None), plain.train)
    state.save(state.capture(grpo), tmp_path)
    cfg = tiny_config(algorithm=algorithm)
    policy = tiny_policy(cfg)
    other = engine_for(cfg)
    state.restore(other, state.completed(state.load(tmp_path), state.initial(policy)))
    assert train_step(other, tiny_batch(None), cfg.train)["updated"] == 1
    state.save(state.capture(other), tmp_path)
    state.restore(grpo, state.completed(state.load(tmp_path), state.initial(tiny_policy(plain))))
    assert train_step(grpo, tiny_batch(None), plain.train)["updated"] == 1


def test_the_teacher_is_the_running_average_and_the_student_goes_on(tmp_path: Path) -> None:
    cfg = tiny_config()
    engine = engine_for(cfg)
    start = state.capture(engine)
    train_step(engine, tiny_batch(None), cfg.train)
    taught = state.averaged(state.capture(engine), start, 0.75)
    for name, value in taught.served.items():
        assert torch.allclose(value, 0.75 * start.weights[name] + 0.25 * taught.weights[name])
    state.save(taught, tmp_path)
    back = state.load(tmp_path)
    assert same(back, taught)
    assert back.teacher is not None
    assert all(torch.equal(back.served[name], value) for name, value in taught.served.items())
    student = replace(back, weights={name: value + 0.1 for name, value in back.weights.items()})
    again = state.averaged(student, back, 0.75)
    assert any((again.served[name] != back.served[name]).any() for name in back.served)


def test_the_probe_is_of_the_teacher_that_is_served_and_the_student_is_back_afterwards(
    ranks: Ranks,
) -> None:
    cfg = tiny_config(teacher_decay=0.5)
    engine, start, batch = engine_for(cfg), state.initial(tiny_policy(cfg)), tiny_batch(None)
    room = Room.of(engine.module.policy.get_base_model(), cfg.train)
    learner = loop.Learner(cfg, cast(Gateway, None), ranks, engine, start, room, start)
    train_step(engine, batch, cfg.train, room)
    student = state.capture(engine)
    trained, known, distance = loop._result(learner, batch)
    assert same(state.capture(engine), student)
    taught = engine_for(cfg)
    state.write_weights(taught, trained.served)
    assert publish.probe(taught, batch) == known
    assert publish.probe(engine, batch) != known
    assert publish.kl_to_base(taught, batch) == distance
