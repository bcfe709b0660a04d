"""How many tokens fit into one pass, by an estimate; what an estimate gets wrong is halved when
memory runs out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psutil
import structlog
import torch

from ttrl_server.settings.sections import TrainConfig
from ttrl_server.training.batch import MicroBatch

GIB = 2**30
SHARE_GPU, SHARE_CPU = 0.8, 0.5
"""Of the memory that is free when the trainer starts: the other half of a CPU machine is the
engine's."""
WIDTHS, INNER_WIDTHS = 14, 5
"""Tensors kept a token and layer, in hidden and in feed-forward widths: measured on SmolLM2,
float32, LoRA on all linear layers (docs/decisions.md)."""

events = structlog.get_logger()


class OutOfMemory(Exception):
    """A pass did not fit, on some rank."""


@dataclass(slots=True)
class Room:
    """The memory that one pass may take."""

    bytes_free: float
    bytes_token: float
    mode: str
    """train.gradient_checkpointing"""
    limit: int
    """Most tokens of one pass; halved when memory runs out."""

    @classmethod
    def of(cls, causal: Any, cfg: TrainConfig) -> Room:
        """For one causal language model that has been loaded."""
        shape = causal.config.get_text_config()
        size = causal.dtype.itemsize
        layer = WIDTHS * shape.hidden_size + INNER_WIDTHS * shape.intermediate_size
        if cfg.memory_gib:
            free = cfg.memory_gib * GIB
        elif causal.device.type == "cuda":
            free = SHARE_GPU * torch.cuda.mem_get_info(causal.device)[0]
        else:
            free = SHARE_CPU * psutil.virtual_memory().available
        return cls(
            free,
            float(size * layer * shape.num_hidden_layers),
            cfg.gradient_checkpointing,
            cfg.micro_batch_tokens,
        )

    @property
    def tokens(self) -> int:
        """The budget of one pass."""
        return max(1, min(self.limit, int(self.bytes_free / self.bytes_token)))

    def checkpointed(self, micro: MicroBatch) -> bool:
        """Whether a pass is too big for keeping what every layer computed."""
        if self.mode == "auto":
            return micro.cost * self.bytes_token > self.bytes_free
        return self.mode == "on"

    def halve(self) -> None:
        """Raises OutOfMemory when there is nothing left to halve."""
        tokens = self.tokens
        if tokens <= 1:
            raise OutOfMemory(
                "one token does not fit: the model, train.rank or train.dtype is too big for this "
                "device"
            )
        self.limit = tokens // 2
        events.warning("memory.halved", micro_batch_tokens=self.limit, before=tokens)


def ran_out(error: RuntimeError) -> bool:
    """Whether an error says that a device, or the allocator of the CPU, has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
