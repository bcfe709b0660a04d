"""One typed tree of settings, validated once, before torch or vllm is imported.

A value comes from the first of: command-line flag (``--vote.samples 64``), environment
(``TTRL_VOTE__SAMPLES``), the YAML file (``--config FILE``, or the preset in ``configs/`` that
``--model`` names), the default in ``sections.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ttrl_server.settings import sections
from ttrl_server.settings.devices import place


class Config(sections.Section):
    """All settings of ``ttrl-serve``."""

    model: str
    """Hub id or local folder of the base model, or the name of a preset in configs/."""
    served_model_name: str = ""
    """The model name that clients use; default: the last part of model."""
    revision: str | None = None
    """Hub revision of the base model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Data type of the engine's weights and activations."""
    max_model_len: int | None = Field(None, ge=16)
    """Most tokens of prompt + completion; default: the value in the model's configuration."""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Passed to the chat template of every question, e.g. {enable_thinking: false}."""
    hardware: Literal["cpu", "cuda"] = "cpu"
    """Default: cuda if the machine has NVIDIA devices, else cpu."""
    gpus: int | None = Field(None, ge=1)
    """GPUs to divide 5 to 3 between engine and trainer, unless one of them has a devices list."""
    run_dir: Path | None = None
    """Folder for store, logs and resolved settings; default: runs/<served model name>."""
    api: sections.ApiConfig = sections.ApiConfig()
    vote: sections.VoteConfig = sections.VoteConfig()
    batch: sections.BatchConfig = sections.BatchConfig()
    limits: sections.LimitsConfig = sections.LimitsConfig()
    engine: sections.EngineConfig = sections.EngineConfig()
    train: sections.TrainConfig = sections.TrainConfig()
    store: sections.StoreConfig = sections.StoreConfig()
    adapters: sections.AdaptersConfig = sections.AdaptersConfig()
    gate: sections.GateConfig = sections.GateConfig()
    guard: sections.GuardConfig = sections.GuardConfig()
    log: sections.LogConfig = sections.LogConfig()

    @property
    def name(self) -> str:
        return self.served_model_name or self.model.rstrip("/").rsplit("/", 1)[-1]

    def url(self, port: int) -> str:
        """The gateway's URL for processes on this machine."""
        host = "127.0.0.1" if self.api.host in ("0.0.0.0", "localhost") else self.api.host
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def state_dir(self) -> Path:
        return (self.run_dir or Path("runs") / self.name).absolute()

    @property
    def resolved_file(self) -> Path:
        """The file from which the trainer reads its settings."""
        return self.state_dir / "resolved.json"

    @property
    def adapters_root(self) -> Path:
        return self.adapters.dir.absolute()

    @property
    def base_model(self) -> str:
        """The base model's name and revision: adapters of another base model are never served."""
        return f"{self.model}@{self.revision}" if self.revision else self.model

    @property
    def replicas(self) -> int:
        """Number of engines: GPUs / engine.tensor_parallel; on a CPU engine.replicas."""
        if self.engine.url:
            return 1
        if self.hardware == "cpu":
            return self.engine.replicas
        return len(self.engine.devices) // self.engine.tensor_parallel

    @property
    def train_ranks(self) -> int:
        return max(1, len(self.train.devices)) if self.train.enabled else 0

    @property
    def cpu_waiting(self) -> dict[str, str]:
        """Environment for the OpenMP threads of engine and trainer on a CPU.

        If both work at the same time, idle threads must sleep, or they take the cores from the
        other process. Otherwise they keep OpenMP's default: waking costs up to half the speed.
        """
        both_at_once = self.train.enabled and self.train.when == "always"
        return {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"} if both_at_once else {}

    @property
    def shares_devices(self) -> bool:
        """Whether engine and trainer use the same device."""
        if self.hardware == "cpu":
            return True
        return bool(set(self.engine.devices) & set(self.train.devices))

    @model_validator(mode="before")
    @classmethod
    def _place(cls, data: Any) -> Any:
        return place(data) if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for problem in chain(_vote_problems(self), _device_problems(self), _key_problems(self)):
            raise ValueError(problem)
        return self


def _vote_problems(c: Config) -> Iterator[str]:
    votes, trained, rule = c.vote.samples, c.train.samples, c.vote.stop
    if votes > c.vote.max_samples:
        yield f"vote.samples is {votes}, above vote.max_samples {c.vote.max_samples}"
    if c.train.enabled and trained > votes:
        yield f"train.samples is {trained}, above the {votes} samples that vote (vote.samples)"
    weighting = c.vote.weighting
    if weighting != "uniform" and rule in ("beta", "certificate"):
        yield f"vote.stop {rule} counts votes; with vote.weighting {weighting} use exact or none"
    if c.guard.wording and not c.vote.anchor:
        yield "guard.wording draws vote.anchor samples: that is 0"
    beside = c.vote.beside(votes) * (1 + c.guard.opposite + bool(c.guard.wording))
    if votes + beside > c.limits.samples_in_flight:
        yield (
            f"limits.samples_in_flight is {c.limits.samples_in_flight}, below vote.samples {votes} "
            f"and the {beside} beside them (vote.anchor)"
        )


def _device_problems(c: Config) -> Iterator[str]:
    if c.hardware == "cpu":
        return
    serving, training, team = c.engine.devices, c.train.devices, c.engine.tensor_parallel
    for name, devices in (("engine", serving), ("train", training)):
        if len(set(devices)) < len(devices):
            yield f"{name}.devices is {devices}: a GPU is named twice"
    if not c.engine.url and not serving:
        yield "engine.devices is empty: name GPUs that serve, or use --hardware cpu or --gpus N"
    if len(serving) % team:
        count = len(serving)
        yield f"engine.devices has {count} GPUs, not a multiple of engine.tensor_parallel ({team})"
    if c.train.enabled and c.train.launch == "here" and not (training or c.train.hostfile):
        advice = "name the GPUs that train, or use --train.enabled false"
        yield f"train.devices is empty while learning is on: {advice}"


def _key_problems(c: Config) -> Iterator[str]:
    if c.train.enabled and c.train.launch == "elsewhere" and not c.api.admin_key:
        yield "train.launch is elsewhere and there is no api.admin_key: give one, for the trainers"
    if not c.api.keys and c.api.host not in ("127.0.0.1", "::1", "localhost"):
        advice = "give a key (--api-key) or bind 127.0.0.1"
        yield f"api.host is {c.api.host} and there is no api.keys: {advice}"
