"""One optimiser step with DeepSpeed: the same update for any number of ranks and ZeRO stage."""

from __future__ import annotations

import math
import time

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.utils import safe_get_full_grad, safe_set_full_grad
from peft import PeftModel

from ttrl_server.settings.config import Config
from ttrl_server.settings.sections import TrainConfig
from ttrl_server.training.batch import Plan, plan
from ttrl_server.training.command import deepspeed_config
from ttrl_server.training.logprobs import Scorer
from ttrl_server.training.memory import OutOfMemory, Room
from ttrl_server.training.passes import Passes
from ttrl_server.training.policy import trained_parameters
from ttrl_server.training.state import Engine
from ttrl_server.types import Batch


def build_engine(policy: PeftModel, cfg: Config) -> Engine:
    """Wraps the policy in a DeepSpeed engine. The process group must exist already. The caller
    must restore a state before the first step."""
    trained = list(trained_parameters(policy).values())
    engine, *_ = deepspeed.initialize(
        model=Scorer(policy),
        model_parameters=trained,
        config=deepspeed_config(cfg),
        dist_init_required=False,
    )
    engine.eval()  # No dropout in the base model: π_θ must be the policy that is served.
    return engine


def learning_rate(step: int, cfg: TrainConfig) -> float:
    """Learning rate of optimiser step ``step`` (from 0): linear warm-up, then constant or a cosine
    that reaches 0 at ``total_steps``."""
    if step < cfg.warmup_steps:
        return cfg.learning_rate * (step + 1) / cfg.warmup_steps
    if cfg.schedule == "constant":
        return cfg.learning_rate
    progress = (step - cfg.warmup_steps) / max(1, cfg.total_steps - cfg.warmup_steps)
    return cfg.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def train_step(
    engine: Engine, batch: Batch, cfg: TrainConfig, room: Room | None = None
) -> dict[str, float]:
    """Takes one step on a batch. Every rank calls this with the same batch and gets the same
    metrics (``Passes.run``). Metrics that are not finite are left out.

    ``updated`` is 0, and the engine stays unchanged, when no group has an advantage (``groups`` is
    0 then) or when the loss or a gradient is not finite. When memory runs out, ``room`` is halved
    and the step begins again.
    """
    started = time.monotonic()
    room = room or Room.of(engine.module.policy.get_base_model(), cfg)
    todo, metrics = _passes(engine, batch, cfg, room)
    metrics |= {name: float(getattr(todo, name)) for name in ("groups", "groups_skipped", "tokens")}
    metrics["updated"] = 0.0
    if todo.tokens:
        # Euclidean norm over all trained parameters, averaged over ranks, before clipping.
        trained = trained_parameters(engine.module).values()
        squares = [safe_get_full_grad(p).float().square().sum() for p in trained]
        metrics["grad_norm"] = torch.stack(squares).sum().sqrt().item()
        metrics["lr"] = learning_rate(engine.global_steps, cfg)
        if math.isfinite(metrics["loss"]) and math.isfinite(metrics["grad_norm"]):
            for group in engine.optimizer.param_groups:
                group["lr"] = metrics["lr"]
            engine.step()
            metrics["updated"] = 1.0
        else:
            _discard(engine)
    metrics["seconds"] = time.monotonic() - started
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _passes(
    engine: Engine, batch: Batch, cfg: TrainConfig, room: Room
) -> tuple[Plan, dict[str, float]]:
    """Accumulates the gradients. Returns the plan that fitted into memory, and its metrics."""
    while True:
        todo = plan(batch, cfg, dist.get_world_size(), budget=room.tokens)
        if not todo.tokens:
            return todo, {}
        try:
            return todo, Passes(engine, cfg, room, todo).run()
        except OutOfMemory:
            _discard(engine)
            room.halve()


def _discard(engine: Engine) -> None:
    """Deletes the accumulated gradients. They are set to zero first, because ZeRO adds the next
    gradients to the content of its buffers."""
    for parameter in trained_parameters(engine.module).values():
        gradient = safe_get_full_grad(parameter)
        if gradient is not None:
            safe_set_full_grad(parameter, torch.zeros_like(gradient))
    engine.optimizer.zero_grad()
