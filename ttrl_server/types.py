"""The carriers that travel through the system: frozen, slotted, standard library only.

    Question → Group of Rollouts → Vote → Experience → Batch → AdapterVersion

Axis suffixes used in this project: ``_G`` samples of a group, ``_T`` completion tokens, ``_P``
prompt tokens.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

FinishReason = Literal["stop", "length", "abort"]
StopRule = Literal["none", "exact", "beta", "certificate"]
Weighting = Literal["uniform", "confidence"]
Stopped = Literal["full", "exact", "beta", "certificate", "unvotable", "deadline", "cancelled"]
"""Why sampling ended: all M drawn; a stop rule; nothing to vote on; the client's time; a client
that went away."""
VersionState = Literal["candidate", "promoted", "rejected", "retired"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the samples of one question are drawn. ``extra`` goes to the engine as it came (stop,
    seed, top_p, …)."""

    temperature: float
    max_tokens: int | None = None
    seed: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VoteOptions:
    """What a client may choose for its own question."""

    samples: int
    """M, the number of samples that vote."""
    train: bool = True
    """Whether the group may be kept and trained on."""
    stop: StopRule = "none"
    """The rule that may end sampling before all M are drawn (voting/stopping.py)."""
    level: float = 0.99
    """1 − δ of a statistical stop rule."""
    probe: bool = False
    """Whether the first wave decides if the question can be voted on at all (policy auto)."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request that is answered by a vote. Made by api, used by pipeline."""

    id: str
    tenant: str
    prompt: Any
    """Chat messages (list of dicts), or the text or token ids of a plain completion."""
    kind: Literal["chat", "completion"]
    model: str
    """The model as the client named it; the answer repeats it."""
    version: int | None
    """Pinned adapter version (0 is the base model); None follows whatever is served."""
    sampling: Sampling
    vote: VoteOptions
    template: dict[str, Any] = field(default_factory=dict)
    """Arguments of the chat template (``chat_template_kwargs`` and the like)."""
    label: str | None = None
    """The right answer, where the client gives it: rewards are then by it and not by the vote."""
    deadline_s: float | None = None


def last_text(question: Question) -> str | None:
    """The words of the question itself, from which the expected kind of answer can be read."""
    if isinstance(question.prompt, str):
        return question.prompt
    if question.kind != "chat":
        return None
    return spoken(question.prompt[-1].get("content"))


def spoken(content: Any) -> str | None:
    """The words of a message: its content, or the text parts of it; None where it has none."""
    if isinstance(content, list):
        parts = [
            part.get("text")
            for part in content
            if isinstance(part, dict) and part.get("type") == "text"
        ]
        return "\n".join(part for part in parts if isinstance(part, str)) or None
    return content if isinstance(content, str) else None


def question_key(prompt_token_ids: tuple[int, ...]) -> str:
    """The same for the same prompt, whoever asks; 32 hexadecimal digits."""
    text = ",".join(map(str, prompt_token_ids))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled completion. Made by engine, used by voting and training."""

    index: int
    """0 … M−1, fixed before the sample is drawn."""
    token_ids: tuple[int, ...]
    """[T] ids as the engine returned them, the end token included."""
    logprobs: tuple[float, ...]
    """[T] nats, under the sampling distribution (temperature applied)."""
    text: str
    finish_reason: FinishReason
    certainty: float | None = None
    """Mean over tokens of the mean −log p of the likeliest alternatives (nats); only where it
    was asked for."""


@dataclass(frozen=True, slots=True)
class Group:
    """All rollouts of one question, drawn from one policy version."""

    question_id: str
    prompt_token_ids: tuple[int, ...]
    """[P]"""
    rollouts: tuple[Rollout, ...]
    """[M], or fewer where sampling was stopped early; ascending by index."""
    version: int
    """Adapter version that drew every rollout; 0 is the base model."""
    temperature: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """Equivalent answers of one group."""

    answer: str
    """The form in which the cluster's lowest index wrote it."""
    members: tuple[int, ...]
    """Places in ``Group.rollouts``, ascending: the rollouts' indices, unless sampling was cut
    within a wave."""


@dataclass(frozen=True, slots=True)
class Vote:
    """The outcome of a group (docs/method.md, sections 1 and 3). Made by voting."""

    answers: tuple[str | None, ...]
    """[M] the extracted answer of each rollout, or None."""
    clusters: tuple[Cluster, ...]
    """Largest first; ties as the tally broke them."""
    pseudo_label: str | None
    """The winning cluster's answer; None when nothing could be extracted."""
    majority_ratio: float | None
    """Votes of the winner / samples drawn: those without an answer count too. None without one."""
    margin: float | None
    """(votes of the winner − votes of the second) / samples drawn."""
    chosen: int
    """Place of the rollout whose text is returned."""
    stopped: Stopped
    level: float | None = None
    """1 − δ of the statistical stop rule to which the label is owed; None when all or an exact
    rule decided."""
    requested: int | None = None
    """M as asked for; fewer were drawn when sampling was stopped early."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether an experience may be trained on, and if not, the one reason."""

    admitted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Experience:
    """A voted group with its rewards. Made by pipeline, kept by store, learned from by training."""

    id: str
    tenant: str
    group: Group
    vote: Vote
    rewards: tuple[float, ...]
    """[G] reward of rollouts 0 … G−1, the ones that train: G was fixed before they were drawn."""
    admission: Admission


@dataclass(frozen=True, slots=True)
class History:
    """What the store knows of one question, and of all of them, before a group of it is added."""

    flips: tuple[bool, ...] = ()
    """Oldest first: whether the majority was another than the version before it had found."""
    waiting: int = 0
    """Its groups that wait to be trained on."""
    trained: int = 0
    """Its groups that were ever admitted."""
    distinct: int = 0
    """Questions of which a group was ever admitted."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What the samples of one version look like: means over groups (voting/signals.py computes
    them)."""

    version: int
    groups: int
    majority: float
    """Samples in the largest cluster / samples: ``Vote.majority_ratio``, 0 where nothing was
    answered."""
    entropy: float
    """Mean −log π over all sampled tokens, nats a token at the sampling temperature: the
    entropy's estimate."""
    length: float
    """Mean tokens of a completion."""
    extractable: float
    """Share of the samples with an answer."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The version a training step starts from."""

    number: int
    folder: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Experiences leased to the trainer for one optimiser step."""

    id: str
    number: int
    """The version number reserved for the adapter this step makes; never used again."""
    parent: Parent | None
    """None: start from the base model with a fresh adapter."""
    experiences: tuple[Experience, ...]
    lease_s: float
    """Seconds until the lease runs out, unless it is renewed."""


@dataclass(frozen=True, slots=True)
class DataWindow:
    """What a version's step learned from, beyond all that its parent had learned from."""

    batch: str
    questions: tuple[str, ...]
    """Ids of the groups."""
    samples: int
    versions: tuple[int, ...]
    """The versions that drew them, ascending."""


def window(batch: Batch) -> DataWindow:
    """The data window of one batch."""
    groups = [experience.group for experience in batch.experiences]
    return DataWindow(
        batch.id,
        tuple(group.question_id for group in groups),
        sum(len(experience.rewards) for experience in batch.experiences),
        tuple(sorted({group.version for group in groups})),
    )


@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """One immutable version folder as its manifest describes it."""

    number: int
    folder: str
    """Folder name below the adapters root, ``v000007-ab12cd34``."""
    base_model: str
    parent: int
    rank: int
    step: int
    sha256: dict[str, str]
    """Hash of each of the four files the trainer publishes."""
    created: str
    metrics: dict[str, float] = field(default_factory=dict)
    name: str = ""
    """What the engine calls it, ``<model>@v7``."""
    alpha: float | None = None
    targets: tuple[str, ...] = ()
    """Names of the layers that are adapted."""
    data: DataWindow | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """Known tokens with their log-probabilities under the trainer's weights: served = trained is
    checked with it."""

    token_ids: tuple[tuple[int, ...], ...]
    """[K][L] whole sequences, prompt and completion."""
    start: tuple[int, ...]
    """[K] first position that is scored."""
    adapter_logprobs: tuple[tuple[float, ...], ...]
    """[K][L − start] nats at temperature 1, adapter on."""
    base_logprobs: tuple[tuple[float, ...], ...]
    """[K][L − start] nats at temperature 1, adapter off."""
