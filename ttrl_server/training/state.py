"""The trainer's state between two steps: read from and written to a DeepSpeed engine at any ZeRO
stage.

DeepSpeed keeps a parameter and its moments in plain tensors (stage 0), in this rank's slice of one
flat buffer (1, 2) or in this rank's slice of every parameter (3). A ``TrainerState`` has whole
tensors by PEFT name, so a run can go on with another stage or another number of ranks.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import deepspeed
import safetensors.torch
import torch
from deepspeed.utils import (
    safe_get_full_optimizer_state,
    safe_get_local_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_optimizer_state,
)
from torch import Tensor, nn

from ttrl_server.errors import ConfigError
from ttrl_server.registry.names import TRAINER_STATE, WEIGHTS
from ttrl_server.training.policy import is_served, trained_parameters

MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's running means, as torch.optim names them."""

Engine = Any
"""deepspeed.DeepSpeedEngine, which is not typed."""


@dataclass(frozen=True, slots=True)
class TrainerState:
    """The trained weights and all else the next step needs. Tensors are on the CPU, float32."""

    step: int
    """Optimiser steps taken since the base model; the learning-rate schedule reads it."""
    weights: dict[str, Tensor]
    """Every trained parameter by name: the adapter, and the reward model or value head if there is
    one."""
    moments: dict[str, dict[str, Tensor]]
    """exp_avg and exp_avg_sq, each by parameter name."""
    rng: Tensor
    """State of torch's CPU generator."""
    teacher: dict[str, Tensor] | None = None
    """The running average of the adapter, if the average is what is served."""

    @property
    def served(self) -> dict[str, Tensor]:
        """The adapter that is published."""
        return self.teacher or {n: value for n, value in self.weights.items() if is_served(n)}


def initial(policy: nn.Module) -> TrainerState:
    """The state of a policy before its first step. Call this before DeepSpeed wraps the
    policy."""
    parameters = trained_parameters(policy)
    weights = {name: p.detach().cpu().float().clone() for name, p in parameters.items()}
    zeros = {name: torch.zeros_like(value) for name, value in weights.items()}
    return TrainerState(0, weights, dict.fromkeys(MOMENTS, zeros), torch.get_rng_state())


def capture(engine: Engine) -> TrainerState:
    """The engine's state after at least one step. Every rank calls this."""
    parameters = trained_parameters(engine.module)

    def read(key: str | None) -> dict[str, Tensor]:
        return {name: _read(engine, p, key) for name, p in parameters.items()}

    moments = {key: read(key) for key in MOMENTS}
    return TrainerState(engine.global_steps, read(None), moments, torch.get_rng_state())


def restore(engine: Engine, state: TrainerState) -> None:
    """Writes ``state`` into the engine. Every rank calls this with the same state.

    Raises ConfigError when the adapter in ``state`` does not have the shape that ``train.rank`` and
    the base model give.
    """
    parameters = trained_parameters(engine.module)
    ours = {name: tuple(getattr(p, "ds_shape", p.shape)) for name, p in parameters.items()}
    theirs = {name: tuple(value.shape) for name, value in state.weights.items()}
    if ours != theirs:
        name = next(name for name in [*ours, *theirs] if ours.get(name) != theirs.get(name))
        raise ConfigError(
            f"the parent adapter has {name} as {theirs.get(name)}, train.rank and the model make "
            f"it {ours.get(name)}: use the settings it was trained with, or another adapters.dir"
        )
    _make_moments(engine, state.step)
    write_weights(engine, state.weights)
    for name, parameter in parameters.items():
        for key in MOMENTS:
            _write(engine, parameter, key, state.moments[key][name])
    engine.global_steps = state.step
    torch.set_rng_state(state.rng)


def write_weights(engine: Engine, weights: dict[str, Tensor]) -> None:
    """Sets the trained parameters named in ``weights``; the rest of the state stays unchanged.
    Every rank calls this."""
    trained, stage = trained_parameters(engine.module), engine.zero_optimization_stage()
    pairs = [(parameter, weights[name]) for name, parameter in trained.items() if name in weights]
    gathered = [parameter for parameter, _ in pairs]
    with deepspeed.zero.GatheredParameters(gathered, modifier_rank=0, enabled=stage == 3):
        for parameter, value in pairs:
            parameter.data.copy_(value)
    if stage > 0:
        for parameter, value in pairs:
            _write(engine, parameter, None, value)


def averaged(state: TrainerState, before: TrainerState, decay: float) -> TrainerState:
    """``state`` with a new teacher: d · teacher + (1 − d) · adapter, where the teacher is that of
    ``before``, the state before the step."""
    teacher, adapter = before.served, replace(state, teacher=None).served
    mean = {n: decay * teacher[n] + (1 - decay) * value for n, value in adapter.items()}
    return replace(state, teacher=mean)


def completed(state: TrainerState, fresh: TrainerState) -> TrainerState:
    """A state read from files, completed for the present algorithm: a value head or reward model
    that the files lack is taken from ``fresh``.

    An adapter of another shape is kept; ``restore`` raises ConfigError for it.
    """

    def filled(read: dict[str, Tensor], new: dict[str, Tensor]) -> dict[str, Tensor]:
        both = new | read
        return {name: both[name] for name in both if name in (read if is_served(name) else new)}

    moments = {key: filled(state.moments[key], fresh.moments[key]) for key in MOMENTS}
    return replace(state, weights=filled(state.weights, fresh.weights), moments=moments)


def save(state: TrainerState, folder: Path) -> None:
    """Writes ``adapter_model.safetensors`` and ``trainer.pt``. Raises OSError: bytes are written
    directly, because torch.save to a file would raise another error."""
    own = {n: value for n, value in state.weights.items() if state.teacher or not is_served(n)}
    buffer = io.BytesIO()
    torch.save({"step": state.step, "moments": state.moments, "rng": state.rng, "own": own}, buffer)
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(state.served, {"format": "pt"}))
    (folder / TRAINER_STATE).write_bytes(buffer.getbuffer())


def load(folder: Path) -> TrainerState:
    """Reads back what ``save`` wrote."""
    kept = torch.load(folder / TRAINER_STATE, map_location="cpu", weights_only=True)
    served, own = safetensors.torch.load_file(folder / WEIGHTS), kept.get("own", {})
    teacher = served if any(map(is_served, own)) else None
    return TrainerState(kept["step"], served | own, kept["moments"], kept["rng"], teacher)


def _make_moments(engine: Engine, step: int) -> None:
    """Creates the moments, which torch creates only in the first step; ``restore`` needs them."""
    # ZeRO wraps torch's optimiser; at stage 0 the optimiser is not wrapped.
    optimizer = getattr(engine.optimizer, "optimizer", engine.optimizer)
    flat = getattr(engine.optimizer, "fp32_partitioned_groups_flat", None)
    for parameter in flat or [p for group in optimizer.param_groups for p in group["params"]]:
        state = optimizer.state[parameter]
        state["step"] = torch.tensor(float(step))
        for key in MOMENTS:
            state.setdefault(key, torch.zeros_like(parameter.data))
    if engine.zero_optimization_stage() in (1, 2):
        # No public function creates a parameter's slice of the moments before the first step.
        engine.optimizer._lazy_init_hp_params_optimizer_state()


def _read(engine: Engine, parameter: nn.Parameter, key: str | None) -> Tensor:
    """A moment of a parameter, or the parameter itself where ``key`` is None: DeepSpeed's functions
    for an optimiser's state read and write the float32 parameter then."""
    if engine.zero_optimization_stage() > 0:
        value = safe_get_full_optimizer_state(parameter, key)
    else:
        value = parameter if key is None else engine.optimizer.state[parameter][key]
    return value.detach().cpu().clone()


def _write(engine: Engine, parameter: nn.Parameter, key: str | None, value: Tensor) -> None:
    stage, value = engine.zero_optimization_stage(), value.to(engine.device)
    if stage == 0:
        engine.optimizer.state[parameter][key].copy_(value)
    elif stage < 3:
        safe_set_full_optimizer_state(parameter, value, key)
    else:
        # Stage 3 cuts a tensor into equal parts, with zeros after its end.
        size = safe_get_local_fp32_param(parameter).numel()
        ranks, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
        padded = nn.functional.pad(value.flatten(), (0, size * ranks - value.numel()))
        safe_set_local_optimizer_state(parameter, padded.narrow(0, size * rank, size), key)
