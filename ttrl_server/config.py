"""One typed tree of settings, validated once, before torch or vllm is imported.

A value comes from the first of: command-line flag (``--vote.samples 64``), environment (``TTRL_VOTE__SAMPLES``),
the YAML file (``--config FILE``, or the preset in ``configs/`` that ``--model`` names), the default here.
Published settings: ttrl.md section 2 (the paper's), turned into LoRA ones (10 × learning rate).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ttrl_server.devices import place

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks for which vLLM compiles or sizes its LoRA buffers (its --max-lora-rank choices)."""


Key = Annotated[str, Field(min_length=1)]
"""An API key; an empty one would let everybody in."""

Device = Annotated[int, Field(ge=0)]
"""Number of a GPU."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class ApiConfig(Section):
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    """0 picks a free port; the banner names it."""
    keys: list[Key] = Field(default_factory=list)
    """Keys of clients. Without one only a loopback address may be bound."""
    admin_key: Key | None = None
    """Key of trainers on other machines and of the admin routes; made at random when not given."""
    max_body_mib: float = Field(16, gt=0)


class VoteConfig(Section):
    policy: Literal["auto", "always", "never"] = "auto"
    """auto: a plain text answer is asked for (n = 1, no tools, no response_format, no audio, temperature not 0)."""
    samples: int = Field(64, ge=1)
    """M, samples that vote on one question."""
    max_samples: int = Field(256, ge=1, le=2**20)
    """The most a client may ask for."""
    temperature: float = Field(0.6, gt=0, le=2)
    """Used when the client gives none."""
    max_tokens: int | None = Field(None, ge=1)
    """Completion length when the client gives none; default: what is left of the context."""
    deadline_s: float = Field(600, gt=0)
    """Time one question may take, then 504."""


class BatchConfig(Section):
    max_questions: int = Field(8, ge=1)
    """Questions that start together on one adapter version."""
    max_wait_ms: float = Field(20, ge=0)


class LimitsConfig(Section):
    samples_in_flight: int = Field(8192, ge=1)
    """Samples admitted and not yet done, over all questions; beyond it 429."""


class EngineConfig(Section):
    url: str | None = None
    """A running vLLM server to attach to, instead of starting one."""
    key: str | None = None
    """Its API key."""
    devices: list[Device] = Field(default_factory=list)
    """GPUs that serve; one replica takes tensor_parallel of them."""
    tensor_parallel: int = Field(1, ge=1)
    max_num_seqs: int = Field(256, ge=1)
    """Sequences one replica runs at once."""
    max_loras: int = Field(4, ge=2)
    """Adapters in the engine at once: served, draining, candidate and one spare."""
    gpu_memory_utilization: float | None = Field(None, gt=0, le=1)
    """Default: 0.9, or 0.45 on a GPU that also trains."""
    cpu_kv_cache_gib: float = Field(4, gt=0)
    cpu_threads: str = "all"
    """Cores of a CPU engine: 'all', or a list for vLLM such as 0-7."""
    startup_timeout_s: float = Field(1800, gt=0)
    drain_timeout_s: float = Field(30, ge=0)
    extra_args: list[str] = Field(default_factory=list)
    """Given to vLLM untouched; on the command line, whatever follows --."""


class TrainConfig(Section):
    enabled: bool = True
    launch: Literal["here", "elsewhere"] = "here"
    """elsewhere: ttrl-train is started by hand, on other machines, and reaches the gateway by URL."""
    samples: int = Field(32, ge=2)
    """G, rollouts of a group that train: the first G indices, chosen before sampling."""
    questions: int = Field(8, ge=1)
    """Groups in one optimiser step."""
    max_wait_s: float = Field(60, ge=0)
    """A step starts with fewer groups when the oldest has waited this long."""
    max_staleness: int = Field(4, ge=0)
    """Promotions after which a group is too old to train on."""
    devices: list[Device] = Field(default_factory=list)
    """GPUs that train; one rank each."""
    rank: int = 16
    """LoRA rank, one of vLLM's."""
    alpha: int = Field(32, ge=1)
    algorithm: Literal["grpo"] = "grpo"
    std_normalise: bool = False
    """Divide advantages by the group's standard deviation (DeepSeekMath); amplifies noise at low consensus."""
    learning_rate: float = Field(5e-6, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    total_steps: int = Field(1000, ge=1)
    """Length of the cosine."""
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    grad_clip: float = Field(1.0, gt=0)
    clip_low: float = Field(0.2, gt=0, lt=1)
    clip_high: float = Field(0.2, gt=0)
    kl: float = Field(0.001, ge=0)
    """β of the k3 penalty to the adapter-off reference; 0 saves that pass."""
    importance_cap: float = Field(2.0, ge=1)
    """Token truncation of π_θ / π_engine (TIS)."""
    micro_batch_tokens: int = Field(4096, ge=1)
    """Prompt + completion tokens of one forward pass."""
    zero_stage: int = Field(0, ge=0, le=3)
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the base weights in the trainer; adapters are always float32."""
    seed: int = 0
    lease_s: float = Field(120, gt=0)
    when: Literal["always", "idle"] = "always"
    """idle: a step waits for a moment without samples in flight, where engine and trainer share the cores."""
    patience_s: float = Field(30, ge=0)
    """The longest an idle trainer waits for that moment."""
    cpu_threads: int = Field(0, ge=0)
    """Threads of each CPU rank; 0: all cores divided by the ranks."""
    niceness: int = Field(10, ge=0, le=19)


class StoreConfig(Section):
    url: str | None = None
    """SQLAlchemy URL; default: SQLite in the run folder."""


class AdaptersConfig(Section):
    dir: Path = Path("adapters")
    keep: int = Field(4, ge=2)
    """Promoted versions whose folders are kept."""


class GateConfig(Section):
    mode: Literal["strict", "off"] = "strict"
    """strict: preflight and probe must pass. off: preflight only."""
    probe_tolerance: float = Field(4, ge=1)
    """How many times engine and trainer may differ with the adapter on, against what they do with it off."""


class LogConfig(Section):
    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Section):
    """Everything ``ttrl-serve`` can be told."""

    model: str
    """Hub id or local folder of the base model; a name in configs/ brings that preset."""
    served_model_name: str = ""
    """The name clients ask for; default: the last part of model."""
    revision: str | None = None
    """Hub revision of the base model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Weights and activations of the engine."""
    max_model_len: int | None = Field(None, ge=16)
    """Prompt + completion tokens; default: what the model's own configuration says."""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Passed to the chat template of every question, e.g. {enable_thinking: false}."""
    hardware: Literal["cpu", "cuda"] = "cpu"
    """Default: cuda where NVIDIA devices are seen, else cpu."""
    gpus: int | None = Field(None, ge=1)
    """GPUs to divide between engine and trainer, 5 to 3, where engine.devices and train.devices do not say."""
    run_dir: Path | None = None
    """Store, logs and resolved settings; default runs/<served model name>."""
    api: ApiConfig = ApiConfig()
    vote: VoteConfig = VoteConfig()
    batch: BatchConfig = BatchConfig()
    limits: LimitsConfig = LimitsConfig()
    engine: EngineConfig = EngineConfig()
    train: TrainConfig = TrainConfig()
    store: StoreConfig = StoreConfig()
    adapters: AdaptersConfig = AdaptersConfig()
    gate: GateConfig = GateConfig()
    log: LogConfig = LogConfig()

    @property
    def name(self) -> str:
        return self.served_model_name or self.model.rstrip("/").rsplit("/", 1)[-1]

    @property
    def state_dir(self) -> Path:
        return (self.run_dir or Path("runs") / self.name).absolute()

    @property
    def adapters_root(self) -> Path:
        return self.adapters.dir.absolute()

    @property
    def base_model(self) -> str:
        """Identity of the base model: adapters of another one are never served."""
        return f"{self.model}@{self.revision}" if self.revision else self.model

    @property
    def replicas(self) -> int:
        """Engine processes: serving devices in tensor-parallel teams, one on a CPU."""
        if self.engine.url or self.hardware == "cpu":
            return 1
        return len(self.engine.devices) // self.engine.tensor_parallel

    @property
    def train_ranks(self) -> int:
        return max(1, len(self.train.devices)) if self.train.enabled else 0

    @property
    def cpu_waiting(self) -> dict[str, str]:
        """How OpenMP threads of engine and trainer wait on a CPU: asleep where both work at once, or they starve each
        other; as they like where a step waits for an idle engine (waking costs the engine up to half its speed)."""
        both_at_once = self.train.enabled and self.train.when == "always"
        return {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"} if both_at_once else {}

    @property
    def shares_devices(self) -> bool:
        """Engine and trainer live on the same device."""
        if self.hardware == "cpu":
            return True
        return bool(set(self.engine.devices) & set(self.train.devices))

    @model_validator(mode="before")
    @classmethod
    def _place(cls, data: Any) -> Any:
        return place(data) if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for problem in (*_vote_problems(self), *_device_problems(self), *_api_problems(self)):
            raise ValueError(problem)
        return self


def _vote_problems(c: Config) -> list[str]:
    problems = []
    if c.vote.samples > c.vote.max_samples:
        problems.append(f"vote.samples is {c.vote.samples}, above vote.max_samples {c.vote.max_samples}")
    if c.train.enabled and c.train.samples > c.vote.samples:
        problems.append(
            f"train.samples is {c.train.samples}, more than the {c.vote.samples} samples that vote (vote.samples)"
        )
    if c.vote.samples > c.limits.samples_in_flight:
        problems.append(
            f"limits.samples_in_flight is {c.limits.samples_in_flight}, below vote.samples {c.vote.samples}"
        )
    if c.train.rank not in LORA_RANKS:
        problems.append(f"train.rank is {c.train.rank}; vLLM takes one of {', '.join(map(str, LORA_RANKS))}")
    if not math.isfinite(c.train.learning_rate):
        problems.append(f"train.learning_rate is {c.train.learning_rate}")
    return problems


def _device_problems(c: Config) -> list[str]:
    if c.hardware == "cpu":
        return []
    problems = [
        f"{name}.devices is {devices}: a GPU is named twice"
        for name, devices in (("engine", c.engine.devices), ("train", c.train.devices))
        if len(set(devices)) < len(devices)
    ]
    if not c.engine.url and not c.engine.devices:
        problems.append("engine.devices is empty: name the GPUs that serve, or use --hardware cpu or --gpus N")
    if len(c.engine.devices) % c.engine.tensor_parallel:
        problems.append(
            f"engine.devices has {len(c.engine.devices)} GPUs, not a multiple of engine.tensor_parallel "
            f"({c.engine.tensor_parallel})"
        )
    if c.train.enabled and c.train.launch == "here" and not c.train.devices:
        problems.append(
            "train.devices is empty while learning is on: name the GPUs that train, or use --train.enabled false"
        )
    return problems


def _api_problems(c: Config) -> list[str]:
    if c.train.enabled and c.train.launch == "elsewhere" and not c.api.admin_key:
        return ["train.launch is elsewhere and there is no api.admin_key: give the key that trainers are to use"]
    if c.api.keys or c.api.host in ("127.0.0.1", "::1", "localhost"):
        return []
    return [f"api.host is {c.api.host} and there is no api.keys: give a key (--api-key) or bind 127.0.0.1"]
