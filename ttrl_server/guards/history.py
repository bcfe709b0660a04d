"""Whether a group may train, given what became of its question before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ttrl_server.sections import GateConfig, GuardConfig
from ttrl_server.types import Group, History, Verdict


def question_key(prompt_token_ids: tuple[int, ...]) -> str:
    """The same for the same prompt, whoever asks; 32 hexadecimal digits."""
    text = ",".join(map(str, prompt_token_ids))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def is_held_back(key: str, gate: GateConfig) -> bool:
    """Whether a question belongs to the share that is never trained on; the same answer at any time, anywhere."""
    return int(key[:8], 16) < gate.canary_share * 2**32


@dataclass(frozen=True, slots=True)
class Judge:
    """The verdict on an admitted group, from its question's history."""

    guard: GuardConfig
    gate: GateConfig

    def __call__(self, group: Group, verdict: Verdict, history: History) -> Verdict:
        """The verdict of the group alone, or the reason that its history gives against it."""
        if not verdict.admitted:
            return verdict
        reason = self._reason(group, history)
        return Verdict(False, reason) if reason else verdict

    def _reason(self, group: Group, history: History) -> str | None:
        if is_held_back(question_key(group.prompt_token_ids), self.gate):
            return "held_back"
        if sum(history.flips[-self.guard.flip_window :]) >= self.guard.max_flips:
            return "frozen"  # TTRL-Guard (arXiv 2605.19444): a majority that keeps changing is no label
        if history.waiting >= self.guard.max_copies:
            return "duplicate"
        if not history.trained and self.guard.max_questions and history.distinct >= self.guard.max_questions:
            return "lineage_full"
        return None
