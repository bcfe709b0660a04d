"""What would be started on the machines we have in mind, word for word."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import HEAVY, python
from tests.unit.settings.conftest import CPU, parse, written
from ttrl_server.commands.serve import dry_run
from ttrl_server.engine.command import engine_command, socket_path
from ttrl_server.registry.names import version_name
from ttrl_server.settings import sources
from ttrl_server.settings.config import Config
from ttrl_server.training.command import trainer_command

COMMON_ENVIRONMENT = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "600",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CONFIGURE_LOGGING": "1",
}


def flag(argv: list[str], name: str) -> str:
    assert argv.count(name) == 1
    return argv[argv.index(name) + 1]


def trainer(config: Config) -> tuple[list[str], dict[str, str]]:
    return trainer_command(config, config.state_dir / "resolved.json", "http://127.0.0.1:8000")


def sections(text: str) -> dict[str, str]:
    """The blocks of a dry run by their title."""
    blocks = ("\n" + text).split("\n# ")[1:]
    return {block.split("\n", 1)[0]: block.split("\n", 1)[1].strip() for block in blocks}


# ---------------------------------------------------------------- machines


def test_eight_a100_serve_qwen3_on_five_and_train_on_three() -> None:
    config = parse("--model Qwen3-8B")
    assert (config.replicas, config.train_ranks, config.shares_devices) == (5, 3, False)
    for replica in (0, 4):
        argv, environment = engine_command(config, replica)
        vllm = f"""
            {sys.executable} -m vllm.entrypoints.launchers.api_server.entry
            --model Qwen/Qwen3-8B --served-model-name Qwen3-8B@base
            --uds {socket_path(config, replica)}
            --dtype bfloat16 --enable-lora --max-loras 4 --max-lora-rank 32 --max-num-seqs 256
            --scheduling-policy priority --logprobs-mode processed_logprobs
            --api-server-count 1 --enable-scale-out --max-model-len 8192
            --tensor-parallel-size 1 --gpu-memory-utilization 0.9
            --reasoning-parser qwen3 --enable-auto-tool-choice --tool-call-parser hermes
        """
        assert argv == vllm.split()
        assert environment == COMMON_ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": str(replica)}
    argv, environment = trainer(config)
    worker = f"""
        {sys.executable} -m torch.distributed.run --standalone --nproc-per-node 3
        -m ttrl_server.training.worker --config {Path.cwd()}/runs/Qwen3-8B/resolved.json
        --gateway http://127.0.0.1:8000
    """
    assert argv == worker.split()
    assert environment == {"CUDA_VISIBLE_DEVICES": "5,6,7"}


@pytest.mark.parametrize(
    ("rank", "buffers"), [(1, "1"), (4, "8"), (12, "16"), (16, "16"), (320, "320"), (400, "512")]
)
def test_the_engine_has_room_for_any_rank_in_one_of_its_own_sizes(rank: int, buffers: str) -> None:
    argv, _ = engine_command(parse(f"--model org/model --train.rank {rank} --gpus 1"), 0)
    assert flag(argv, "--max-lora-rank") == buffers


def test_deepspeed_is_told_what_the_preset_says() -> None:
    shown = sections(dry_run(parse("--model Qwen3-8B")))
    rates = {"lr": 5e-6, "weight_decay": 0.01, "torch_adam": True}
    assert json.loads(shown["deepspeed"]) == {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 1.0,
        "zero_optimization": {"stage": 2},
        "optimizer": {"type": "AdamW", "params": rates},
    }


def test_eight_gpus_may_be_divided_four_to_four() -> None:
    config = parse("--model Qwen3-8B --engine.devices 0,1,2,3 --train.devices 4,5,6,7")
    assert (config.replicas, config.train_ranks) == (4, 4)
    visible = [engine_command(config, replica)[1]["CUDA_VISIBLE_DEVICES"] for replica in range(4)]
    assert visible == ["0", "1", "2", "3"]
    argv, environment = trainer(config)
    assert flag(argv, "--nproc-per-node") == "4"
    assert environment == {"CUDA_VISIBLE_DEVICES": "4,5,6,7"}


def test_on_a_single_gpu_the_engine_leaves_the_trainer_more_than_half() -> None:
    one = "--model org/model --gpus 1"
    config = parse(one)
    argv, environment = engine_command(config, 0)
    assert flag(argv, "--gpu-memory-utilization") == "0.45"
    assert environment["CUDA_VISIBLE_DEVICES"] == "0"
    argv, environment = trainer(config)
    assert "torch.distributed.run" not in argv
    assert environment == {"CUDA_VISIBLE_DEVICES": "0"}
    alone = parse(f"{one} --train.enabled false")
    assert flag(engine_command(alone, 0)[0], "--gpu-memory-utilization") == "0.9"
    told = parse(f"{one} --engine.gpu-memory-utilization 0.3")
    assert flag(engine_command(told, 0)[0], "--gpu-memory-utilization") == "0.3"


@pytest.mark.parametrize("preset", sorted(set(sources.presets()) - {"smollm2-135m"}))
def test_a_preset_on_a_single_gpu_leaves_the_trainer_its_share_too(preset: str) -> None:
    argv, _ = engine_command(parse(f"--model {preset} --gpus 1"), 0)
    assert flag(argv, "--gpu-memory-utilization") == "0.45"


def test_a_tensor_parallel_replica_sees_its_own_team_of_gpus() -> None:
    teams = "--engine.tensor-parallel 2 --engine.devices 0,1,2,5 --train.devices 6,7"
    config = parse(f"--model Qwen3-8B {teams}")
    assert config.replicas == 2
    for replica, devices in ((0, "0,1"), (1, "2,5")):
        argv, environment = engine_command(config, replica)
        assert flag(argv, "--tensor-parallel-size") == "2"
        assert environment["CUDA_VISIBLE_DEVICES"] == devices


@pytest.mark.parametrize(
    ("when", "waiting"),
    [("idle", {}), ("always", {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"})],
)
def test_a_cpu_engine_sleeps_while_it_waits_only_beside_a_trainer_that_works_at_once(
    when: str, waiting: dict[str, str]
) -> None:
    config = parse(f"{CPU} --train.when {when} --engine.cpu-kv-cache-gib 1.5")
    argv, environment = engine_command(config, 0)
    assert flag(argv, "--block-size") == "32"
    only_elsewhere = "--tensor-parallel-size --gpu-memory-utilization --max-model-len --revision"
    assert not set(only_elsewhere.split()) & set(argv)
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    own = {"VLLM_CPU_OMP_THREADS_BIND": cores, "VLLM_CPU_KVCACHE_SPACE": "1.5"}
    assert environment == COMMON_ENVIRONMENT | own | waiting
    assert {name: trainer(config)[1][name] for name in waiting} == waiting
    assert ("OMP_WAIT_POLICY" in trainer(config)[1]) == bool(waiting)


def test_a_cpu_engine_without_a_trainer_waits_as_it_likes_on_the_cores_it_was_given() -> None:
    config = parse(f"{CPU} --train.enabled false --engine.cpu-threads 0-3")
    _, environment = engine_command(config, 0)
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == "0-3"
    assert "OMP_WAIT_POLICY" not in environment


def test_a_revision_reaches_vllm_and_ones_own_flags_come_last() -> None:
    config = parse(f"{CPU} --revision abc -- --enforce-eager 'a b'")
    argv, _ = engine_command(config, 0)
    assert flag(argv, "--revision") == "abc"
    assert argv[-2:] == ["--enforce-eager", "a b"]
    assert "--enforce-eager 'a b'" in dry_run(config)


def test_a_local_model_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    config = parse(f"--model {tmp_path} --hardware cpu")
    assert engine_command(config, 0)[1]["HF_HUB_OFFLINE"] == "1"
    assert trainer(config)[1]["HF_HUB_OFFLINE"] == "1"


def test_sockets_are_short_and_differ_by_replica_and_by_run(tmp_path: Path) -> None:
    deep = str(tmp_path / ("deep" * 40))
    config = parse(f"--model Qwen3-8B --run-dir {deep}")
    other = parse(f"--model Qwen3-8B --run-dir {deep}er")
    paths = {str(socket_path(c, replica)) for c in (config, other) for replica in range(5)}
    assert len(paths) == 10
    assert max(map(len, paths)) < 100


def test_a_version_has_a_name_of_its_own() -> None:
    name = parse("--model models/some/Qwen3-8B/ --served-model-name tutor").name
    assert (version_name(name, 0), version_name(name, 7)) == ("tutor@base", "tutor@v7")


# ---------------------------------------------------------------- the dry run


def test_a_dry_run_shows_settings_that_can_be_given_back_and_every_process() -> None:
    config = parse("--model Qwen3-8B --vote.samples 48")
    shown = sections(dry_run(config))
    assert list(shown) == ["settings", *(f"engine {i}" for i in range(5)), "trainer", "deepspeed"]
    assert dry_run(parse(f"--config {written(shown['settings'])}")) == dry_run(config)
    assert yaml.safe_load(shown["settings"])["vote"]["samples"] == 48
    assert "CUDA_VISIBLE_DEVICES=4 " in shown["engine 4"]


def test_a_dry_run_shows_no_engine_that_somebody_else_runs_and_no_trainer_that_is_off() -> None:
    attached = sections(dry_run(parse(f"{CPU} --engine-url http://127.0.0.1:8001")))
    assert list(attached) == ["settings", "trainer", "deepspeed"]
    frozen = sections(dry_run(parse(f"{CPU} --train.enabled false")))
    assert list(frozen) == ["settings", "engine 0"]


SECRETS = {
    "api": {"keys": ["s3cret1"], "admin_key": "s3cret2"},
    "engine": {"key": "s3cret3"},
    "store": {"url": "postgresql://ttrl:s3cret4@db/ttrl"},
}


@pytest.mark.parametrize("preset", ["smollm2-135m", "qwen3-8b"])
def test_no_key_is_in_a_command_line_or_on_the_screen(preset: str) -> None:
    values: dict[str, Any] = yaml.safe_load(sources.presets()[preset].read_text())
    engine = values["engine"] | SECRETS["engine"]
    config = Config.model_validate(values | SECRETS | {"engine": engine})
    assert "s3cret" not in str([engine_command(config, 0), trainer(config)])
    shown = sections(dry_run(config))
    assert "VLLM_API_KEY=<random>" in shown["engine 0"]
    assert "TTRL_ADMIN_KEY=<random>" in shown["trainer"]
    assert [title for title, block in shown.items() if "s3cret" in block] == []


# ---------------------------------------------------------------- the command itself

WATCHED = """
import os, sys
seen = []
STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.system",
          "socket.bind", "socket.connect", "os.mkdir")
sys.addaudithook(lambda event, args: seen.append(event) if event in STARTS else None)
from ttrl_server.commands import serve
sys.argv = ["ttrl-serve", *sys.argv[1:]]
try:
    serve.main()
except SystemExit as end:
    assert not end.code, end.code
heavy = sorted(name for name in sys.modules if name in HEAVY)
print(f"heavy={heavy} started={seen}", file=sys.stderr)
"""


def watched(*argv: str) -> tuple[str, str]:
    """What ttrl-serve printed, and what it imported and started."""
    done = python("-c", WATCHED.replace("HEAVY", repr(HEAVY)), *argv)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr.strip()


@pytest.mark.parametrize("line", ["--help", "--model Qwen3-8B --dry-run"])
def test_help_and_dry_run_touch_no_heavy_library_and_start_nothing(line: str) -> None:
    printed, witnessed = watched(*line.split())
    shown = "usage: ttrl-serve" if line == "--help" else dry_run(parse("--model Qwen3-8B"))
    assert shown in printed
    assert witnessed == "heavy=[] started=[]"
    assert list(Path.cwd().iterdir()) == []


def test_help_names_every_setting_and_what_follows_the_dashes() -> None:
    printed, _ = watched("--help")
    for section, field in Config.model_fields.items():
        names = getattr(field.annotation, "model_fields", None)
        for name in [f"{section}.{inner}" for inner in names] if names else [section]:
            assert f"--{name.replace('_', '-')} " in printed
    assert "goes to vLLM untouched" in " ".join(printed.split())
