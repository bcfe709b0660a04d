"""The data classes of the system: frozen, slotted; beside the standard library only what a question
may be answered with.

    Question → Group of Rollouts → Vote → Experience → Batch → AdapterVersion

Axis suffixes: ``_G`` samples of a group, ``_T`` completion tokens, ``_P`` prompt tokens.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

from ttrl_server.answers import Asking, wanted

FinishReason = Literal["stop", "length", "abort"]
Json = Literal["whole", "fields"]
Kind = Literal["chat", "completion", "messages", "responses"]
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
    json: Json = "whole"
    """Whether replies in JSON vote as one answer, or by their fields."""
    ignored: tuple[str, ...] = ()
    """Arguments of calls that are not compared."""
    choices: int = 1
    """How many samples are returned, the winner's first; no vote ends with fewer."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request that is answered by a vote. ``api`` makes it, ``answering`` uses it."""

    id: str
    tenant: str
    prompt: Any
    """The conversation as the client gave it: messages, the input of a response, or the text of a
    plain completion."""
    kind: Kind
    model: str
    """The model name from the client; the answer repeats it."""
    version: int | None
    """Pinned adapter version (0 is the base model); None means the served version."""
    sampling: Sampling
    vote: VoteOptions
    request: dict[str, Any] = field(default_factory=dict)
    """The other fields of the request that are the engine's to read: sampling parameters, tools,
    a format, arguments of the chat template."""
    chat: dict[str, Any] = field(default_factory=dict)
    """Those that decide what a sample may be, with the names that they have in a chat request:
    tools, tool_choice, response_format, logprobs."""
    label: str | None = None
    """The right answer, if the client gives it; then the rewards come from it, not the vote."""
    deadline_s: float | None = None
    shared: str | None = None
    """Equal questions that are open at the same time, with the same key here, share one vote. "":
    without a key, unless they ask for a single sample. None: a vote of its own."""

    @property
    def wanted(self) -> Asking:
        """What the question's answers are compared by: its text, and what else it asks for."""
        fields = self.vote.json == "fields"
        return wanted(last_text(self), self.chat, fields=fields, ignored=self.vote.ignored)

    @property
    def asked(self) -> dict[str, Any]:
        """What a later look at the group needs, without what is long: the text, the client's label
        and the pinned version where there are such, and what ``wanted`` reads of ``chat``."""
        names = ("tool_choice", "response_format")
        short = {name: self.chat[name] for name in names if name in self.chat}
        told = {"text": last_text(self), "label": self.label, "version": self.version}
        short |= {name: value for name, value in told.items() if value is not None}
        if form := short.get("response_format"):
            short["response_format"] = {"type": form.get("type")}
        tools = [{"function": {"name": t["function"]["name"]}} for t in self.chat.get("tools", ())]
        return short | ({"tools": tools} if tools else {})


SAID: dict[Kind, str] = {
    "chat": "messages",
    "messages": "messages",
    "responses": "input",
    "completion": "prompt",
}
"""The field of a request with the conversation, by kind."""


def last_text(question: Question) -> str | None:
    """The question's text, which shows the kind of answer: in a conversation what the user said
    last, also where results of tools came after it."""
    return text_in(question.prompt)


def text_in(said: Any) -> str | None:
    """The last text of a user in a conversation, or the text itself."""
    if isinstance(said, str):
        return said
    parts = [part for part in said if isinstance(part, dict)]
    asked = [part for part in parts if part.get("role") == "user"] or parts[-1:]
    texts = (spoken(part.get("content")) for part in reversed(asked))
    return next((text for text in texts if text), None)


TEXTS = ("text", "input_text")
"""Types of a part of a message that is text."""


def spoken(content: Any) -> str | None:
    """The text of a message's content, or of its text parts; None when it has no text."""
    if isinstance(content, list):
        parts = (part for part in content if isinstance(part, dict) and part.get("type") in TEXTS)
        texts = (part.get("text") for part in parts)
        return "\n".join(text for text in texts if isinstance(text, str)) or None
    return content if isinstance(content, str) else None


def question_key(prompt_token_ids: tuple[int, ...]) -> str:
    """32 hexadecimal digits that depend on the prompt only."""
    text = ",".join(map(str, prompt_token_ids))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as the engine reads it: what its samples are drawn from."""

    token_ids: tuple[int, ...]
    """[P]"""
    longest: int
    """Most tokens of a completion that fit."""
    rendered: dict[str, Any] = field(default_factory=dict)
    """What the engine's generate route wants beside the ids, as its render route gave it; empty
    where the engine has no such routes, and for plain completions."""
    parse: dict[str, Any] | None = None
    """The request, where the engine's parsers must read its samples: tools, or reasoning."""
    wanted: Asking = None
    """As in ``Question``."""

    @property
    def bent(self) -> dict[str, Any]:
        """What the engine does to the samples: a grammar, whose forbidden tokens have probability
        0, and a budget of thinking, at whose end it writes tokens itself."""
        params: dict[str, Any] = self.rendered.get("sampling_params", {})
        names = {"structured_outputs": "grammar", "thinking_token_budget": "thinking_token_budget"}
        return {name: params[given] for given, name in names.items() if params.get(given)}

    @property
    def key(self) -> str:
        """``question_key``, other where the same ids ask for something else: calls, or JSON."""
        key = question_key(self.token_ids)
        if self.wanted is None or isinstance(self.wanted, str):
            return key
        tools, asks = sorted(self.wanted.tools), (self.wanted.json, self.wanted.fields, self.bent)
        return hashlib.blake2b(f"{key} {tools} {asks}".encode(), digest_size=16).hexdigest()


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
    stop_reason: int | str | None = None
    """The stop string or token that ended it, if one of the request's did."""
    message: dict[str, Any] | None = None
    """The message that the engine's parsers made of the sample, in vLLM's form; None without."""
    likely: list[dict[str, Any]] | None = None
    """The tokens with their log-probabilities in OpenAI's form, where the request asks for them."""

    @property
    def calls(self) -> tuple[tuple[str, str], ...]:
        """The tools that are called: each one's name, and its arguments in JSON."""
        given = (self.message or {}).get("tool_calls") or ()
        return tuple((c["function"]["name"], c["function"]["arguments"]) for c in given)


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
    bent: dict[str, Any] = field(default_factory=dict)
    """What changed the sampled distribution beside the temperature: a grammar, penalties, stops."""
    asked: dict[str, Any] = field(default_factory=dict)
    """As in ``Question``; the tools by their names alone."""

    @property
    def wanted(self) -> Asking:
        """As in ``Question``."""
        return wanted(self.asked.get("text"), self.asked)


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
    base_share: float | None = None
    """The same of those that answer."""
    agreements: tuple[float, ...] | None = None
    """[M] share of the fields of each sample that most samples have as well; None: answers are
    compared whole."""


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
