"""The data classes of the system: frozen, slotted, standard library only.

    Question → Group of Rollouts → Vote → Experience → Batch → AdapterVersion

Axis suffixes: ``_G`` samples of a group, ``_T`` completion tokens, ``_P`` prompt tokens.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

FinishReason = Literal["stop", "length", "abort"]
StopRule = Literal["none", "exact", "beta", "certificate"]
Weighting = Literal["uniform", "confidence", "verified"]
Stopped = Literal["full", "exact", "beta", "certificate", "unvotable", "deadline", "cancelled"]
"""Why sampling ended. full: all M samples are drawn. cancelled: the client disconnected."""
VersionState = Literal["candidate", "promoted", "rejected", "retired"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw the samples of a question. ``extra``: engine parameters (stop, top_p, …)."""

    temperature: float
    max_tokens: int | None = None
    seed: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VoteOptions:
    """The options of a vote that a client may choose for its question."""

    samples: int
    """M, the number of samples that vote."""
    train: bool = True
    """Whether the group may be kept and trained on."""
    stop: StopRule = "none"
    """The rule that may end sampling before all M are drawn (voting/stopping.py)."""
    level: float = 0.99
    """1 − δ of a statistical stop rule."""
    probe: bool = False
    """Whether the first wave decides if the question is unvotable (policy auto)."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request that is answered by a vote. ``api`` makes it, ``answering`` uses it."""

    id: str
    tenant: str
    prompt: Any
    """Chat messages (list of dicts), or the text or token ids of a plain completion."""
    kind: Literal["chat", "completion"]
    model: str
    """The model name from the client; the answer repeats it."""
    version: int | None
    """Pinned adapter version (0 is the base model); None means the served version."""
    sampling: Sampling
    vote: VoteOptions
    template: dict[str, Any] = field(default_factory=dict)
    """Arguments of the chat template (``chat_template_kwargs`` and the like)."""
    label: str | None = None
    """The right answer, if the client gives it; then the rewards come from it, not the vote."""
    deadline_s: float | None = None


def last_text(question: Question) -> str | None:
    """The question's text (in a chat: of the last message), which shows the kind of answer."""
    if isinstance(question.prompt, str):
        return question.prompt
    return spoken(question.prompt[-1].get("content")) if question.kind == "chat" else None


def spoken(content: Any) -> str | None:
    """The text of a message's content, or of its text parts; None when it has no text."""
    if isinstance(content, list):
        parts = (part for part in content if isinstance(part, dict) and part.get("type") == "text")
        texts = (part.get("text") for part in parts)
        return "\n".join(text for text in texts if isinstance(text, str)) or None
    return content if isinstance(content, str) else None


def question_key(prompt_token_ids: tuple[int, ...]) -> str:
    """32 hexadecimal digits that depend on the prompt only."""
    text = ",".join(map(str, prompt_token_ids))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled completion. ``engine`` makes it, ``voting`` and ``training`` use it."""

    index: int
    """0 … M−1, fixed before the sample is drawn."""
    token_ids: tuple[int, ...]
    """[T] ids from the engine, with the end token."""
    logprobs: tuple[float, ...]
    """[T] nats, under the sampling distribution (temperature applied)."""
    text: str
    finish_reason: FinishReason
    certainty: float | None = None
    """Mean over tokens of the mean −log p of the most likely alternatives (nats), or None."""


@dataclass(frozen=True, slots=True)
class Group:
    """All rollouts of one question, drawn from one policy version."""

    question_id: str
    prompt_token_ids: tuple[int, ...]
    """[P]"""
    rollouts: tuple[Rollout, ...]
    """[M], or fewer when sampling stopped early; ascending by index."""
    version: int
    """Adapter version that drew every rollout; 0 is the base model."""
    temperature: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """Equivalent answers of one group."""

    answer: str
    """The answer as the cluster's first rollout wrote it."""
    members: tuple[int, ...]
    """Positions in ``Group.rollouts``, ascending.
    They are the rollouts' indices, unless sampling ended within a wave."""


@dataclass(frozen=True, slots=True)
class Vote:
    """The vote of a group (docs/method.md, sections 1 and 3). ``voting`` makes it."""

    answers: tuple[str | None, ...]
    """[M] the extracted answer of each rollout, or None."""
    clusters: tuple[Cluster, ...]
    """Largest first; the tally has broken ties."""
    pseudo_label: str | None
    """The winning cluster's answer; None when nothing could be extracted."""
    majority_ratio: float | None
    """Votes of the winner / all samples drawn, also those without answer; None: no winner."""
    margin: float | None
    """(votes of the winner − votes of the second) / samples drawn."""
    chosen: int
    """Position of the rollout whose text is returned."""
    stopped: Stopped
    level: float | None = None
    """1 − δ of the statistical stop rule that ended sampling; None for any other end."""
    requested: int | None = None
    """M as requested; fewer samples were drawn when sampling stopped early."""
    confidence: float | None = None
    """Probability that the winner is right (voting/confidence.py); None: the base model was not
    asked, or nothing won."""
    base_ratio: float | None = None
    """The winner's share of the base model's samples of the same question."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a group may be trained on; if not, ``reason`` says why."""

    admitted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Experience:
    """A group with its vote, rewards and admission. ``store`` keeps it, ``training`` uses it."""

    id: str
    tenant: str
    group: Group
    vote: Vote
    rewards: tuple[float, ...]
    """[G] rewards of rollouts 0 … G−1, which train; G is fixed before they are drawn."""
    admission: Admission


@dataclass(frozen=True, slots=True)
class History:
    """What the store knows about a question before a new group of it is added."""

    waiting: int = 0
    """Number of the question's groups that wait to be trained on."""
    trained: int = 0
    """Number of the question's groups that were ever admitted."""
    distinct: int = 0
    """Number of all questions that ever had an admitted group."""


@dataclass(frozen=True, slots=True)
class Signals:
    """Signals of one version: means over groups. voting/signals.py computes them."""

    version: int
    groups: int
    majority: float
    """Samples in the largest cluster / samples: ``Vote.majority_ratio``, or 0 without answers."""
    entropy: float
    """Estimate of the entropy: mean −log π over sampled tokens, nats a token."""
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
    """The version number that is reserved for this step's adapter."""
    parent: Parent | None
    """None: start from the base model with a fresh adapter."""
    experiences: tuple[Experience, ...]
    lease_s: float
    """Seconds until the lease runs out, unless it is renewed."""


@dataclass(frozen=True, slots=True)
class DataWindow:
    """The data that a version's step learned from, without the data of its parent."""

    batch: str
    questions: tuple[str, ...]
    """Ids of the groups."""
    samples: int
    versions: tuple[int, ...]
    """The versions that drew the groups, ascending."""


def window(batch: Batch) -> DataWindow:
    """The data window of one batch."""
    questions = tuple(experience.group.question_id for experience in batch.experiences)
    samples = sum(len(experience.rewards) for experience in batch.experiences)
    versions = {experience.group.version for experience in batch.experiences}
    return DataWindow(batch.id, questions, samples, tuple(sorted(versions)))


@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """The manifest of a version folder, which never changes."""

    number: int
    folder: str
    """Folder name below the adapters root, ``v000007-ab12cd34``."""
    base_model: str
    parent: int
    rank: int
    step: int
    sha256: dict[str, str]
    """SHA-256 of each of the four files that the trainer publishes, by file name."""
    created: str
    metrics: dict[str, float] = field(default_factory=dict)
    name: str = ""
    """The engine's name of the version, ``<model>@v7``."""
    alpha: float | None = None
    targets: tuple[str, ...] = ()
    """Names of the adapted layers."""
    data: DataWindow | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """Known tokens with their log-probabilities under the trainer's weights, for the proof."""

    token_ids: tuple[tuple[int, ...], ...]
    """[K][L] whole sequences, prompt and completion."""
    start: tuple[int, ...]
    """[K] first position that is scored."""
    adapter_logprobs: tuple[tuple[float, ...], ...]
    """[K][L − start] nats at temperature 1, adapter on."""
    base_logprobs: tuple[tuple[float, ...], ...]
    """[K][L − start] nats at temperature 1, adapter off."""
