r"""Makes the keys of answers: two answers are the same if their keys are equal. Model text is
rewritten and parsed, never evaluated.

    answer ─clean─▶ one notation ─▶ word, moment, letter?
                                 └▶ list, tuple, interval, matrix, equation … ─▶ parts
                                        part ─▶ value and unit, or its spelling

Decisions for texts with several readings. A split vote is better than a false equality:

- A value keeps its unit: 25 cm are not 25 m, 60 min are 1 h. A value without a unit takes the unit
  of the other answers with this value, but no unit if these answers disagree (``shared``).
- A percentage is a fraction (75 % is 3/4, 3 % is not 3), unless the question asks for a percentage
  or is unknown.
- A calculation that the question asks for (``7 * 8``) is no answer, although its value is right:
  from votes for it a model would learn to repeat the question.
- The word for what is counted (5 apples) is left out if the question contains it; other words after
  a number stay in the key.
- ``1,234`` is a number unless a list is asked for; ``1, 234`` is a list; ``2,74`` is a decimal
  if the question is not in English. Lists and sets of figures have no order unless the
  question asks for one; tuples always have.
- ``x = 5`` is 5, ``AB = 5 cm`` is 5 cm (but ``x = 5`` is not ``y = 5`` if a question has both);
  ``y = 2x`` is ``2x`` unless an equation is asked for; ``a+b = 5`` is 5 if the question asks for
  a+b. A true equation between figures (``8!/4 = 10080``) has the key of its value.
- Case matters for letters that are variables or symbols; it does not matter for words.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from functools import lru_cache, partial

from ttrl_server.answers.actions import call_key, calls_in, json_key, json_value
from ttrl_server.answers.asked import Asked
from ttrl_server.answers.lexicon import NO, NO_SOLUTION, PLACEHOLDERS, REFUSALS, YES
from ttrl_server.answers.quantities import Key, alone
from ttrl_server.answers.spelling import clean, unquoted
from ttrl_server.answers.structures import LONGEST, Structure, tidy
from ttrl_server.answers.wording import moment

__all__ = ["Key", "key", "keys", "same", "shared"]


def keys(answers: Collection[str], asked: Asked) -> dict[str, str | None]:
    """The key of each answer; None if it says nothing (a placeholder, a refusal, the calculation
    that was asked for). Never raises."""
    return shared({answer: key(answer, asked) for answer in answers})


def shared(found: dict[str, Key | None]) -> dict[str, str | None]:
    """The keys, where a value without a unit takes the only unit that other answers give it."""
    measured: defaultdict[str, set[str]] = defaultdict(set)
    for known in found.values():
        if known and known.full != known.bare:
            measured[known.bare].add(known.full)
    plain = {known.bare for known in found.values() if known and known.full == known.bare}
    only = {bare: min(full) for bare, full in measured.items() if len(full) == 1}
    joins = {bare: full for bare, full in only.items() if bare in plain}
    taken = list(joins.values())  # 25 cm are 0.25 m, but 25 is not 0.25
    joins = {bare: full for bare, full in joins.items() if taken.count(full) == 1}
    return {answer: known and joins.get(known.full, known.full) for answer, known in found.items()}


def same(a: str | None, b: str | None, asked: Asked) -> bool:
    """Whether two answers to one question are the same; None equals no answer, not even None."""
    if a is None or b is None:
        return False
    found = keys({a, b}, asked)
    return found[a] is not None and found[a] == found[b]


def key(answer: str, asked: Asked) -> Key | None:
    """The key of one answer alone; None if it says nothing, as in ``keys``. Never raises."""
    wanted = asked.wanted
    if wanted.json:
        found = json_key(json_value(answer))
        return alone(found) if found else None
    if wanted.tools and (calls := calls_in(answer)):
        found = call_key(calls, wanted.tools, wanted.ignored)
        return alone(found) if found else None
    if len(answer) > LONGEST:
        return alone(" ".join(answer.casefold().split()))
    return _known(answer, asked) if asked.text else _unasked(answer)


def _known(answer: str, asked: Asked) -> Key | None:
    """The key of a whole answer in words with a fixed meaning, or else the key of its parts."""
    text = tidy(clean(answer))
    words = unquoted(text).casefold().strip(" .!?:;,\"'")
    refuses = words in REFUSALS and asked.known and asked.kind != "words"
    if not words or words in PLACEHOLDERS or refuses or repeats(text, asked):
        return None
    # An answer names a listed choice by the choice's letter or whole text.
    letter = words.strip("()[]").upper()
    named = [other for other, choice in asked.choices.items() if choice.casefold() == words]
    if letter in asked.choices or len(named) == 1:
        return alone(letter if letter in asked.choices else named[0])
    if words in NO_SOLUTION or words == r"\emptyset":
        return alone("no solution")
    # If the question asks for yes or no, only the first word of a longer answer counts.
    said = re.split(r"[\s,.;:!]", words, maxsplit=1)[0] if asked.kind == "verdict" else words
    remark = said in ("correct", "incorrect") and asked.kind != "verdict"
    if not remark and said in YES | NO:
        return alone("yes" if said in YES else "no")
    if (when := moment(words)) and not (asked.ratio and ":" in when):
        return alone(when)
    return Structure(asked).key(text)


_unasked = lru_cache(maxsize=16_384)(partial(_known, asked=Asked()))


CALCULATION = r"\d[\d.,]{0,20}(?:\s?(?:[-+*/^×·÷−]|\\times|\\cdot)\s?\d[\d.,]{0,20}){1,8}"
_CALCULATION = re.compile(rf"(?!\d+\s?/\s?\d+\Z){CALCULATION}")
_SIGNS = re.compile(r"\\times|\\cdot|[×·]")
_OTHER_SIGNS = str.maketrans("÷−", "/-")


def repeats(text: str, asked: Asked) -> bool:
    """Whether a text only repeats the calculation that the question asks for (not with "which")."""
    wanted = asked.kind == "number" and "which" not in asked.text.casefold()
    if not wanted or not _CALCULATION.fullmatch(text):
        return False
    plain = (_SIGNS.sub("*", side).translate(_OTHER_SIGNS) for side in (text, asked.text))
    said, question = ("".join(side.split()) for side in plain)
    return said in question
