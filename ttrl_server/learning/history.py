"""Whether a group may train, given what became of its question before."""

from __future__ import annotations

from dataclasses import dataclass

from ttrl_server.promotion.canaries import is_held_back
from ttrl_server.settings.sections import GateConfig, GuardConfig
from ttrl_server.types import Admission, Group, History, question_key


@dataclass(frozen=True, slots=True)
class HistoryRule:
    """The admission on an admitted group, from its question's history."""

    guard: GuardConfig
    gate: GateConfig

    def __call__(self, group: Group, admission: Admission, history: History) -> Admission:
        """The admission of the group alone, or the reason that its history gives against it."""
        if not admission.admitted:
            return admission
        reason = self._reason(group, history)
        return Admission(False, reason) if reason else admission

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
