from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel

from tests.unit.training.tiny import (
    batch_of,
    drawn_batch,
    engine_for,
    experience,
    gradient,
    reference_gradient,
    same,
    tiny_batch,
    tiny_config,
    tiny_policy,
)
from ttrl_server.errors import ConfigError
from ttrl_server.settings.config import Config
from ttrl_server.training import state
from ttrl_server.training.algorithms import ALGORITHMS
from ttrl_server.training.policy import trained_parameters
from ttrl_server.training.ranks import Ranks
from ttrl_server.training.reference import reference_step
from ttrl_server.training.state import Engine
from ttrl_server.training.step import build_engine, learning_rate, train_step
from ttrl_server.types import Batch

pytestmark = pytest.mark.usefixtures("ranks")


def off_the_reference(cfg: Config, *seeds: int) -> torch.Tensor:
    """How far our weights are from the readable step's after a step on each batch, in learning
    rates. The losses must agree."""
    policy, engine, rate = tiny_policy(cfg), engine_for(cfg), cfg.train.learning_rate
    trained = trained_parameters(policy)
    adam = torch.optim.AdamW(trained.values(), lr=rate, weight_decay=cfg.train.weight_decay)
    for seed in seeds:
        batch = tiny_batch(policy, seed)
        loss = reference_step(policy, adam, batch, cfg.train)
        assert train_step(engine, batch, cfg.train)["loss"] == pytest.approx(loss, abs=1e-5)
    got = state.capture(engine).weights
    gaps = [(got[name] - parameter.detach()).flatten() for name, parameter in trained.items()]
    return torch.cat(gaps).abs() / rate


@pytest.mark.parametrize("micro_batch_tokens", [4096, 16])
def test_a_step_is_the_reference_step(micro_batch_tokens: int) -> None:
    cfg = tiny_config(micro_batch_tokens=micro_batch_tokens)
    assert off_the_reference(cfg, 0, 10).max() < 0.01


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS.keys() - {"ppo", "prime"}))
@pytest.mark.parametrize("aggregate", ["auto", "constant"])
def test_a_step_of_any_algorithm_is_the_reference_step(algorithm: str, aggregate: str) -> None:
    cfg = tiny_config(algorithm=algorithm, aggregate=aggregate, micro_batch_tokens=16)
    # AdamW's first step has the rate's size where a gradient is all but zero, whatever its sign.
    assert (off_the_reference(cfg, 0) > 0.01).double().mean() <= 0.002


@pytest.fixture(scope="module")
def engine_of_all(ranks: Ranks) -> Engine:
    return engine_for(tiny_config())


@pytest.fixture(scope="module")
def policy_of_all() -> PeftModel:
    return tiny_policy(tiny_config())


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    tokens=st.sampled_from([8, 24, 4096]),
    kl=st.sampled_from([0.0, 0.05]),
)
def test_the_gradient_is_the_references_for_any_lengths_prompts_and_cuts(
    engine_of_all: Engine, policy_of_all: PeftModel, seed: int, tokens: int, kl: float
) -> None:
    cfg = tiny_config(micro_batch_tokens=tokens, kl=kl)
    batch = drawn_batch(seed)
    fast = gradient(engine_of_all, batch, cfg)
    plain = reference_gradient(policy_of_all, batch, cfg)
    if not plain.any():
        assert not fast.any()
        return
    assert torch.cosine_similarity(fast.double(), plain.double(), dim=0) >= 0.99999
    assert (fast.norm() / plain.norm()).item() == pytest.approx(1, abs=1e-4)


def test_a_step_reports_what_it_did() -> None:
    cfg = tiny_config()
    metrics = train_step(engine_for(cfg), tiny_batch(tiny_policy(cfg)), cfg.train)
    counted = ("updated", "groups", "groups_skipped", "tokens")
    assert [metrics[name] for name in counted] == [1, 3, 0, 39]
    assert min(metrics["kl"], metrics["entropy"], metrics["grad_norm"]) > 0
    assert 0.8 < metrics["ratio"] < 1.3
    assert metrics["lr"] == cfg.train.learning_rate


def test_groups_without_an_advantage_never_reach_the_model() -> None:
    cfg = tiny_config()
    engine = engine_for(cfg)
    calls: list[Any] = []
    engine.module.register_forward_pre_hook(lambda module, args: calls.append(args))
    before = state.capture(engine)
    metrics = train_step(engine, batch_of(experience(None, 4, (2, 3), (1, 1))), cfg.train)
    assert calls == []
    assert (metrics["updated"], metrics["groups"], metrics["groups_skipped"]) == (0, 0, 1)
    assert same(state.capture(engine), before)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_step_that_is_not_finite_changes_nothing_and_the_next_one_is_clean(stage: int) -> None:
    cfg = tiny_config(zero_stage=stage)
    good = tiny_batch(tiny_policy(cfg))
    clean, engine = engine_for(cfg), engine_for(cfg)
    before = state.capture(engine)
    metrics = train_step(engine, poisoned(good), cfg.train)
    assert (metrics["updated"], metrics["groups"], "loss" in metrics) == (0, 3, False)
    assert same(state.capture(engine), before)
    train_step(engine, good, cfg.train)
    train_step(clean, good, cfg.train)
    assert same(state.capture(engine), state.capture(clean))


def poisoned(batch: Batch) -> Batch:
    first, *others = batch.experiences
    rollout, *rest = first.group.rollouts
    nan = replace(rollout, logprobs=(float("nan"),) * len(rollout.logprobs))
    group = replace(first.group, rollouts=(nan, *rest))
    return replace(batch, experiences=(replace(first, group=group), *others))


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_a_resumed_run_goes_on_exactly(zero_stage: int, tmp_path: Path) -> None:
    cfg = tiny_config(zero_stage=zero_stage, warmup_steps=3)
    one, two = tiny_batch(tiny_policy(cfg)), tiny_batch(tiny_policy(cfg), 10)
    straight, first, second = engine_for(cfg), engine_for(cfg), engine_for(cfg)
    train_step(straight, one, cfg.train)
    train_step(straight, two, cfg.train)
    train_step(first, one, cfg.train)
    state.save(state.capture(first), tmp_path)
    state.restore(second, state.load(tmp_path))
    metrics = train_step(second, two, cfg.train)
    assert metrics["lr"] == pytest.approx(cfg.train.learning_rate * 2 / 3)
    assert same(state.capture(straight), state.capture(second))


def test_going_back_to_the_start_undoes_a_step() -> None:
    cfg = tiny_config()
    engine, start = engine_for(cfg), state.initial(tiny_policy(cfg))
    train_step(engine, tiny_batch(tiny_policy(cfg)), cfg.train)
    state.restore(engine, start)
    assert same(state.capture(engine), start)


def test_an_adapter_of_another_rank_is_refused_with_its_name() -> None:
    engine = engine_for(tiny_config())
    with pytest.raises(ConfigError, match=r"lora_A.*train.rank"):
        state.restore(engine, state.initial(tiny_policy(tiny_config(rank=16))))


def test_a_bfloat16_base_keeps_a_float32_adapter() -> None:
    cfg = tiny_config(dtype="bfloat16")
    policy = tiny_policy(cfg)
    for parameter in policy.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    engine = build_engine(policy, cfg)
    state.restore(engine, state.initial(policy))
    assert train_step(engine, tiny_batch(None), cfg.train)["updated"] == 1
    assert {w.dtype for w in state.capture(engine).weights.values()} == {torch.float32}


def test_the_learning_rate_warms_up_then_stays_or_falls_to_zero() -> None:
    flat = tiny_config(learning_rate=1.0, warmup_steps=2).train
    assert [learning_rate(step, flat) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]
    cosine = tiny_config(learning_rate=1.0, warmup_steps=2, schedule="cosine", total_steps=6).train
    rates = [learning_rate(step, cosine) for step in range(8)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447, 0.0, 0.0], abs=1e-6)


def test_ranks_share_the_first_ranks_value(ranks: Ranks) -> None:
    assert ranks.leads
    assert ranks.share({"a": 1}) == {"a": 1}
