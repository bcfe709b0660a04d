"""One optimiser step with DeepSpeed: the same update on one rank or many, at any ZeRO stage."""

from __future__ import annotations

import math
import time

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.utils import safe_get_full_grad, safe_set_full_grad
from peft import PeftModel
from torch import Tensor

from ttrl_server.config import Config
from ttrl_server.sections import TrainConfig
from ttrl_server.training.algorithms import grpo
from ttrl_server.training.batch import MicroBatch, Plan, plan
from ttrl_server.training.command import deepspeed_config
from ttrl_server.training.logprobs import Scorer
from ttrl_server.training.policy import adapter_parameters
from ttrl_server.training.state import Engine
from ttrl_server.types import Batch


def build_engine(policy: PeftModel, cfg: Config) -> Engine:
    """The policy under DeepSpeed; the process group exists already. Restore a state before the first step."""
    trained = list(adapter_parameters(policy).values())
    engine, *_ = deepspeed.initialize(
        model=Scorer(policy), model_parameters=trained, config=deepspeed_config(cfg), dist_init_required=False
    )
    engine.eval()  # Dropout of the base model would make π_θ another policy than the one served.
    return engine


def learning_rate(step: int, cfg: TrainConfig) -> float:
    """Rate of optimiser step ``step`` (from 0): linear warm-up, then constant or a cosine to 0 at ``total_steps``."""
    if step < cfg.warmup_steps:
        return cfg.learning_rate * (step + 1) / cfg.warmup_steps
    if cfg.schedule == "constant":
        return cfg.learning_rate
    progress = (step - cfg.warmup_steps) / max(1, cfg.total_steps - cfg.warmup_steps)
    return cfg.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def train_step(engine: Engine, batch: Batch, cfg: TrainConfig) -> dict[str, float]:
    """Takes one step on a batch; every rank calls it with the same one and gets the same metrics.

    ``updated`` is 0, and the engine unchanged, when no group has an advantage (``groups`` is 0 then) or when the loss
    or a gradient is not finite; metrics that are not finite are left out. Log-probabilities are nats a token.
    """
    started = time.monotonic()
    todo = plan(batch, cfg, dist.get_world_size())
    metrics = {
        "updated": 0.0,
        "groups": float(todo.groups),
        "groups_skipped": float(todo.groups_skipped),
        "tokens": float(todo.tokens),
    }
    if todo.tokens:
        metrics |= _accumulate(engine, todo, cfg)
        metrics["grad_norm"] = _gradient_norm(engine)
        metrics["lr"] = learning_rate(engine.global_steps, cfg)
        if math.isfinite(metrics["loss"]) and math.isfinite(metrics["grad_norm"]):
            _apply(engine, metrics["lr"])
            metrics["updated"] = 1.0
        else:
            _discard(engine)
    metrics["seconds"] = time.monotonic() - started
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _accumulate(engine: Engine, todo: Plan, cfg: TrainConfig) -> dict[str, float]:
    """Runs this rank's passes; gradients of all ranks are summed when the last one ends."""
    mine = todo.ranks[dist.get_rank()]
    sums = torch.zeros(4, device=engine.device)
    for index, micro in enumerate(mine):
        engine.set_gradient_accumulation_boundary(index == len(mine) - 1)
        loss, watched = _forward(engine, micro, cfg)
        # DeepSpeed averages over ranks; the token mean is over all of them.
        engine.backward(loss * (micro.weight * dist.get_world_size() / todo.tokens))
        sums += micro.weight * watched
    dist.all_reduce(sums)
    return dict(zip(("loss", "kl", "entropy", "ratio"), (sums / todo.tokens).tolist(), strict=True))


def _forward(engine: Engine, micro: MicroBatch, cfg: TrainConfig) -> tuple[Tensor, Tensor]:
    """Summed loss of a micro-batch, and the sums [4] that are watched: loss, k3, −log π_θ of what was sampled, ρ."""
    completions = [completion.token_ids for completion in micro.completions]
    old = [logprob for completion in micro.completions for logprob in completion.old_logprobs]
    advantage = [c.advantage for c in micro.completions for _ in c.token_ids]
    logp_old = torch.tensor(old, device=engine.device)
    # The reference first: switching the adapter off must not touch a graph that waits for its backward pass.
    logp_ref = engine(micro.prompt, completions, micro.temperature, adapter=False) if cfg.kl else None
    logp = engine(micro.prompt, completions, micro.temperature)
    loss = grpo.token_loss(
        logp,
        logp_old,
        torch.tensor(advantage, device=engine.device),
        clip_low=cfg.clip_low,
        clip_high=cfg.clip_high,
        importance_cap=cfg.importance_cap,
        logp_ref=logp_ref,
        kl=cfg.kl,
    ).sum()
    with torch.no_grad():
        penalty = grpo.k3(logp, logp_ref).sum() if logp_ref is not None else torch.zeros_like(loss)
        watched = torch.stack([loss, penalty, -logp.sum(), torch.exp(logp - logp_old).sum()])
    return loss, watched


def _gradient_norm(engine: Engine) -> float:
    """Euclidean norm over all adapter parameters, before clipping, after the ranks have been averaged."""
    gradients = [safe_get_full_grad(p) for p in adapter_parameters(engine.module).values()]
    return torch.stack([g.float().square().sum() for g in gradients]).sum().sqrt().item()


def _apply(engine: Engine, rate: float) -> None:
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
    engine.step()


def _discard(engine: Engine) -> None:
    """Forgets accumulated gradients: zeroed first, because ZeRO adds the next ones to what its buffers hold."""
    for parameter in adapter_parameters(engine.module).values():
        safe_set_full_grad(parameter, torch.zeros_like(safe_get_full_grad(parameter)))
    engine.optimizer.zero_grad()
