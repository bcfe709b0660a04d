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


def config(**settings: Any) -> Config:
    return Config.model_validate({"model": "org/model", "api": {"admin_key": "s3cret"}} | settings)


def on_gpus(*devices: int) -> Config:
    return config(hardware="cuda", engine={"devices": [0]}, train={"devices": list(devices)})


def test_one_rank_needs_no_launcher() -> None:
    argv, _ = trainer_command(on_gpus(1), Path("/run/c.json"), "http://127.0.0.1:8000")
    worker = [
        "-m",
        "ttrl_server.training.worker",
        "--config",
        "/run/c.json",
        "--gateway",
        "http://127.0.0.1:8000",
    ]
    assert argv == [sys.executable, *worker]


@pytest.mark.parametrize("devices", [(1, 2, 3), (4, 5, 6, 7)])
def test_several_gpus_run_one_rank_each_under_torchrun(devices: tuple[int, ...]) -> None:
    argv, env = trainer_command(on_gpus(*devices), Path("c.json"), "http://g")
    assert argv[1:6] == [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(len(devices)),
    ]
    assert env == {"CUDA_VISIBLE_DEVICES": ",".join(map(str, devices))}


def test_several_machines_run_under_deepspeeds_launcher(tmp_path: Path) -> None:
    hosts = tmp_path / "hostfile"
    hosts.write_text("first slots=4\nsecond slots=4\n")
    cfg = config(hardware="cuda", engine={"devices": [0]}, train={"hostfile": str(hosts)})
    argv, env = trainer_command(cfg, Path("/shared/c.json"), "http://first:8000")
    worker = [
        "ttrl_server.training.worker",
        "--config",
        "/shared/c.json",
        "--gateway",
        "http://first:8000",
    ]
    launcher = [
        "-m",
        "deepspeed.launcher.runner",
        "--hostfile",
        str(hosts),
        "--no_local_rank",
        "--module",
    ]
    assert argv == [sys.executable, *launcher, *worker]
    assert env == {}
    read = (
        "import sys; from deepspeed.launcher import runner; a = runner.parse_args(sys.argv[1:]); "
        "print(dict(runner.fetch_hostfile(a.hostfile)), a.module, a.user_script, a.user_args)"
    )
    done = subprocess.run(
        [sys.executable, "-c", read, *argv[3:]], capture_output=True, text=True, timeout=100
    )
    assert done.stdout.strip().endswith(
        f"{{'first': 4, 'second': 4}} True {worker[0]} {worker[1:]}"
    ), done.stdout + done.stderr[-500:]


def test_only_the_first_of_several_machines_needs_the_gateways_key(tmp_path: Path) -> None:
    done = run_worker("--config", str(tmp_path / "no.json"), "--gateway", "http://g", RANK="4")
    assert "no.json" in done.stderr


def test_a_cpu_trainer_that_works_beside_a_busy_engine_waits_asleep() -> None:
    argv, env = trainer_command(config(hardware="cpu"), Path("c.json"), "http://g")
    assert "torch.distributed.run" not in argv
    assert env == {
        "CUDA_VISIBLE_DEVICES": "",
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": str(os.cpu_count()),
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
    }
    own = {"cpu_threads": 3, "when": "idle"}
    assert trainer_command(config(hardware="cpu", train=own), Path("c"), "")[1] == {
        "CUDA_VISIBLE_DEVICES": "",
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "3",
    }


def test_a_local_model_is_never_looked_for_on_the_hub(tmp_path: Path) -> None:
    assert "HF_HUB_OFFLINE" not in trainer_command(config(hardware="cpu"), Path("c"), "")[1]
    assert (
        trainer_command(config(hardware="cpu", model=str(tmp_path)), Path("c"), "")[1][
            "HF_HUB_OFFLINE"
        ]
        == "1"
    )


@pytest.mark.parametrize("cfg", [config(hardware="cpu"), on_gpus(1), on_gpus(1, 2, 3)])
def test_no_secret_is_in_the_command_or_its_environment(cfg: Config) -> None:
    assert "s3cret" not in str(trainer_command(cfg, Path("c.json"), "http://g"))


@pytest.mark.parametrize("ranks", [1, 3, 4])
@pytest.mark.parametrize("stage", [0, 3])
def test_deepspeed_gets_plain_json_with_torchs_own_adamw(ranks: int, stage: int) -> None:
    train = {
        "devices": list(range(1, ranks + 1)),
        "zero_stage": stage,
        "grad_clip": 0.5,
        "learning_rate": 1e-4,
    }
    settings = deepspeed_config(config(hardware="cuda", engine={"devices": [0]}, train=train))
    assert json.loads(json.dumps(settings)) == settings
    assert settings["zero_optimization"] == {"stage": stage}
    assert settings["gradient_clipping"] == 0.5
    assert settings["optimizer"]["params"] == {"lr": 1e-4, "weight_decay": 0.01, "torch_adam": True}
    assert "bf16" not in settings
    assert "fp16" not in settings


def run_worker(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ttrl_server.training.worker", *args]
    clean = {name: value for name, value in os.environ.items() if name != "TTRL_ADMIN_KEY"}
    return subprocess.run(command, capture_output=True, text=True, env=clean | env, timeout=60)


def test_help_answers_without_torch() -> None:
    code = (
        "import sys\nfrom ttrl_server.training import worker\n"
        "try: worker.main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'deepspeed', 'peft', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "TTRL_ADMIN_KEY" in done.stdout


def test_a_wrong_setting_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    wrong = tmp_path / "c.json"
    wrong.write_text('{"model": "m", "hardware": "cpu", "train": {"rank": "many"}}')
    for path, key, say in (
        (wrong, "k", "train.rank"),
        (tmp_path / "no.json", "k", "no.json"),
        (wrong, "", "train.rank"),
    ):
        done = run_worker("--config", str(path), "--gateway", "http://g", TTRL_ADMIN_KEY=key)
        assert done.returncode == 2
        assert say in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_missing_key_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    good = tmp_path / "c.json"
    good.write_text(config(hardware="cpu").model_dump_json())
    done = run_worker("--config", str(good), "--gateway", "http://g")
    assert done.returncode == 2
    assert "TTRL_ADMIN_KEY" in done.stderr
    assert len(done.stderr.splitlines()) == 1
