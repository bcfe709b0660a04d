"""The sections of the settings, one class each: names, defaults, bounds and meanings.

``config.py`` puts the sections together. The defaults are the paper's settings (docs/method.md,
section 2), changed for LoRA (10 × learning rate).
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from ttrl_server.types import Json, StopRule, Weighting

AlgorithmName = Literal["grpo", "dapo", "gspo", "cispo", "rloo", "reinforce++", "ppo", "prime"]

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""vLLM's choices for --max-lora-rank, the size of its LoRA buffers."""


Key = Annotated[str, Field(min_length=1)]
"""An API key; it is not empty, as an empty key would allow everybody."""

Device = Annotated[int, Field(ge=0)]
"""Number of a GPU."""


# pydantic keeps an old method of this name, which nothing here calls.
warnings.filterwarnings("ignore", message='Field name "json" in "VoteConfig"')


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class ApiConfig(Section):
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    """0: any free port; the banner shows it."""
    keys: list[Key] = Field(default_factory=list)
    """Keys of clients. Without a key, api.host must be a loopback address."""
    admin_key: Key | None = None
    """Key for the admin routes and for trainers on other machines; default: a random key."""
    hosts: list[str] = Field(default_factory=list)
    """Without keys: names that this server is called by, beside those of this machine."""
    origins: list[str] = Field(default_factory=list)
    """Origins of web pages that may call, as https://chat.example.org; "*": all.
    Pages that this machine serves (localhost) always may."""
    max_body_mib: float = Field(64, gt=0)

    @field_validator("hosts", "origins")
    @classmethod
    def _can_match(cls, given: list[str], info: ValidationInfo) -> list[str]:
        form, example = (
            (r"[^/:\s]+|[0-9a-f:]+", "model.lan")
            if info.field_name == "hosts"
            else (r"\*|[a-z][a-z0-9+.-]*://[^/\s]+", "https://chat.lan")
        )
        names = [name.lower() for name in given]
        for name in names:
            if not re.fullmatch(form, name):
                raise ValueError(f"{name!r} can match nothing: write it as {example}")
        return names


class VoteConfig(Section):
    policy: Literal["auto", "always", "never"] = "auto"
    """auto: vote on requests whose replies can be compared: text, tool calls, JSON.
    Not on pictures or sound, on temperature 0, and where the first wave has nothing to compare."""
    samples: int = Field(64, ge=1)
    """M: the number of samples that vote on a question."""
    max_samples: int = Field(256, ge=1, le=2**20)
    """The most samples that a client may ask for."""
    temperature: float = Field(0.6, gt=0, le=2)
    """Sampling temperature when the client gives none."""
    max_tokens: int | None = Field(None, ge=1)
    """Most tokens of a completion when the client gives none; default: the rest of the context."""
    deadline_s: float = Field(600, gt=0)
    """Time limit for a question; then the best answer so far, or 504 without a quorum."""
    share: bool = False
    """Whether equal questions of one tenant that are open at the same time share one vote.
    Requests with one Idempotency-Key always do."""
    quorum: float = Field(0.125, gt=0, le=1)
    """Share of the samples that an answer at the deadline needs."""
    stop: StopRule = "exact"
    """Rule that ends sampling early: none, exact, beta or certificate.
    exact never changes the full vote's answer; beta and certificate are statistical."""
    level: float = Field(0.99, gt=0.5, lt=1)
    """1 − δ of a statistical stop rule."""
    wave: int = Field(8, ge=1)
    """Samples that are drawn together before a stop rule is asked.
    The first wave also shows whether the question can be voted on."""
    weighting: Weighting = "uniform"
    """The weight of a vote. uniform: 1.
    confidence: geometric mean of its tokens' probabilities (after DeepConf, arXiv 2508.15260).
    verified: a sample whose own arithmetic checks counts three times one without any, and one
    with a wrong equation nothing (T3RL, arXiv 2603.02203)."""
    json: Json = "whole"  # type: ignore[assignment]
    """How replies in JSON are compared. whole: each is one answer. fields: every field votes, and
    the sample nearest to what most say wins; its reward is the share of fields that agree."""
    ignored: list[str] = Field(default_factory=list)
    """Arguments of tool calls that are not compared: ids, reasons, whatever differs by chance."""
    stream: Literal["progress", "first"] = "progress"
    """What a stream has while the vote runs. progress: comments, which clients skip. first: the
    sample that came first, as reasoning (chat only): a preview, which may not be the answer."""
    anchor: int = Field(8, ge=0)
    """Samples of the base model beside each new question, for the confidence in its answer.
    At most half of the votes; 0: no confidence."""
    fallback: Literal["first", "best_of_n"] = "first"
    """Which sample is the answer when there is no winner.
    best_of_n: the sample with the highest self-certainty."""

    def beside(self, votes: int) -> int:
        """Samples that are drawn beside ``votes`` where vote.anchor asks for some."""
        return min(self.anchor, votes // 2)


class BatchConfig(Section):
    max_questions: int = Field(8, ge=1)
    """Most questions that start together on one adapter version."""
    max_wait_ms: float = Field(20, ge=0)


class LimitsConfig(Section):
    samples_in_flight: int = Field(8192, ge=1)
    """Most samples admitted and not yet done, over all questions; more wait, first come first."""
    waiting: int = Field(32768, ge=0)
    """Most samples that wait; more get a 429."""
    wait_s: float = Field(60, ge=0)
    """How long they wait; then a 429."""


class EngineConfig(Section):
    url: str | None = None
    """URL of a running vLLM server to use; default: the gateway starts its own."""
    key: str | None = None
    """API key of the server at engine.url."""
    replicas: int = Field(1, ge=1)
    """Number of engines on a CPU; they share its cores. On GPUs: devices / tensor_parallel."""
    devices: list[Device] = Field(default_factory=list)
    """GPUs that serve; each replica uses tensor_parallel of them."""
    tensor_parallel: int = Field(1, ge=1)
    max_num_seqs: int = Field(256, ge=1)
    """Most sequences that one replica runs at once."""
    max_loras: int = Field(4, ge=2)
    """Most adapters in the engine at once: served, draining, candidate, and pins."""
    gpu_memory_utilization: float | None = Field(None, gt=0, le=1)
    """Share of a GPU's memory for the engine; default: 0.9, or 0.45 on a GPU that also trains."""
    cpu_kv_cache_gib: float = Field(4, gt=0)
    cpu_threads: str = "all"
    """Cores of a CPU engine: 'all', or vLLM's list, for example 0-7."""
    startup_timeout_s: float = Field(1800, gt=0)
    drain_timeout_s: float = Field(30, ge=0)
    load_timeout_s: float = Field(120, gt=0)
    """Time limit to load an adapter; an engine that takes longer is wedged and is restarted."""
    extra_args: list[str] = Field(default_factory=list)
    """Arguments for vLLM, passed unchanged; on the command line: all after --."""


class TrainConfig(Section):
    enabled: bool = True
    launch: Literal["here", "elsewhere"] = "here"
    """here: the gateway starts the trainer.
    elsewhere: a person starts ttrl-train on other machines, with the gateway's URL."""
    samples: int = Field(32, ge=2)
    """G: the first G rollouts of a group train; this is fixed before sampling."""
    min_group: int = Field(8, ge=2)
    """Fewest rollouts that train when a vote stops early; a smaller group is not trained on."""
    questions: int = Field(8, ge=1)
    """Groups in one optimiser step."""
    least: int = Field(2, ge=1)
    """Fewest groups in a step: a smaller rest waits for more. Never more than train.questions."""
    max_wait_s: float = Field(60, ge=0)
    """A step starts with fewer groups when the oldest group has waited this long."""
    max_staleness: int = Field(4, ge=0)
    """A group is too old to train on when its version has more than so many later promotions."""
    devices: list[Device] = Field(default_factory=list)
    """GPUs that train, one rank each."""
    hostfile: Path | None = None
    """DeepSpeed's list of machines and slots, to train on several machines.
    The machines must share the run folder and adapters.dir."""
    feedback: bool = True
    """Whether clients may give labels (``ttrl.label``) and feedback (``/v1/feedback``)."""
    rank: int = Field(16, ge=1, le=LORA_RANKS[-1])
    """LoRA rank; the engine's buffers have this size or vLLM's next larger one."""
    alpha: int = Field(32, ge=1)
    reward: Literal["majority", "signed", "answered", "random"] = "majority"
    """majority: 1 for agreeing with the vote, else 0.
    signed: 1, 0 or −1, with a consensus window (SCRL; see guard); it misleads a weak model.
    answered, random: an experiment's controls, 1 for any answer or by a coin."""
    algorithm: AlgorithmName = "grpo"
    std_normalise: bool = False
    """Divide advantages by the group's standard deviation (DeepSeekMath).
    This amplifies noise at low consensus."""
    aggregate: Literal["auto", "token", "sequence", "constant"] = "auto"
    """How the loss adds up tokens. token: mean over all tokens. sequence: mean over completions of
    their mean. constant: ÷ aggregate_length (Dr.GRPO). auto: as in the algorithm's paper, but
    token for GRPO (docs/method.md, section 6)."""
    aggregate_length: int = Field(1024, ge=1)
    """The length L for aggregate: constant."""
    learning_rate: float = Field(5e-6, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    total_steps: int = Field(1000, ge=1)
    """Steps of the cosine schedule."""
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    grad_clip: float = Field(1.0, gt=0)
    clip_low: float | None = Field(None, gt=0, le=1)
    """ε_low; default: the algorithm's own (0.2 for GRPO)."""
    clip_high: float | None = Field(None, gt=0)
    """ε_high; default: the algorithm's own (0.2 for GRPO, 0.28 for DAPO)."""
    kl: float = Field(0.001, ge=0)
    """β of the k3 penalty to the reference policy; 0 saves the reference's forward pass."""
    importance: Literal["truncate", "mask", "off"] = "truncate"
    """Correction by each token's ratio π_θ / π_engine. truncate: at most c = importance_cap.
    mask: tokens with a ratio outside [1 / c, c] are left out."""
    importance_cap: float = Field(2.0, ge=1)
    gae_lambda: float = Field(1.0, ge=0, le=1)
    """λ of PPO's advantage estimate."""
    value_weight: float = Field(0.1, ge=0)
    """Weight of PPO's value loss, added to the policy loss."""
    prime_beta: float = Field(0.05, gt=0)
    """β of PRIME's implicit process reward."""
    teacher_decay: float = Field(0.0, ge=0, lt=1)
    """Decay a step of a moving average of the adapter; 0: the trained adapter is served.
    The average is served and gives the labels (Co-rewarding, arXiv 2508.00410)."""
    micro_batch_tokens: int = Field(4096, ge=1)
    """Most tokens (prompt + completion) of one forward pass; memory_gib may lower it."""
    memory_gib: float | None = Field(None, gt=0)
    """Memory for one pass; default: most of a GPU's free memory, half of a CPU's."""
    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    """auto: on only when a single completion is estimated not to fit into memory_gib."""
    zero_stage: int = Field(0, ge=0, le=3)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Data type of the base weights in the trainer; adapters are always float32."""
    seed: int = 0
    lease_s: float = Field(120, gt=0)
    when: Literal["always", "idle"] = "always"
    """When a step may start.
    idle: only without samples in flight, for an engine and a trainer that share cores."""
    patience_s: float = Field(30, ge=0)
    """With when = idle: a step starts anyway when its oldest group has waited this long."""
    cpu_threads: int = Field(0, ge=0)
    """Threads of each CPU rank; 0: all cores, divided by the number of ranks."""
    niceness: int = Field(10, ge=0, le=19)

    @property
    def weighs_tokens(self) -> bool:
        """Whether every token counts by its own ratio π_θ / π_engine. Then a token that a grammar
        left no choice for counts as little as the model would have said it by itself."""
        return self.importance != "off" and self.algorithm != "gspo"


class GuardConfig(Section):
    """Guards against a collapse of learning; 0 switches one off (docs/method.md, section 5)."""

    min_majority: float = Field(0.15, ge=0, le=1)
    """Consensus window (SCRL, arXiv 2603.19880): least majority ratio that rewards agreement.
    Where a question offers its answers, as a share above chance: of two, 0.575 of the votes."""
    min_margin: float = Field(0.03, ge=0, le=1)
    """Consensus window: least margin that rewards agreement."""
    min_echo: float = Field(0.5, ge=0, le=1)
    """Least majority ratio of a label that is a word or number of its own question.
    A share above chance for numbers: three quarters of the votes where there are two."""
    min_support: float = Field(0.5, ge=0, le=1)
    """Least share of a label in the base model's samples (vote.anchor), as a part of its winner's.
    What the base model hardly says is not taught, however sure the served version is."""
    min_confidence: float = Field(0.3, ge=0, le=1)
    """Least confidence in a label, where it is known (vote.anchor): the mean of its share of the
    votes and of the base model's answers, less what echoes and constant forms cost."""
    min_known: float = Field(0.2, ge=0, le=1)
    """Least share that the latest winners of a form have in the base model's answers, on average
    over at least seven questions. Below it the model guesses at such questions: not taught."""
    opposite: bool = True
    """Whether a label that stands in a question that compares (which is larger?) must not win the
    opposite question (which is smaller?), asked of the base model vote.anchor times."""
    wording: str = Field("", pattern=r"^$|\{question\}")
    """Other words for every question, its text at {question}: a label must win them as well.
    It draws as many samples as vote.anchor. Default: not asked (docs/decisions.md)."""
    attractors: bool = True
    """Whether a form of questions that is won by its own words, or by one answer, is looked for.
    Its labels are withheld then, and what was learned from them is taken back."""
    rare: float = Field(0.15, ge=0, le=1)
    """With train.reward signed, an answer with a smaller share of the votes gets reward −1."""
    min_extractable: float = Field(0.25, ge=0, le=1)
    """Least share of a group's samples that must have an answer."""
    max_copies: int = Field(1, ge=1)
    """Most groups of one question that may wait to be trained on."""
    watch_groups: int = Field(8, ge=1)
    """Fewest groups to compare a version's signals.
    They are compared with the questions' first samples, or with the groups of earlier versions."""
    watch_window: int = Field(32, ge=1)
    """The watch compares so many latest groups of the served version and of the time before it."""
    min_entropy: float = Field(0.01, ge=0)
    """Collapse alarm, if the majority grew: least entropy, as a share of the first entropy."""
    max_entropy: float = Field(3, ge=0)
    """Collapse alarm, if the majority grew: most entropy, as a share of the first entropy."""
    min_length: float = Field(0.1, ge=0)
    """Collapse alarm, if the majority grew: least length, as a share of the first length."""
    max_length: float = Field(5, ge=0)
    """Collapse alarm, if the majority grew: most length, as a share of the first length."""
    max_kl: float = Field(5, ge=0)
    """Most nats a token between a candidate and the base model, on the parent's samples."""
    refusals: int = Field(4, ge=0)
    """Learning ends after so many candidates in a row were refused for their answers."""
    bad_steps: int = Field(3, ge=1)
    """Learning ends after so many steps in a row with a loss or gradient that is not finite."""
    max_updates: int = Field(1000, ge=0)
    """Learning ends after so many promoted versions of a lineage; the last one stays served."""
    max_questions: int = Field(512, ge=0)
    """Most distinct questions that a lineage trains on.
    Unguarded runs collapse beyond about 512 (arXiv 2603.08660)."""


class StoreConfig(Section):
    url: str | None = None
    """SQLAlchemy URL of the store; default: SQLite in the run folder."""


class AdaptersConfig(Section):
    dir: Path = Path("adapters")
    keep: int = Field(4, ge=2)
    """Number of newest promoted, and of newest rejected, versions whose folders are kept.
    The served version, the last good version, and pinned or loaded versions are always kept."""
    keep_days: float | None = Field(None, gt=0)
    """Folders that are older than this are removed even if adapters.keep would keep them."""


class GateConfig(Section):
    mode: Literal["strict", "lenient", "off"] = "strict"
    """strict: gate.labelled must show that a candidate is no worse than the served version.
    lenient: it must not show that it is worse. off: preflight only, no probe and no questions."""
    labelled: Path | None = None
    """JSON lines of prompt (or messages) and answer, to ask every candidate.
    strict needs 100 or more lines: with fewer it refuses candidates that it cannot judge."""
    margin: float = Field(0.1, ge=0, lt=1)
    """strict: how much lower a candidate's share of right samples may be than the served one's."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Chance of a wrong judgement on gate.labelled, over all candidates.
    The candidates are those that are compared with the same served version."""
    probe_tolerance: float = Field(4, ge=1)
    """Most difference between engine and trainer with the adapter on.
    It is a multiple of their difference with the adapter off."""
    canary_share: float = Field(0.1, ge=0, lt=1)
    """Share of the distinct questions that is held back, to ask candidates; 0: no such check."""
    witnesses: int = Field(3, ge=0)
    """Questions of each form of the traffic (numbers, names and quoted words masked) that every
    candidate is asked: one label may spoil a form, and leave the others alone. 0: no such check."""
    sentinels: bool = True
    """Whether the gate also asks questions with known answers (promotion/bank.py).
    Those that the base model answers right sometimes show a fall beside it and what is served."""
    sees: float = Field(0.15, gt=0, lt=1)
    """The gate draws until it would find such a fall below what is served nine times in ten."""
    blind: Literal["refuse", "promote"] = "refuse"
    """What becomes of a candidate that the sentinels cannot judge so."""
    canary_questions: int = Field(8, ge=1)
    """Most held-back questions that are kept: the newest of every form."""
    canary_least: int = Field(2, ge=1)
    """Fewest held-back questions for a judgement."""
    canary_samples: int = Field(8, ge=2)
    """Samples of each question from each version; the base model gives more."""
    canary_z: float = Field(2.5, gt=0)
    """Most standard errors by which a candidate may be worse than the base or the served model."""


class LogConfig(Section):
    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
