"""How the trainer is started, and what DeepSpeed is told: pure functions of the settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ttrl_server.settings.config import Config

WORKER = "ttrl_server.training.worker"
KEY_FILE = "admin.key"
"""Beside the resolved settings, where DeepSpeed's launcher starts the ranks."""


def trainer_command(
    cfg: Config, config_file: Path, gateway_url: str
) -> tuple[list[str], dict[str, str]]:
    """argv and extra environment of the trainer: one plain process for one rank, torchrun for more
    on this machine, DeepSpeed's launcher for several machines.

    No secret is among them: the key travels in TTRL_ADMIN_KEY, which the caller adds to the
    environment.
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
        env = {
            "CUDA_VISIBLE_DEVICES": "",
            "DS_ACCELERATOR": "cpu",
            "OMP_NUM_THREADS": str(cpu_threads(cfg)),
        } | cfg.cpu_waiting
    elif not cfg.train.hostfile:  # the slots of a host file say which GPUs
        env["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, cfg.train.devices))
    if Path(cfg.model).is_dir():
        env["HF_HUB_OFFLINE"] = "1"
    return argv, env


def cpu_threads(cfg: Config) -> int:
    """Threads of one CPU rank."""
    return cfg.train.cpu_threads or max(1, (os.cpu_count() or 1) // max(1, cfg.train_ranks))


def deepspeed_config(cfg: Config) -> dict[str, Any]:
    """What ``deepspeed.initialize`` reads. torch's own AdamW: DeepSpeed's fused ones need a
    compiler.

    No mixed-precision section: it would cast the float32 adapter along with the base weights. The
    step sets the learning rate itself, and says where a batch ends, so accumulation is 1 here.
    """
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": cfg.train.grad_clip,
        "zero_optimization": {"stage": cfg.train.zero_stage},
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": cfg.train.learning_rate,
                "weight_decay": cfg.train.weight_decay,
                "torch_adam": True,
            },
        },
    }
