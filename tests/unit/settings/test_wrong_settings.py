"""A setting that cannot work is one line that names it, with the value and what to write
instead."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.conftest import python
from tests.unit.settings.conftest import CPU, parse, written
from ttrl_server.commands import serve
from ttrl_server.errors import ConfigError


def refusal(line: str) -> str:
    """The one line that a wrong command line ends in."""
    with pytest.raises(ConfigError) as error:
        parse(line)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--vote.sampels 3", ["--vote.sampels", "3", "--help"]),
        ("--vote.sample 3", ["--vote.sample"]),  # no abbreviations
        ("stray", ["stray"]),
        ("--vote.samples", ["--vote.samples"]),  # no value
        ("--model", ["--model"]),
        ("--config", ["--config"]),
        ("--vote.samples many", ["vote.samples", "'many'", "integer"]),
        ("--vote.samples 0", ["vote.samples", "'0'"]),
        ("--vote.policy sometimes", ["vote.policy", "'sometimes'", "'auto', 'always' or 'never'"]),
        ("--vote.samples 300", ["vote.samples", "300", "vote.max_samples 256"]),
        ("--train.samples 65", ["train.samples", "65", "64", "vote.samples"]),
        ("--limits.samples-in-flight 79", ["limits.samples_in_flight", "79", "64", "16 beside"]),
        ("--guard.wording again", ["guard.wording", "question"]),
        ("--guard.wording {question}! --vote.anchor 0", ["guard.wording", "vote.anchor"]),
        ("--train.rank 0", ["train.rank", "'0'"]),
        ("--train.rank 513", ["train.rank", "'513'", "512"]),
        ("--vote.level 1", ["vote.level", "1"]),
        ("--vote.weighting confidence --vote.stop beta", ["vote.stop beta", "exact or none"]),
        ("--train.learning-rate nan", ["train.learning_rate", "'nan'", "finite"]),
        ("--train.learning-rate inf", ["train.learning_rate", "'inf'", "finite"]),
        ("--api.host 0.0.0.0", ["api.host", "0.0.0.0", "--api-key"]),
        ("--api.hosts model.lan:80", ["api.hosts", "model.lan:80", "can match nothing"]),
        ("--api.origins https://chat.lan/", ["api.origins", "https://chat.lan/"]),
        ("--hardware tpu", ["hardware", "'tpu'"]),
        ("--gpus 0", ["gpus", "'0'"]),
        ("--gpus many", ["gpus", "'many'"]),
        ("--engine.devices a", ["engine.devices", "'a'"]),
        ("--config missing.yaml", ["--config", "missing.yaml", "cannot be read"]),
        ("--config .", ["--config", "cannot be read"]),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_with_the_setting_and_the_value(
    line: str, says: list[str]
) -> None:
    message = refusal(f"{CPU} {line}")
    assert [part for part in says if part not in message] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vote: {sampels: 3}", ["vote.sampels", "no such setting"]),
        ("votes: {samples: 3}", ["votes", "no such setting"]),
        ("served-model-name: x", ["served-model-name", "no such setting"]),
        ("vote: {samples: [1]}", ["vote.samples", "[1]"]),
        ("train: {learning_rate: .nan}", ["train.learning_rate", "nan"]),
        ("train: {learning_rate: '5e-6x'}", ["train.learning_rate", "5e-6x"]),
        ("vote: 5", ["vote", "5"]),
        ("engine: 5", ["engine", "5"]),
        ("train: [1]", ["train", "[1]"]),
        ("gpus: [1]", ["gpus", "[1]"]),
        ("1: 2", ["settings.yaml", "1"]),
        ("- vote", ["settings.yaml", "mapping", "list"]),
        ("", ["settings.yaml", "mapping"]),
        ("vote: [1", ["settings.yaml", "not valid YAML", "line 1"]),
        ("a: 1\n  b: 2", ["settings.yaml", "not valid YAML", "line 2"]),
        ("model: !!python/object/apply:os.getcwd []", ["settings.yaml", "not valid YAML"]),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_the_setting_and_the_value(
    text: str, says: list[str]
) -> None:
    message = refusal(f"{CPU} --config {written(text)}")
    assert [part for part in says if part not in message] == []


def test_a_file_that_is_not_text_is_one_line() -> None:
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "binary.yaml: cannot be read" in refusal("--config binary.yaml")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("TTRL_VOTE__SAMPLES", "many", ["vote.samples", "'many'"]),
        ("TTRL_VOTE__SAMPELS", "3", ["vote.sampels", "no such setting"]),
        ("TTRL_GPUS", "many", ["gpus", "'many'"]),
        ("TTRL_ENGINE__DEVICES", "[0", ["devices", "[0"]),
    ],
)
def test_a_mistake_in_the_environment_is_one_line_with_the_setting_and_the_value(
    name: str, value: str, says: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    message = refusal(CPU)
    assert [part for part in says if part not in message] == []


def test_a_missing_model_is_named_with_what_to_write() -> None:
    message = refusal("--hardware cpu")
    assert "model: missing; pass --model" in message
    assert "qwen3-8b" in message


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--engine.devices 0,1", "train.devices is empty while learning is on"),
        ("--train.devices 0", "engine.devices is empty"),
        (
            "--engine.devices 0,0 --train.devices 1",
            "engine.devices is [0, 0]: a GPU is named twice",
        ),
        (
            "--engine.devices 0,1,2 --train.devices 3 --engine.tensor-parallel 2",
            "engine.devices has 3 GPUs, not a multiple of engine.tensor_parallel (2)",
        ),
        ("--engine.devices 0,1 --train.launch elsewhere", "no api.admin_key"),
    ],
)
def test_gpus_that_are_not_there_for_both_sides_are_named(line: str, says: str) -> None:
    assert says in refusal(f"--model m --hardware cuda {line}")


def test_trainers_elsewhere_need_a_key_and_no_gpu_here() -> None:
    cuda = "--model m --hardware cuda --engine.devices 0,1"
    assert parse(f"{cuda} --train.launch elsewhere --api.admin-key k").train.devices == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_only_a_loopback_address_may_go_without_a_key(host: str) -> None:
    assert parse(f"{CPU} --host {host}").api.keys == []
    assert parse(f"{CPU} --host :: --api-key k").api.keys == ["k"]
    assert "api.host is ::" in refusal(f"{CPU} --host ::")


@pytest.mark.parametrize(
    "line", ["--train.rank 0", "--config missing.yaml", "--nope", "--host 0.0.0.0"]
)
def test_the_console_command_ends_with_code_2_and_that_one_line(line: str) -> None:
    done = python("-m", "ttrl_server.commands.serve", *shlex.split(f"{CPU} {line}"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ttrl-serve: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("api: {keys: s3cret}", {}),
        ("api: {admin_key: [s3cret]}", {}),
        ("engine: {key: [s3cret]}", {}),
        ("{}", {"TTRL_API__KEYS": "s3cret"}),
    ],
)
def test_a_secret_that_is_spelt_wrongly_is_not_repeated_in_the_message(
    text: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    message = refusal(f"{CPU} --config {written(text)}")
    assert "key" in message
    assert "s3cret" not in message


@pytest.mark.parametrize("named", ["", "ttrl_cpu_lora", "ttrl_cpu_seed,another"])
def test_a_start_without_both_cpu_plugins_is_refused(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """vLLM loads the plugins that VLLM_PLUGINS names; none when it is set and empty."""
    config = parse(CPU)
    monkeypatch.setenv("VLLM_PLUGINS", named)
    with pytest.raises(ConfigError, match="VLLM_PLUGINS"):
        serve._check_machine(config)
    monkeypatch.setenv("VLLM_PLUGINS", "ttrl_cpu_lora,ttrl_cpu_seed")
    serve._check_machine(config)
