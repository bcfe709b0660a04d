"""The ranks of one trainer: how they connect and exchange values. gloo carries objects, DeepSpeed
carries gradients."""

from __future__ import annotations

import os
from typing import TypeVar

import deepspeed
import torch
import torch.distributed as dist

from ttrl_server.settings.config import Config

T = TypeVar("T")


class Ranks:
    """The process group of this trainer, alone or under torchrun or the DeepSpeed launcher
    (RANK, WORLD_SIZE)."""

    def __init__(self, cfg: Config) -> None:
        on_gpu = cfg.hardware == "cuda"
        if on_gpu:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "nccl" if on_gpu else "gloo"
        if "RANK" in os.environ:
            dist.init_process_group(backend)
        else:
            os.environ["LOCAL_RANK"] = "0"  # DeepSpeed needs it.
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        # Stop DeepSpeed from compiling a library for CPU ranks: that takes half a minute, and
        # without a compiler it fails.
        deepspeed.ops.__compatible_ops__ = {}
        deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)
        self._objects = dist.new_group(backend="gloo")
        self.rank: int = dist.get_rank()
        self.size: int = dist.get_world_size()

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def least(self, value: float) -> float:
        """Returns the smallest of all ranks' values on every rank."""
        box = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(box, op=dist.ReduceOp.MIN, group=self._objects)
        return float(box.item())

    def share(self, value: T) -> T:
        """Returns the first rank's value on every rank."""
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._objects)
        return box[0]
