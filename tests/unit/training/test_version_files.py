from __future__ import annotations

import json
import math
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import torch
from peft import PeftModel
from safetensors import safe_open

from tests.unit.training import tiny
from ttrl_server.training import publish, state
from ttrl_server.training.logprobs import Scorer
from ttrl_server.training.reference import naive_logprobs
from ttrl_server.types import Probe


@pytest.fixture(scope="module")
def policy() -> PeftModel:
    return tiny.tiny_policy(tiny.tiny_config(model="org/tiny"))


@pytest.fixture(scope="module")
def folder(policy: PeftModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    known = publish.probe(Scorer(policy), tiny.tiny_batch(policy))
    root = tmp_path_factory.mktemp("adapters")
    return publish.write_files(root, policy, state.initial(policy), known)


def test_peft_loads_the_files_and_they_score_as_the_probe_says(folder: Path) -> None:
    files = {"adapter_config.json", "adapter_model.safetensors", "probe.json", "trainer.pt"}
    assert {path.name for path in folder.iterdir()} == files
    read = msgspec.json.decode((folder / "probe.json").read_bytes(), type=Probe)
    loaded = PeftModel.from_pretrained(tiny.tiny_base(), str(folder))
    for k, (ids, start) in enumerate(zip(read.token_ids, read.start, strict=True)):
        with torch.no_grad():
            on = naive_logprobs(loaded, ids[:start], ids[start:], 1.0).tolist()
            with loaded.disable_adapter():
                off = naive_logprobs(loaded, ids[:start], ids[start:], 1.0).tolist()
        assert on == pytest.approx(read.adapter_logprobs[k], abs=1e-4)
        assert off == pytest.approx(read.base_logprobs[k], abs=1e-4)


def test_names_and_settings_are_the_ones_vllm_reads(folder: Path) -> None:
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        names = set(file.keys())
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in names
    assert not any("lm_head" in name for name in names)
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "org/tiny"
    assert (settings["r"], settings["lora_alpha"], settings["bias"]) == (8, 16, "none")
    assert settings["use_dora"] is False
    assert settings["modules_to_save"] is None


def test_a_probe_takes_few_short_sequences_from_many_questions(policy: PeftModel) -> None:
    long, short = (
        tiny.experience(None, 150, (60, 60), (1, 0)),
        tiny.experience(None, 4, (9, 9), (1, 0)),
    )
    known = publish.probe(Scorer(policy), tiny.batch_of(long, short))
    assert [len(ids) for ids in known.token_ids] == [24, 13, 24, 13]
    assert known.start == (12, 4, 12, 4)
    assert [len(scores) for scores in known.adapter_logprobs] == [12, 9, 12, 9]


def test_the_distance_from_the_base_model_is_taken_over_all_questions(policy: PeftModel) -> None:
    batch = tiny.tiny_batch(policy)
    gaps = []
    for group in (experience.group for experience in batch.experiences):
        for rollout in group.rollouts:
            whole = group.prompt_token_ids, rollout.token_ids
            with torch.no_grad():
                on = naive_logprobs(policy, *whole, 1.0)
                with policy.disable_adapter():
                    gaps += (naive_logprobs(policy, *whole, 1.0) - on).tolist()
    penalties = [math.exp(gap) - gap - 1 for gap in gaps]
    found = publish.kl_to_base(Scorer(policy), batch)
    assert found["kl_tokens"] == len(penalties) == sum(sum(lengths) for _, lengths in tiny.LENGTHS)
    assert found["kl_base"] == pytest.approx(sum(penalties) / len(penalties), rel=1e-3)


def test_a_long_completion_leaves_room_for_other_questions(policy: PeftModel) -> None:
    long, short = (tiny.experience(None, 4, (n, n), (1, 0)) for n in (200, 9))
    assert publish.kl_to_base(Scorer(policy), tiny.batch_of(long, short))["kl_tokens"] == 128 + 18


def test_a_disk_that_is_full_leaves_nothing_behind(policy: PeftModel, tmp_path: Path) -> None:
    root = tmp_path / "adapters"
    with too_small_files(), pytest.raises(OSError, match="large"):
        publish.write_files(root, policy, state.initial(policy), Probe((), (), (), ()))
    assert list(root.iterdir()) == []


@contextmanager
def too_small_files() -> Iterator[None]:
    """The kernel refuses to write more than 8 KiB to a file, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
