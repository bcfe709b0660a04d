"""Builds the vLLM command line of one replica. docs/design.md explains the flags."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from ttrl_server.registry.names import version_name
from ttrl_server.settings.config import Config
from ttrl_server.settings.sections import LORA_RANKS

ENTRIES = ("vllm.entrypoints.launchers.api_server.entry", "vllm.entrypoints.openai.api_server")
"""vLLM's server from 0.32 on, and before. The ``vllm`` command of the CPU wheel does not start."""

KEEP_ALIVE_S = 600
"""With vLLM's default of 5 s, vLLM closes connections that the gateway still uses."""


def socket_dir(config: Config) -> Path:
    """A private folder with a short path: a Unix socket's path has at most about 100 characters."""
    digest = hashlib.sha256(str(config.state_dir).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"ttrl-{os.getuid()}-{digest}"


def socket_path(config: Config, replica: int) -> Path:
    return socket_dir(config) / f"engine{replica}.sock"


def entry() -> str:
    """The server's module in the vLLM that is installed, which is not imported: that takes
    seconds."""
    new = Path(*ENTRIES[0].split(".")[1:]).with_suffix(".py")
    return ENTRIES[not _in_vllm(new)]


def scales_out() -> bool:
    """Whether this vLLM renders requests, and makes messages of what was generated (0.30)."""
    return _in_vllm(Path("entrypoints/scale_out/derender"))


def _in_vllm(part: Path) -> bool:
    """Whether the installed vLLM has a module or folder; a vLLM elsewhere is taken to be new."""
    found = find_spec("vllm")
    places = (found and found.submodule_search_locations) or []
    return not places or (Path(next(iter(places))) / part).exists()


def engine_command(config: Config, replica: int) -> tuple[list[str], dict[str, str]]:
    """argv and environment of one replica, without the key (set as VLLM_API_KEY at start)."""
    e = config.engine
    argv = [sys.executable, "-m", entry(), "--model", config.model]
    argv += ["--served-model-name", version_name(config.name, 0)]
    argv += ["--uds", str(socket_path(config, replica))]
    argv += ["--dtype", config.dtype, "--enable-lora", "--max-loras", str(e.max_loras)]
    largest = next(rank for rank in LORA_RANKS if rank >= config.train.rank)
    argv += ["--max-lora-rank", str(largest), "--max-num-seqs", str(e.max_num_seqs)]
    argv += ["--scheduling-policy", "priority", "--logprobs-mode", "processed_logprobs"]
    argv += ["--api-server-count", "1"]
    if scales_out():
        argv.append("--enable-scale-out")  # render, generate, derender
    if config.revision:
        argv += ["--revision", config.revision]
    if config.max_model_len:
        argv += ["--max-model-len", str(config.max_model_len)]
    platform = _cpu if config.hardware == "cpu" else _cuda
    platform_argv, env = platform(config, replica)
    env |= {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_S),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CONFIGURE_LOGGING": "1",
    }
    if Path(config.model).is_dir():
        env["HF_HUB_OFFLINE"] = "1"
    return [*argv, *platform_argv, *e.extra_args], env


def _cpu(config: Config, replica: int) -> tuple[list[str], dict[str, str]]:
    # 32 tokens is the smallest block: then the samples of a short question share its prompt too.
    argv = ["--block-size", "32"]
    threads = config.engine.cpu_threads
    cores = sorted(os.sched_getaffinity(0))
    ours = ",".join(map(str, cores[replica :: config.replicas] or cores))
    env = {
        "VLLM_CPU_OMP_THREADS_BIND": ours if threads == "all" else threads,
        "VLLM_CPU_KVCACHE_SPACE": f"{config.engine.cpu_kv_cache_gib:g}",
    }
    return argv, env | config.cpu_waiting


def _cuda(config: Config, replica: int) -> tuple[list[str], dict[str, str]]:
    team = config.engine.tensor_parallel
    devices = config.engine.devices[replica * team : (replica + 1) * team]
    share = config.engine.gpu_memory_utilization or (0.45 if config.shares_devices else 0.9)
    argv = ["--tensor-parallel-size", str(team), "--gpu-memory-utilization", f"{share:g}"]
    return argv, {"CUDA_VISIBLE_DEVICES": ",".join(map(str, devices))}
