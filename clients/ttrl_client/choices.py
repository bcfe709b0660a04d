"""Multiple choice: options found in a record, laid out under their question with letters."""

from __future__ import annotations

import random
from string import ascii_uppercase as LETTERS
from typing import Any

from ttrl_client import Unusable


def lettered(question: str, options: list[str], right: int) -> tuple[str, str]:
    """The question with its options laid out under it, and the letter of the right one."""
    choices = "\n".join(f"{letter}) {text}" for letter, text in zip(LETTERS, options, strict=False))
    asked = f"{question}\n\n{choices}\n\nAnswer with the letter of the right choice."
    return asked, LETTERS[right]


def options_of(
    record: dict[str, Any], answer_field: str, number: int, where: str
) -> tuple[list[str], int] | None:
    """Options and the place of the right one, in the forms that are common; None for a question
    without options.

    ``choices`` or ``options`` as a list, by letter, or as texts beside labels, with a letter, a
    label, a place or the text as the answer; or the right and the wrong answers in fields of their
    own, shuffled by the row's number.
    """
    wrong = [
        str(record[key]).strip()
        for key in sorted(record)
        if key.startswith("Incorrect Answer") and record[key]
    ]
    answer = record.get(answer_field)
    if wrong and answer is not None:
        options = [str(answer).strip(), *wrong]
        random.Random(number).shuffle(options)
        return options, options.index(str(answer).strip())
    given = record.get("choices") or record.get("options")
    labels: list[str] = []
    if isinstance(given, dict) and isinstance(given.get("text"), list):
        given, labels = given["text"], [str(label) for label in given.get("label") or []]
    elif isinstance(given, dict):
        given, labels = list(given.values()), [str(key) for key in given]
    if not isinstance(given, list) or not 2 <= len(given) <= len(LETTERS):
        return None
    options = [str(option).strip() for option in given]
    place = _place(answer, options, labels)
    if place is None:
        said = f"{answer_field!r} is {answer!r}, none of its {len(options)} choices"
        raise Unusable(f"{where}: {said}")
    return options, place


def _place(answer: Any, options: list[str], labels: list[str]) -> int | None:
    text = str(answer).strip()
    if text in labels:
        return labels.index(text)
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return answer  # a number in JSON is a place, also among choices that are numbers themselves
    if text in options:
        return options.index(text)
    letter = LETTERS.find(text.strip("().").upper()) if len(text.strip("().")) == 1 else -1
    return letter if 0 <= letter < len(options) else None
