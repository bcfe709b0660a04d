"""Estimates how many tokens fit into one pass. When memory runs out all the same, the number is
halved."""

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
"""Shares of the memory that is free when the trainer starts. On a CPU machine the engine needs the
other half."""
WIDTHS, INNER_WIDTHS = 14, 5
"""Numbers kept per token and layer, as multiples of the hidden and the feed-forward width. Measured
on SmolLM2, float32, LoRA on all linear layers (docs/decisions.md)."""

events = structlog.get_logger()


class OutOfMemory(Exception):
    """A pass did not fit into memory on at least one rank."""


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
        """Estimates the memory for a causal language model that is loaded already."""
        shape = causal.config.get_text_config()
        layer = WIDTHS * shape.hidden_size + INNER_WIDTHS * shape.intermediate_size
        token = float(causal.dtype.itemsize * layer * shape.num_hidden_layers)
        if cfg.memory_gib:
            free = cfg.memory_gib * GIB
        elif causal.device.type == "cuda":
            free = SHARE_GPU * torch.cuda.mem_get_info(causal.device)[0]
        else:
            free = SHARE_CPU * psutil.virtual_memory().available
        return cls(free, token, cfg.gradient_checkpointing, cfg.micro_batch_tokens)

    @property
    def tokens(self) -> int:
        """The most tokens that one pass may run now."""
        return max(1, min(self.limit, int(self.bytes_free / self.bytes_token)))

    def checkpointed(self, micro: MicroBatch) -> bool:
        """Whether a pass uses gradient checkpointing, as keeping all activations needs too much."""
        if self.mode == "auto":
            return micro.cost * self.bytes_token > self.bytes_free
        return self.mode == "on"

    def halve(self) -> None:
        """Halves the budget of one pass. Raises OutOfMemory when the budget is one token."""
        tokens = self.tokens
        if tokens <= 1:
            too_big = "the model, train.rank or train.dtype is too big for this device"
            raise OutOfMemory(f"one token does not fit: {too_big}")
        self.limit = tokens // 2
        events.warning("memory.halved", micro_batch_tokens=self.limit, before=tokens)


def ran_out(error: RuntimeError) -> bool:
    """Whether an error says that a GPU or the CPU's allocator has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
