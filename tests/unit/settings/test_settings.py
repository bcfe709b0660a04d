"""Where a setting comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.settings.conftest import CPU, parse, written
from ttrl_server.settings import sources
from ttrl_server.settings.config import Config
from ttrl_server.settings.devices import split_devices

TURNED = """
model: org/other
served_model_name: other
revision: abc123
dtype: float16
max_model_len: 2048
chat_template_kwargs: {enable_thinking: false}
hardware: cuda
gpus: 6
run_dir: /run/other
api:
  {host: 0.0.0.0, port: 0, keys: [first, second], admin_key: boss, hosts: [model.lan],
   origins: ["https://chat.lan"], max_body_mib: 1.5}
vote:
  {policy: always, json: fields, stream: first, ignored: [why], samples: 16, max_samples: 32,
   temperature: 1.0, max_tokens: 24, deadline_s: 5.0, share: true, quorum: 0.5, stop: none,
   level: 0.9, wave: 4, weighting: confidence, anchor: 4, fallback: best_of_n}
batch: {max_questions: 3, max_wait_ms: 0.0}
limits: {samples_in_flight: 100, waiting: 7, wait_s: 2.0}
engine:
  {url: "http://engine:8001", key: engine-key, replicas: 2, devices: [0, 1], tensor_parallel: 2,
   max_num_seqs: 17, max_loras: 6, gpu_memory_utilization: 0.5, cpu_kv_cache_gib: 1.5,
   cpu_threads: 0-3, startup_timeout_s: 60.0, drain_timeout_s: 1.0, load_timeout_s: 9.0,
   extra_args: [--enforce-eager]}
train:
  {enabled: false, launch: elsewhere, samples: 8, min_group: 4, questions: 2, least: 1,
   max_wait_s: 1.0,
   max_staleness: 0, devices: [4, 5], hostfile: /shared/hostfile, feedback: false, rank: 64,
   alpha: 128, reward: signed, algorithm: gspo, std_normalise: true, aggregate: constant,
   aggregate_length: 24, learning_rate: 0.0001, schedule: cosine, total_steps: 10, warmup_steps: 2,
   weight_decay: 0.0, grad_clip: 0.5, clip_low: 0.1, clip_high: 0.28, kl: 0.0, importance: mask,
   importance_cap: 5.0, gae_lambda: 0.95, value_weight: 0.5, prime_beta: 0.1, teacher_decay: 0.9,
   micro_batch_tokens: 512, memory_gib: 6.0, gradient_checkpointing: "on", zero_stage: 3,
   dtype: bfloat16, seed: 7, lease_s: 9.0, when: idle, patience_s: 3.0, cpu_threads: 2, niceness: 0}
store: {url: "postgresql://db/ttrl"}
adapters: {dir: /shared/adapters, keep: 2, keep_days: 30.0}
gate:
  {mode: "off", probe_tolerance: 2.0, canary_share: 0.2, witnesses: 2, sentinels: false, sees: 0.1,
   blind: promote, canary_questions: 16, canary_least: 4, canary_samples: 4, canary_z: 3.0,
   labelled: labelled.jsonl, margin: 0.2, alpha: 0.01}
guard:
  {min_echo: 0.4, min_support: 0.1, min_known: 0.3, min_confidence: 0.2, opposite: false,
   wording: "{question} Only the result.",
   attractors: false, min_majority: 0.5, min_margin: 0.15, rare: 0.1,
   min_extractable: 0.5, max_copies: 2, watch_groups: 16, watch_window: 64, min_entropy: 0.1,
   max_entropy: 2.0, min_length: 0.5, max_length: 2.0, max_kl: 1.0, refusals: 2, bad_steps: 2,
   max_updates: 100, max_questions: 128}
log: {format: json, level: debug}
"""
"""Every setting there is, each away from its default."""


def leaves(values: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and name != "chat_template_kwargs":
            yield from (((name, *path), leaf) for path, leaf in leaves(value))
        else:
            yield (name,), value


def as_flags(values: dict[str, Any]) -> list[str]:
    argv = []
    for path, value in leaves(values):
        flag = "--" + ".".join(path).replace("_", "-")
        each = value if isinstance(value, list) else [value]
        argv += [f"{flag}={json.dumps(v) if isinstance(v, dict) else v}" for v in each]
    return argv


def as_environment(values: dict[str, Any]) -> dict[str, str]:
    said = {path: v if isinstance(v, str) else json.dumps(v) for path, v in leaves(values)}
    return {"TTRL_" + "__".join(path).upper(): text for path, text in said.items()}


# ---------------------------------------------------------------- sources


def test_the_table_above_turns_every_setting_away_from_its_default() -> None:
    default = dict(leaves(parse(CPU).model_dump(mode="json")))
    turned = dict(leaves(yaml.safe_load(TURNED)))
    assert turned.keys() == default.keys()
    assert [path for path in turned if turned[path] == default[path]] == []


@pytest.mark.parametrize("source", ["flags", "environment", "file"])
def test_every_setting_can_be_turned_from(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = yaml.safe_load(TURNED)
    argv = {"flags": as_flags(values), "file": ["--config", written(TURNED)]}.get(source, [])
    for name, value in as_environment(values).items() if source == "environment" else ():
        monkeypatch.setenv(name, value)
    assert sources.parse(argv).config.model_dump(mode="json") == values


@pytest.mark.parametrize(
    ("flag", "environment", "file", "winner"),
    [
        (48, 40, 36, 48),
        (None, 40, 36, 40),
        (None, None, 36, 36),
        (None, None, None, 64),
        (48, None, 36, 48),
    ],
)
def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(
    flag: int | None,
    environment: int | None,
    file: int | None,
    winner: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vote = {"samples": file} if file else {}
    line = f"{CPU} --config {written(json.dumps({'vote': vote}))}"
    if flag:
        line += f" --vote.samples {flag}"
    if environment:
        monkeypatch.setenv("TTRL_VOTE__SAMPLES", str(environment))
    assert parse(line).vote.samples == winner


def test_sources_are_merged_setting_by_setting_not_section_by_section(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TTRL_VOTE__TEMPERATURE", "0.9")
    file = written("vote: {samples: 40, temperature: 0.1, max_tokens: 5}")
    vote = parse(f"{CPU} --config {file} --vote.max-tokens 7").vote
    assert (vote.samples, vote.temperature, vote.max_tokens) == (40, 0.9, 7)


def test_the_short_flags_of_vllm_users_work() -> None:
    config = parse(f"{CPU} --host 0.0.0.0 --port 9000 --api-key a --api-key b --engine-url u")
    assert (config.api.host, config.api.port, config.api.keys) == ("0.0.0.0", 9000, ["a", "b"])
    assert config.engine.url == "u"


@pytest.mark.parametrize("given", ["0,1", "'[0, 1]'", "0 --engine.devices 1"])
def test_a_list_may_be_given_with_commas_or_as_json(given: str) -> None:
    config = parse(f"--model m --hardware cuda --train.enabled false --engine.devices {given}")
    assert config.engine.devices == [0, 1]


def test_a_model_named_by_flag_beats_the_one_of_the_file() -> None:
    file = written("{model: org/file, hardware: cpu}")
    assert parse(f"--config {file} --model org/flag").model == "org/flag"


def test_whatever_follows_two_dashes_goes_to_vllm_untouched() -> None:
    rest = ["--model", "x", "--dry-run", "--", "a b", "--help"]
    invocation = sources.parse([*CPU.split(), "--engine.extra-args=--first", "--", *rest])
    assert invocation.config.model == "org/tiny"
    assert invocation.config.engine.extra_args == ["--first", *rest]
    assert not invocation.dry_run


# ---------------------------------------------------------------- presets


@pytest.mark.parametrize("name", ["Qwen3-8B", "qwen3-8b", "Qwen/Qwen3-8B"])
def test_a_preset_is_found_by_the_name_of_its_model(name: str) -> None:
    for argv in (["--model", name], [f"--model={name}"]):
        invocation = sources.parse(argv)
        assert invocation.source == sources.presets()["qwen3-8b"]
        assert (invocation.config.model, invocation.config.name) == ("Qwen/Qwen3-8B", "Qwen3-8B")
        assert (invocation.config.train.rank, invocation.config.vote.samples) == (32, 64)


@pytest.mark.parametrize("path", ["models/Qwen3-8B", "./Qwen3-8B/", "Qwen3-8B"])
def test_a_local_folder_named_like_a_preset_has_its_settings_and_stays_itself(path: str) -> None:
    Path(path).mkdir(parents=True)
    config = parse(f"--model {path}")
    assert (config.model, config.name, config.train.rank) == (path, "Qwen3-8B", 32)


@pytest.mark.parametrize(("named", "line"), [("Qwen3-8B", ""), ("org/other", "--model Qwen3-8B")])
def test_the_environment_may_name_a_preset_and_a_flag_beats_it(
    named: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTRL_MODEL", named)
    assert parse(line).model == "Qwen/Qwen3-8B"


def test_a_file_of_ones_own_replaces_the_preset() -> None:
    own = written("{hardware: cpu, vote: {samples: 40}}")
    invocation = sources.parse(["--model", "Qwen/Qwen3-8B", "--config", own])
    assert invocation.source == Path(own)
    assert (invocation.config.vote.samples, invocation.config.train.rank) == (40, 16)


@pytest.mark.parametrize("preset", sorted(sources.presets()))
def test_every_shipped_preset_stands_for_its_model(preset: str) -> None:
    config = parse(f"--model {preset}")
    assert config.model.lower().rsplit("/", 1)[-1].startswith(preset)
    assert config == parse(f"--config {sources.presets()[preset]}")
    assert config.train.samples <= config.vote.samples


# ---------------------------------------------------------------- devices


@pytest.mark.parametrize(
    ("gpus", "serving", "training"),
    [
        (8, [0, 1, 2, 3, 4], [5, 6, 7]),
        (4, [0, 1], [2, 3]),
        (2, [0], [1]),
        (3, [0, 1], [2]),
        (1, [0], [0]),
    ],
)
def test_gpus_are_divided_five_to_three_and_a_single_one_is_shared(
    gpus: int, serving: list[int], training: list[int]
) -> None:
    assert split_devices(gpus, learning=True) == (serving, training)
    config = parse(f"--model m --gpus {gpus}")
    assert config.hardware == "cuda"
    assert (config.engine.devices, config.train.devices) == (serving, training)
    assert (config.replicas, config.train_ranks) == (len(serving), len(training))
    assert config.shares_devices == (gpus == 1)


@pytest.mark.parametrize("no", ["false", "False", "0", "no", "off", "n", "f"])
def test_all_gpus_serve_when_nothing_learns_however_no_is_spelt(no: str) -> None:
    config = parse(f"--model m --gpus 4 --train.enabled {no}")
    assert not config.train.enabled
    assert (config.engine.devices, config.train.devices) == ([0, 1, 2, 3], [])
    assert config.train_ranks == 0


def test_gpus_named_for_one_side_are_not_divided_again() -> None:
    config = parse("--model m --gpus 8 --engine.devices 6,7 --train.devices 0")
    assert (config.engine.devices, config.train.devices) == ([6, 7], [0])


def test_serving_gpus_come_in_whole_teams() -> None:
    assert split_devices(8, learning=True, team=2) == ([0, 1, 2, 3], [4, 5, 6, 7])
    assert split_devices(8, learning=True, team=4) == ([0, 1, 2, 3], [4, 5, 6, 7])
    assert split_devices(2, learning=True, team=2) == ([0, 1], [0, 1])


# ---------------------------------------------------------------- secrets


def test_printed_settings_hold_no_secret_and_are_settings_again() -> None:
    secrets = """
        api: {keys: [s3cret1, s3cret2], admin_key: s3cret3}
        engine: {key: s3cret4, url: "http://127.0.0.1:8001"}
        store: {url: "postgresql://ttrl:s3cret5@db/ttrl"}
    """
    config = parse(f"{CPU} --config {written(secrets)}")
    shown = sources.redacted(config)
    assert "s3cret" not in json.dumps(shown)
    assert shown["api"]["keys"] == ["***", "***"]
    assert "ttrl" in shown["store"]["url"]
    again = Config.model_validate(json.loads(json.dumps(shown)))
    redacted = {name: getattr(config, name) for name in ("api", "engine", "store")}
    absolute = config.model_copy(update={"adapters": again.adapters})
    assert again.model_copy(update=redacted) == absolute
    assert again.adapters.dir.is_absolute()


def test_no_secret_is_shown_where_none_was_given() -> None:
    shown = sources.redacted(parse(CPU))
    assert (shown["api"]["keys"], shown["api"]["admin_key"]) == ([], None)
    assert shown["engine"]["key"] is None
