"""Every reason why a question was not voted on, or a group not learned from, in words for a
person."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

WORDS: Mapping[str, str] = {
    "queued": "waits to be learned from",
    "unvotable": "nothing was asked that samples could be compared by, or too few of them came to "
    "an answer",
    "no_answer": "no sample came to an answer",
    "deadline": "the time was up before all samples were in, and the quickest are the shortest",
    "unextractable": "too few samples came to an answer (guard.min_extractable); more tokens may "
    "help",
    "no_consensus": "no answer was clearly the commonest (guard.min_majority, guard.min_margin)",
    "unanimous": "all samples that train earn the same, which teaches nothing: the model agrees "
    "with itself already",
    "duplicate": "the same question waits to be learned from already (guard.max_copies)",
    "frozen": "the majority for this question keeps changing (guard.max_flips)",
    "held_back": "kept out of training, to examine new versions with (gate.canary_share)",
    "lineage_full": "this lineage has learned from as many questions as it may "
    "(guard.max_questions)",
    "too_few_samples": "sampling ended before enough samples for training were drawn "
    "(train.min_group)",
    "aborted": "the engine cut a sample off",
    "incomplete_samples": "the engine returned a sample without its log-probabilities",
    "sampling_parameters": "a sampling parameter bends the distribution away from what the "
    "trainer learns",
    "cancelled": "the client went away",
    "off": "the request asked for nothing to be kept",
    "learning is off": "this server does not learn (train.enabled), or its learning has ended",
    "not stored": "the group could not be written: see the log",
    "store_failed": "the group could not be written: see the log",
}
"""By what is said in ``ttrl.train`` and ``ttrl_groups_total``."""

UNVOTED: Mapping[str, str] = {
    "policy": "vote.policy is never",
    "temperature": "temperature 0 asks for one greedy answer",
    "housekeeping": "a front-end's own request: a title, tags, follow-ups",
    "messages": "pictures or sound in the messages",
    "prompt": "a prompt of token ids, or several prompts",
    "n": "several choices were asked for",
    "tools": "tools were offered",
    "response_format": "a format was asked for",
    "logprobs": "log-probabilities were asked for",
    "field": "a field that only vLLM knows",
}
"""By the reason why a completion went to vLLM as it came."""

SEEN = 20
"""Newest groups that advice rests on."""
_MOST = 0.8


def words(reason: str) -> str:
    """What a reason means."""
    return WORDS.get(reason, reason)


def unvoted_class(reason: str) -> str:
    """The reason itself where it is one of a few, so that a client's own field names make no new
    series."""
    return reason if reason in UNVOTED else "field"


class Recent:
    """What became of the newest groups, and what they tell whoever asks why nothing is learned."""

    def __init__(self) -> None:
        self._newest: deque[str] = deque(maxlen=SEEN)
        self._unvoted: Counter[str] = Counter()

    def note(self, reason: str) -> None:
        """A group was voted on."""
        self._newest.append(reason)

    def note_unvoted(self, reason: str) -> None:
        """A completion was not voted on."""
        self._unvoted[reason] += 1

    def advice(self) -> str | None:
        """In words: what most of the newest groups were refused for; None where they are learned
        from."""
        if not self._newest:
            if not self._unvoted:
                return "no question has been asked yet"
            reason, count = self._unvoted.most_common(1)[0]
            return (
                f"{count} of {self._unvoted.total()} completions were not voted on: "
                f"{UNVOTED[reason]}"
            )
        reason, count = Counter(self._newest).most_common(1)[0]
        if reason == "queued" or count < _MOST * len(self._newest):
            return None
        return f"{count} of {len(self._newest)} groups {reason}: {words(reason)}"
