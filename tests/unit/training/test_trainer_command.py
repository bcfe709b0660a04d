from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ttrl_server.settings.config import Config
from ttrl_server.training.command import deepspeed_config, trainer_command

WORKER = ["ttrl_server.training.worker", "--config", "/run/c.json", "--gateway", "http://g:8000"]


def config(**settings: Any) -> Config:
    return Config.model_validate({"model": "org/model", "api": {"admin_key": "s3cret"}} | settings)


def on_gpus(*devices: int) -> Config:
    return config(hardware="cuda", engine={"devices": [0]}, train={"devices": list(devices)})


def command(cfg: Config) -> tuple[list[str], dict[str, str]]:
    return trainer_command(cfg, Path("/run/c.json"), "http://g:8000")


def test_one_rank_needs_no_launcher() -> None:
    assert command(on_gpus(1))[0] == [sys.executable, "-m", *WORKER]


@pytest.mark.parametrize("devices", [(1, 2, 3), (4, 5, 6, 7)])
def test_several_gpus_run_one_rank_each_under_torchrun(devices: tuple[int, ...]) -> None:
    argv, env = command(on_gpus(*devices))
    launcher = f"-m torch.distributed.run --standalone --nproc-per-node {len(devices)} -m"
    assert argv == [sys.executable, *launcher.split(), *WORKER]
    assert env == {"CUDA_VISIBLE_DEVICES": ",".join(map(str, devices))}


def test_several_machines_run_under_deepspeeds_launcher(tmp_path: Path) -> None:
    hosts = tmp_path / "hostfile"
    hosts.write_text("first slots=4\nsecond slots=4\n")
    cfg = config(hardware="cuda", engine={"devices": [0]}, train={"hostfile": str(hosts)})
    argv, env = command(cfg)
    launcher = f"-m deepspeed.launcher.runner --hostfile {hosts} --no_local_rank --module"
    assert argv == [sys.executable, *launcher.split(), *WORKER]
    assert env == {}
    read = (
        "import sys; from deepspeed.launcher import runner; a = runner.parse_args(sys.argv[1:]); "
        "print(dict(runner.fetch_hostfile(a.hostfile)), a.module, a.user_script, a.user_args)"
    )
    done = run("-c", read, *argv[3:])
    wanted = f"{{'first': 4, 'second': 4}} True {WORKER[0]} {WORKER[1:]}"
    assert done.stdout.strip().endswith(wanted), done.stdout + done.stderr[-500:]


def test_only_the_first_of_several_machines_needs_the_gateways_key(tmp_path: Path) -> None:
    done = run_worker(tmp_path / "no.json", RANK="4")
    assert "no.json" in done.stderr


def test_a_cpu_trainer_that_works_beside_a_busy_engine_waits_asleep() -> None:
    argv, env = command(config(hardware="cpu"))
    assert "torch.distributed.run" not in argv
    cpu, asleep = {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}, {"KMP_BLOCKTIME": "0"}
    asleep |= {"OMP_WAIT_POLICY": "PASSIVE"}
    assert env == cpu | asleep | {"OMP_NUM_THREADS": str(os.cpu_count())}
    own = {"cpu_threads": 3, "when": "idle"}
    assert command(config(hardware="cpu", train=own))[1] == cpu | {"OMP_NUM_THREADS": "3"}


def test_a_local_model_is_never_looked_for_on_the_hub(tmp_path: Path) -> None:
    assert "HF_HUB_OFFLINE" not in command(config(hardware="cpu"))[1]
    assert command(config(hardware="cpu", model=str(tmp_path)))[1]["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("cfg", [config(hardware="cpu"), on_gpus(1), on_gpus(1, 2, 3)])
def test_no_secret_is_in_the_command_or_its_environment(cfg: Config) -> None:
    assert "s3cret" not in str(command(cfg))


@pytest.mark.parametrize("ranks", [1, 3, 4])
@pytest.mark.parametrize("stage", [0, 3])
def test_deepspeed_gets_plain_json_with_torchs_own_adamw(ranks: int, stage: int) -> None:
    numbers = {"zero_stage": stage, "grad_clip": 0.5, "learning_rate": 1e-4}
    train = {"devices": list(range(1, ranks + 1)), **numbers}
    settings = deepspeed_config(config(hardware="cuda", engine={"devices": [0]}, train=train))
    assert json.loads(json.dumps(settings)) == settings
    assert settings["zero_optimization"] == {"stage": stage}
    assert settings["gradient_clipping"] == 0.5
    assert settings["optimizer"]["params"] == {"lr": 1e-4, "weight_decay": 0.01, "torch_adam": True}
    assert not {"bf16", "fp16"} & settings.keys()


def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "TTRL_ADMIN_KEY"}
    argv = [sys.executable, *args]
    return subprocess.run(argv, capture_output=True, text=True, env=clean | env, timeout=100)


def run_worker(path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return run("-m", WORKER[0], "--config", str(path), "--gateway", "http://g", **env)


def test_help_answers_without_torch() -> None:
    code = (
        "import sys\nfrom ttrl_server.training import worker\n"
        "try: worker.main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'deepspeed', 'peft', 'transformers'} & set(sys.modules)"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert "TTRL_ADMIN_KEY" in done.stdout


@pytest.mark.parametrize(
    ("file", "key", "say"),
    [
        ("wrong.json", "k", "train.rank"),
        ("no.json", "k", "no.json"),
        ("wrong.json", "", "train.rank"),
        ("good.json", "", "TTRL_ADMIN_KEY"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(
    file: str, key: str, say: str, tmp_path: Path
) -> None:
    wrong = '{"model": "m", "hardware": "cpu", "train": {"rank": "many"}}'
    (tmp_path / "wrong.json").write_text(wrong)
    (tmp_path / "good.json").write_text(config(hardware="cpu").model_dump_json())
    done = run_worker(tmp_path / file, TTRL_ADMIN_KEY=key)
    assert done.returncode == 2
    assert say in done.stderr
    assert len(done.stderr.splitlines()) == 1
