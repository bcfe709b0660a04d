"""Explains each reason why a question was not voted on, or a group not learned from."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

WORDS: Mapping[str, str] = {
    "queued": "waits to be learned from",
    "unvotable": "nothing was asked that samples could be compared by, or too few of them gave an "
    "answer",
    "no_answer": "no sample gave an answer",
    "deadline": "the deadline came before all samples were drawn; the quickest are the shortest",
    "unextractable": "too few samples gave an answer (guard.min_extractable); more tokens may help",
    "no_consensus": "no answer was clearly the most common (guard.min_majority, guard.min_margin)",
    "echo": "the winner stands in the question, and too few samples agree on it (guard.min_echo)",
    "constant": "nearly all questions of this form have the same winner, which says nothing of any",
    "unsupported": "the base model answers otherwise far more often (guard.min_support)",
    "unsure": "the votes and the base model's answers say too little for it (guard.min_confidence)",
    "guessed": "the base model hardly gives the winners of this form: it guesses (guard.min_known)",
    "unread": "the same answer wins the opposite question: which is larger, which is smaller "
    "(guard.opposite)",
    "grammar": "a grammar shaped the samples, which this algorithm cannot correct for "
    "(train.algorithm, train.importance)",
    "wording": "another answer wins when the question is put in other words (guard.wording)",
    "attractor": "questions of this form were all won by their own words, or by one answer",
    "unanimous": "all samples that train earn the same, which teaches nothing: the model agrees "
    "with itself already",
    "duplicate": "the same question already waits to be learned from (guard.max_copies)",
    "held_back": "held back from training, to ask it to new versions (gate.canary_share)",
    "lineage_full": "this lineage has learned from the most questions that are allowed "
    "(guard.max_questions)",
    "too_few_samples": "sampling ended before enough samples for training were drawn "
    "(train.min_group)",
    "aborted": "the engine cut a sample off",
    "incomplete_samples": "the engine returned a sample without its log-probabilities",
    "sampling_parameters": "a sampling parameter changes the distribution: the trainer cannot "
    "score it",
    "cancelled": "the client disconnected",
    "off": "the request asked for nothing to be kept",
    "learning is off": "this server does not learn (train.enabled), or its learning has ended",
    "not stored": "the group could not be written: see the log",
    "store_failed": "the group could not be written: see the log",
}
"""Explanations, by the reason in ``ttrl.train`` and ``ttrl_groups_total``."""

UNVOTED: Mapping[str, str] = {
    "policy": "vote.policy is never",
    "temperature": "temperature 0 (or below 0.01, or top_k 1) asks for one greedy answer",
    "housekeeping": "a request of the front-end itself: a title, tags, follow-ups",
    "header": "the header x-ttrl-vote asks for no vote",
    "messages": "pictures or sound in the messages, or an engine that does not render them",
    "input": "pictures or sound in the input, or an engine that does not render it",
    "prompt": "a prompt of token ids, or several prompts",
    "tools": "tools that a provider runs, or an engine that does not render",
    "response_format": "a format that is not JSON, or an engine that does not render",
    "logprobs": "log-probabilities, of an engine that does not render",
    "field": "a field that only vLLM knows",
}
"""Explanations, by the reason why a completion was passed to vLLM unvoted."""

SEEN = 20
"""Number of newest groups that the advice is based on."""
_MOST = 0.8


def words(reason: str) -> str:
    """The explanation of a reason; the reason itself when there is none."""
    return WORDS.get(reason, reason)


def unvoted_class(reason: str) -> str:
    """The reason if it is in UNVOTED, else "field": a client cannot add new metric series."""
    return reason if reason in UNVOTED else "field"


class Recent:
    """Notes the reasons of the newest groups, and explains why nothing is learned."""

    def __init__(self) -> None:
        self._newest: deque[str] = deque(maxlen=SEEN)
        self._unvoted: Counter[str] = Counter()

    def note(self, reason: str) -> None:
        """Notes the reason of a group that was voted on."""
        self._newest.append(reason)

    def note_unvoted(self, reason: str) -> None:
        """Notes the reason of a completion that was not voted on."""
        self._unvoted[reason] += 1

    def advice(self) -> str | None:
        """Why most of the newest groups are not learned from; None when they are."""
        if not self._newest:
            if not self._unvoted:
                return "no question has been asked yet"
            reason, count = self._unvoted.most_common(1)[0]
            said = f"{count} of {self._unvoted.total()} completions were not voted on"
            return f"{said}: {UNVOTED[reason]}"
        reason, count = Counter(self._newest).most_common(1)[0]
        if reason == "queued" or count < _MOST * len(self._newest):
            return None
        return f"{count} of {len(self._newest)} groups {reason}: {words(reason)}"
