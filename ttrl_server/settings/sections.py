"""The sections of the settings, one class each: every name, its default, its bounds and what it
means.

``config.py`` puts them together. The paper's settings (docs/method.md, section 2) are turned into
LoRA ones (10 × learning rate).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ttrl_server.types import StopRule, Weighting

AlgorithmName = Literal["grpo", "dapo", "gspo", "cispo", "rloo", "reinforce++", "ppo", "prime"]

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks for which vLLM sizes its LoRA buffers (its --max-lora-rank choices)."""


Key = Annotated[str, Field(min_length=1)]
"""An API key; an empty one would let everybody in."""

Device = Annotated[int, Field(ge=0)]
"""Number of a GPU."""


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


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
    """auto: a plain text answer is asked for (n = 1, no tools, no response_format, no audio,
    temperature not 0), and the first wave of samples has answers that can be compared."""
    samples: int = Field(64, ge=1)
    """M, samples that vote on one question."""
    max_samples: int = Field(256, ge=1, le=2**20)
    """The most a client may ask for."""
    temperature: float = Field(0.6, gt=0, le=2)
    """Used when the client gives none."""
    max_tokens: int | None = Field(None, ge=1)
    """Completion length when the client gives none; default: what is left of the context."""
    deadline_s: float = Field(600, gt=0)
    """Time one question may take; then the best answer so far, or 504 without a quorum."""
    quorum: float = Field(0.125, gt=0, le=1)
    """Share of the samples that must be in for an answer at the deadline."""
    stop: StopRule = "exact"
    """When sampling ends early: exact keeps the full vote's answer; beta and certificate are
    statistical."""
    level: float = Field(0.99, gt=0.5, lt=1)
    """1 − δ of a statistical stop rule."""
    wave: int = Field(8, ge=1)
    """Samples drawn together before a stop rule is asked; the first wave tells whether there is
    anything to vote on."""
    weighting: Weighting = "uniform"
    """confidence: a vote counts the geometric mean of its tokens' probabilities (after DeepConf,
    arXiv 2508.15260)."""
    fallback: Literal["first", "best_of_n"] = "first"
    """Which sample answers where nothing can be voted on; best_of_n: the one with the highest
    self-certainty."""


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
    replicas: int = Field(1, ge=1)
    """Engines on a CPU, which share its cores; on GPUs there are as many as devices /
    tensor_parallel."""
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
    load_timeout_s: float = Field(120, gt=0)
    """An engine that takes longer to load an adapter hangs, whatever it says of its health: it
    is started again."""
    extra_args: list[str] = Field(default_factory=list)
    """Given to vLLM untouched; on the command line, whatever follows --."""


class TrainConfig(Section):
    enabled: bool = True
    launch: Literal["here", "elsewhere"] = "here"
    """elsewhere: ttrl-train is started by hand, on other machines, and reaches the gateway by
    URL."""
    samples: int = Field(32, ge=2)
    """G, rollouts of a group that train: the first G indices, chosen before sampling."""
    min_group: int = Field(8, ge=2)
    """Fewest rollouts that train where a vote was stopped early; a group with fewer is not
    trained on."""
    questions: int = Field(8, ge=1)
    """Groups in one optimiser step."""
    max_wait_s: float = Field(60, ge=0)
    """A step starts with fewer groups when the oldest has waited this long."""
    max_staleness: int = Field(4, ge=0)
    """Promotions after which a group is too old to train on."""
    devices: list[Device] = Field(default_factory=list)
    """GPUs that train; one rank each."""
    hostfile: Path | None = None
    """DeepSpeed's list of machines and slots, to train on several; the run folder and
    adapters.dir must be shared."""
    feedback: bool = True
    """Whether clients may give labels (``ttrl.label``) and feedback (``/v1/feedback``)."""
    rank: int = Field(16, ge=1, le=LORA_RANKS[-1])
    """LoRA rank; the engine's buffers have the next of vLLM's sizes."""
    alpha: int = Field(32, ge=1)
    reward: Literal["majority", "signed"] = "majority"
    """majority: 1 for agreeing with the vote, else 0. signed: 1, 0, −1 with a consensus window
    (SCRL; see guard)."""
    algorithm: AlgorithmName = "grpo"
    std_normalise: bool = False
    """Divide advantages by the group's standard deviation (DeepSeekMath); amplifies noise at low
    consensus."""
    aggregate: Literal["auto", "token", "sequence", "constant"] = "auto"
    """How tokens add up: mean over all tokens, over completions of their mean, or ÷
    aggregate_length (Dr.GRPO); auto: as the algorithm's paper does, which for GRPO here is token
    (docs/method.md, section 6)."""
    aggregate_length: int = Field(1024, ge=1)
    """L of aggregate: constant."""
    learning_rate: float = Field(5e-6, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    total_steps: int = Field(1000, ge=1)
    """Length of the cosine."""
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    grad_clip: float = Field(1.0, gt=0)
    clip_low: float | None = Field(None, gt=0, le=1)
    """ε_low; default: the algorithm's own (0.2 for GRPO)."""
    clip_high: float | None = Field(None, gt=0)
    """ε_high; default: the algorithm's own (0.2 for GRPO, 0.28 for DAPO)."""
    kl: float = Field(0.001, ge=0)
    """β of the k3 penalty to the adapter-off reference; 0 saves that pass."""
    importance: Literal["truncate", "mask", "off"] = "truncate"
    """What is done about tokens whose π_θ / π_engine is far from 1: weighed down to
    importance_cap, or left out."""
    importance_cap: float = Field(2.0, ge=1)
    gae_lambda: float = Field(1.0, ge=0, le=1)
    """λ of PPO's advantage estimate."""
    value_weight: float = Field(0.1, ge=0)
    """Of PPO's value loss beside the policy's."""
    prime_beta: float = Field(0.05, gt=0)
    """β of PRIME's implicit process reward."""
    teacher_decay: float = Field(0.0, ge=0, lt=1)
    """Decay a step of an average of the adapter, which is then what is served and labels
    (Co-rewarding, arXiv 2508.00410); 0 serves what was trained."""
    micro_batch_tokens: int = Field(4096, ge=1)
    """Prompt + completion tokens of one forward pass, less where memory_gib asks for it."""
    memory_gib: float | None = Field(None, gt=0)
    """Memory for one pass; default: most of what is free on a GPU, half of what is free on a
    CPU."""
    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    """auto: only where a single completion is estimated not to fit memory_gib."""
    zero_stage: int = Field(0, ge=0, le=3)
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the base weights in the trainer; adapters are always float32."""
    seed: int = 0
    lease_s: float = Field(120, gt=0)
    when: Literal["always", "idle"] = "always"
    """idle: a step waits for a moment without samples in flight, where engine and trainer share
    the cores."""
    patience_s: float = Field(30, ge=0)
    """The longest an idle trainer waits for that moment."""
    cpu_threads: int = Field(0, ge=0)
    """Threads of each CPU rank; 0: all cores divided by the ranks."""
    niceness: int = Field(10, ge=0, le=19)


class GuardConfig(Section):
    """What keeps learning without labels from collapsing (docs/method.md, section 5); 0 switches a
    guard off."""

    min_majority: float = Field(0.15, ge=0, le=1)
    """Consensus window (SCRL, arXiv 2603.19880): share of the votes that a winner needs for its
    group to train."""
    min_margin: float = Field(0.03, ge=0, le=1)
    """Consensus window: the same for the winner's lead over the second."""
    rare: float = Field(0.15, ge=0, le=1)
    """Share of the votes below which an answer earns −1 where train.reward is signed."""
    min_extractable: float = Field(0.25, ge=0, le=1)
    """Share of the samples of a group that must have an answer."""
    max_copies: int = Field(1, ge=1)
    """Groups of one question that may wait to be trained on."""
    flip_window: int = Field(4, ge=1, le=32)
    """Latest changes of version over which a question's flips are counted."""
    max_flips: int = Field(2, ge=1)
    """A question whose majority flipped so often is frozen (TTRL-Guard, arXiv 2605.19444)."""
    watch_groups: int = Field(8, ge=1)
    """Questions a version must have drawn before it is compared: again, with the first samples
    of the same ones; any, with those of the versions before it."""
    watch_window: int = Field(32, ge=1)
    """Latest questions of the served version, and before it, that are compared while it is
    served."""
    min_entropy: float = Field(0.01, ge=0)
    """Collapse alarm: the least share of a question's first entropy while its majority grows."""
    max_entropy: float = Field(3, ge=0)
    """Collapse alarm: the most."""
    min_length: float = Field(0.1, ge=0)
    """Collapse alarm: the least share of a question's first length while its majority grows."""
    max_length: float = Field(5, ge=0)
    """Collapse alarm: the most."""
    max_kl: float = Field(5, ge=0)
    """Alarm: nats a token between a new version and the base model, on what the version's parent
    sampled."""
    refusals: int = Field(4, ge=0)
    """Candidates in a row that held-back questions may refuse before learning ends."""
    bad_steps: int = Field(3, ge=1)
    """Steps in a row with a loss that is not finite, after which learning ends."""
    max_updates: int = Field(1000, ge=0)
    """Promoted versions of one lineage; then learning ends and the last one goes on being
    served."""
    max_questions: int = Field(512, ge=0)
    """Distinct questions one lineage trains on: beyond about so many unguarded runs collapse
    (arXiv 2603.08660)."""


class StoreConfig(Section):
    url: str | None = None
    """SQLAlchemy URL; default: SQLite in the run folder."""


class AdaptersConfig(Section):
    dir: Path = Path("adapters")
    keep: int = Field(4, ge=2)
    """Promoted versions whose folders are kept, the newest, and as many rejected ones. What is
    served, the last good version, and whatever is pinned or in use are kept besides."""
    keep_days: float | None = Field(None, gt=0)
    """Age beyond which a folder goes even so."""


class GateConfig(Section):
    mode: Literal["strict", "lenient", "off"] = "strict"
    """strict: on gate.labelled a candidate must be shown to be no worse than what is served;
    lenient: it must not be shown to be worse. off: preflight only, no probe and no questions."""
    labelled: Path | None = None
    """JSON lines of prompt (or messages) and answer, asked of every candidate. strict wants a
    hundred or more: it refuses what it cannot judge."""
    margin: float = Field(0.1, ge=0, lt=1)
    """Share of right samples by which a candidate may be worse than what is served, where mode
    is strict."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Chance of a wrong judgement on gate.labelled, over all candidates that meet the same
    served version."""
    probe_tolerance: float = Field(4, ge=1)
    """How many times engine and trainer may differ with the adapter on, against what they do
    with it off."""
    canary_share: float = Field(0.1, ge=0, lt=1)
    """Share of the distinct questions that is held back from training, to ask candidates; 0: no
    such check."""
    sentinels: bool = True
    """Ask candidates a few simple questions too, for what the traffic does not ask
    (promotion/canaries.py lists them)."""
    canary_questions: int = Field(8, ge=1)
    """The most that are kept, the newest ones."""
    canary_least: int = Field(2, ge=1)
    """The fewest that a candidate is judged by."""
    canary_samples: int = Field(8, ge=2)
    """Samples of each of them, of a candidate and once of the base model."""
    canary_z: float = Field(2.5, gt=0)
    """Standard errors by which a candidate may be worse than the base model."""


class LogConfig(Section):
    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
