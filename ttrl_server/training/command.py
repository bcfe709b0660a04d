"""The trainer's command line and DeepSpeed's settings, as pure functions of the settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ttrl_server.settings.config import Config

WORKER = "ttrl_server.training.worker"
KEY_FILE = "admin.key"
"""Beside the resolved settings; written only when DeepSpeed's launcher starts the ranks."""


def trainer_command(
    cfg: Config, config_file: Path, gateway_url: str
) -> tuple[list[str], dict[str, str]]:
    """Returns argv and extra environment of the trainer: a plain process for one rank, torchrun for
    several ranks on this machine, DeepSpeed's launcher for several machines.

    Neither contains a secret: the caller adds the key to the environment as TTRL_ADMIN_KEY.
    """
    module = ["-m", WORKER]
    if cfg.train.hostfile:
        hosts = ["-m", "deepspeed.launcher.runner", "--hostfile", str(cfg.train.hostfile)]
        module = [*hosts, "--no_local_rank", "--module", WORKER]
    elif cfg.train_ranks > 1:
        here = ["-m", "torch.distributed.run", "--standalone"]
        module = [*here, "--nproc-per-node", str(cfg.train_ranks), *module]
    argv = [sys.executable, *module, "--config", str(config_file), "--gateway", gateway_url]
    env: dict[str, str] = {}
    if cfg.hardware != "cuda":
        env = {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"} | cfg.cpu_waiting
        env["OMP_NUM_THREADS"] = str(cpu_threads(cfg))
    elif not cfg.train.hostfile:  # with a host file, its slots select the GPUs
        env["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, cfg.train.devices))
    if Path(cfg.model).is_dir():
        env["HF_HUB_OFFLINE"] = "1"
    return argv, env


def cpu_threads(cfg: Config) -> int:
    """Threads of one CPU rank."""
    return cfg.train.cpu_threads or max(1, (os.cpu_count() or 1) // max(1, cfg.train_ranks))


def deepspeed_config(cfg: Config) -> dict[str, Any]:
    """Settings for ``deepspeed.initialize``. The optimiser is torch's AdamW, because DeepSpeed's
    fused versions need a compiler.

    There is no mixed-precision section, because it would cast the float32 adapter too. ``step``
    sets the learning rate. ``passes`` says where a batch ends, so accumulation is 1 here.
    """
    train = cfg.train
    adam = {"lr": train.learning_rate, "weight_decay": train.weight_decay, "torch_adam": True}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": train.grad_clip,
        "zero_optimization": {"stage": train.zero_stage},
        "optimizer": {"type": "AdamW", "params": adam},
    }
