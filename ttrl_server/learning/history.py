"""Admission of a group, by the history of its question."""

from __future__ import annotations

from ttrl_server.promotion.canaries import is_held_back
from ttrl_server.settings.sections import GateConfig, GuardConfig
from ttrl_server.types import Admission, Group, History, question_key


def by_history(
    guard: GuardConfig, gate: GateConfig, group: Group, admission: Admission, history: History
) -> Admission:
    """Returns ``admission``, or the reason against the group from its question's history."""
    if not admission.admitted:
        return admission
    if is_held_back(question_key(group.prompt_token_ids), gate):
        return Admission(False, "held_back")
    if history.waiting >= guard.max_copies:
        return Admission(False, "duplicate")
    full = guard.max_questions and history.distinct >= guard.max_questions
    if full and not history.trained:
        return Admission(False, "lineage_full")
    return admission
