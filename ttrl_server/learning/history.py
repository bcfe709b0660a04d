"""Admission of a group, by the history of its question."""

from __future__ import annotations

from dataclasses import dataclass

from ttrl_server.promotion.canaries import is_held_back
from ttrl_server.settings.sections import GateConfig, GuardConfig
from ttrl_server.types import Admission, Group, History, question_key


@dataclass(frozen=True, slots=True)
class HistoryRule:
    """The rule that decides on an admitted group from its question's history."""

    guard: GuardConfig
    gate: GateConfig

    def __call__(self, group: Group, admission: Admission, history: History) -> Admission:
        """Returns ``admission``, or the reason against the group from its question's history."""
        guard, full = self.guard, self.guard.max_questions
        if not admission.admitted:
            return admission
        if is_held_back(question_key(group.prompt_token_ids), self.gate):
            return Admission(False, "held_back")
        if sum(history.flips[-guard.flip_window :]) >= guard.max_flips:
            # TTRL-Guard (arXiv 2605.19444): a majority that keeps changing is no label
            return Admission(False, "frozen")
        if history.waiting >= guard.max_copies:
            return Admission(False, "duplicate")
        if not history.trained and full and history.distinct >= full:
            return Admission(False, "lineage_full")
        return admission
