"""A random Llama of two layers, and batches for it, small enough to check every number."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from deepspeed.utils import safe_get_full_grad
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM

from ttrl_server.settings.config import Config
from ttrl_server.training import state, step
from ttrl_server.training.batch import plan
from ttrl_server.training.memory import Room
from ttrl_server.training.policy import trained_parameters, with_adapter
from ttrl_server.training.reference import naive_logprobs, reference_loss
from ttrl_server.training.state import Engine, TrainerState
from ttrl_server.training.step import build_engine
from ttrl_server.types import Admission, Batch, Experience, Group, Rollout, Vote

VOCABULARY, TEMPERATURE = 128, 0.6
LENGTHS = ((5, (1, 2, 3, 7)), (9, (4, 4, 1)), (3, (6, 2, 5, 1, 3)))
"""(prompt tokens, completion tokens of each rollout) of three questions."""


def tiny_config(model: str = "tiny", **train: Any) -> Config:
    small = {"rank": 8, "alpha": 16, "learning_rate": 1e-2, "kl": 0.05, "samples": 2}
    settings = small | {"cpu_threads": 1} | train
    return Config.model_validate({"model": model, "hardware": "cpu", "train": settings})


def tiny_base() -> LlamaForCausalLM:
    torch.manual_seed(1)
    shape = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    base = LlamaForCausalLM._from_config(shape, attn_implementation="sdpa")
    for parameter in base.parameters():
        parameter.data *= 3  # Distributions that are far from flat.
    return base


def tiny_policy(cfg: Config) -> PeftModel:
    """An adapter that already changes something: with B at zero no gradient would reach A."""
    policy = with_adapter(tiny_base(), cfg)
    for name, parameter in trained_parameters(policy).items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return policy


def engine_for(cfg: Config) -> Engine:
    policy = tiny_policy(cfg)
    start = state.initial(policy)
    engine = build_engine(policy, cfg)
    state.restore(engine, start)
    return engine


def same(a: TrainerState, b: TrainerState) -> bool:
    tensors = [(a.weights, b.weights), *((a.moments[key], b.moments[key]) for key in state.MOMENTS)]
    return a.step == b.step and all(torch.equal(x[name], y[name]) for x, y in tensors for name in x)


def experience(
    policy: PeftModel | None,
    prompt_tokens: int,
    lengths: Sequence[int],
    rewards: Sequence[float],
    *,
    seed: int = 0,
) -> Experience:
    """A group of random tokens; π_old is a little off the policy's own log-probabilities (or −1
    without a policy)."""
    generator = torch.Generator().manual_seed(seed)
    prompt = tuple(torch.randint(VOCABULARY, (prompt_tokens,), generator=generator).tolist())
    rollouts = []
    for index, length in enumerate(lengths):
        tokens = tuple(torch.randint(VOCABULARY, (length,), generator=generator).tolist())
        old = torch.full((length,), -1.0)
        if policy is not None:
            with torch.no_grad():
                old = naive_logprobs(policy, prompt, tokens, TEMPERATURE)
            old = old + 0.3 * torch.randn(length, generator=generator)
        rollouts.append(Rollout(index, tokens, tuple(old.tolist()), "", "stop"))
    vote = Vote((None,) * len(lengths), (), None, None, None, 0, "full")
    group = Group(f"q{seed}", prompt, tuple(rollouts), 0, TEMPERATURE)
    return Experience(f"e{seed}", "t", group, vote, tuple(rewards), Admission(True, "ok"))


def drawn_batch(seed: int) -> Batch:
    """One to three groups of random sizes and lengths, groups of one and completions of one
    token among them."""
    draw = random.Random(seed)
    groups = []
    for place in range(draw.randint(1, 3)):
        lengths = [draw.choice((1, 1, 2, 5, 9)) for _ in range(draw.choice((1, 2, 3, 7)))]
        rewards = [float(draw.random() < 0.5) for _ in lengths]
        rewards[0] = 1 - rewards[-1] if len(rewards) > 1 else rewards[0]
        prompt = draw.randint(1, 12)
        groups.append(experience(None, prompt, lengths, rewards, seed=100 * seed + place))
    return batch_of(*groups)


def gradient(engine: Engine, batch: Batch, cfg: Config) -> torch.Tensor:
    """What the passes of a step leave behind, before clipping, as one vector; the engine is as
    it was afterwards."""
    room = Room.of(engine.module.policy.get_base_model(), cfg.train)
    todo, _ = step._passes(engine, batch, cfg.train, room)
    if not todo.tokens:
        return torch.zeros(1)
    trained = trained_parameters(engine.module).values()
    found = torch.cat([safe_get_full_grad(p).flatten() for p in trained])
    step._discard(engine)
    return found


def reference_gradient(policy: PeftModel, batch: Batch, cfg: Config) -> torch.Tensor:
    """The same from the readable step."""
    if not plan(batch, cfg.train, 1).tokens:
        return torch.zeros(1)
    return slope(policy, reference_loss(policy, batch, cfg.train))


def slope(policy: PeftModel, loss: torch.Tensor) -> torch.Tensor:
    """The loss's gradient by the adapter, as one vector."""
    gradients = torch.autograd.grad(loss, list(trained_parameters(policy).values()))
    return torch.cat([gradient.flatten() for gradient in gradients])


def batch_of(*experiences: Experience) -> Batch:
    return Batch("b1", 1, None, experiences, 60.0)


def tiny_batch(policy: PeftModel | None, first_seed: int = 0) -> Batch:
    """Three groups that disagree."""
    groups = []
    for seed, (prompt, lengths) in enumerate(LENGTHS, start=first_seed):
        rewards = [float(i % 2) for i in range(len(lengths))]
        groups.append(experience(policy, prompt, lengths, rewards, seed=seed))
    return batch_of(*groups)
