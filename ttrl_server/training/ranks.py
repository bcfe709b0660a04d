"""The ranks of one trainer: how they find each other and agree. Objects go over gloo, gradients
over DeepSpeed."""

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
            os.environ["LOCAL_RANK"] = "0"  # DeepSpeed asks for it.
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        # DeepSpeed would compile a library for CPU ranks here: half a minute with a compiler, fatal
        # without.
        deepspeed.ops.__compatible_ops__ = {}
        deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)
        self._objects = dist.new_group(backend="gloo")
        self.rank: int = dist.get_rank()
        self.size: int = dist.get_world_size()

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def least(self, value: float) -> float:
        """The smallest of all ranks' values, on every rank."""
        box = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(box, op=dist.ReduceOp.MIN, group=self._objects)
        return float(box.item())

    def share(self, value: T) -> T:
        """The first rank's value, on every rank."""
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._objects)
        return box[0]
