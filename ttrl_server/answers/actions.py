"""Reads and compares what a sample does: its tool calls, or its JSON.

    calls ─call_key─▶ key        text ─json_value─▶ value ─json_key─▶ key
                                                       └─fields─▶ leaves ─majority─▶ nearest sample

Equal keys are equal actions: the order of keys and of parallel calls is free, numbers count by
value, and all else must be the same. What is no JSON, or names an unknown tool, is no action.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

LONGEST = 2**20
"""Characters of JSON that are read; more is no action."""
Leaves = Mapping[tuple[str, ...], str]
"""Canonical values by their path. A list is one value: its order says something."""


Calls = Sequence[tuple[str, str]]
"""Calls of tools: each the tool's name, and its arguments in JSON as the model wrote them."""


def call_key(calls: Calls, tools: Collection[str], ignored: Collection[str] = ()) -> str | None:
    """The key of all calls of a sample together; None where one is no JSON object, or its tool is
    not one of ``tools``. ``ignored``: arguments that do not count."""
    keys = []
    for name, arguments in calls:
        value = json_value(arguments or "{}")
        if name not in tools or not isinstance(value, dict):
            return None
        counted = {key: given for key, given in value.items() if key not in ignored}
        keys.append([name, _canonical(counted)])
    return json.dumps(sorted(keys)) if keys else None


def written(calls: Calls) -> str:
    """The calls as one answer, which ``calls_in`` reads back: [{"name": …, "arguments": …}, …]."""
    each = [f'{{"name": {json.dumps(name)}, "arguments": {text or "{}"}}}' for name, text in calls]
    return f"[{', '.join(each)}]"


def calls_in(answer: str) -> list[tuple[str, str]]:
    """The calls of an answer that ``written`` has made, or a person in the same form (one call may
    stand alone); none where it is something else."""
    if not answer.lstrip().startswith(("[", "{")):
        return []
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(answer)
        each = value if isinstance(value, list) else [value]
        if all(isinstance(call, dict) and call.keys() == {"name", "arguments"} for call in each):
            return [(str(call["name"]), json.dumps(call["arguments"])) for call in each]
    return []


def json_value(text: str) -> Any:
    """The JSON value; None where it is none (``null`` is no answer either). Numbers are Decimal."""
    if len(text) > LONGEST:
        return None
    try:
        # NaN and Infinity are no JSON. An int of 5,000 digits would be refused, a Decimal is not.
        value = json.loads(text, parse_int=Decimal, parse_float=Decimal, parse_constant=_refuse)
        _canonical(value)  # not too deep to be compared, either
        return value
    except (ValueError, RecursionError, ArithmeticError):
        return None


def json_key(value: Any) -> str | None:
    """The key of a value that ``json_value`` has read; None for None."""
    return None if value is None else _canonical(value)


def fields(value: Any) -> dict[tuple[str, ...], str]:
    """The leaves of a value, by path: the root's own path is empty."""
    found: dict[tuple[str, ...], str] = {}
    left: list[tuple[tuple[str, ...], Any]] = [((), value)]
    while left:
        path, each = left.pop()
        if isinstance(each, dict) and each:
            left += [((*path, name), inner) for name, inner in each.items()]
        else:
            found[path] = _canonical(each)
    return found


def majority(samples: Sequence[Leaves]) -> dict[tuple[str, ...], str]:
    """The most frequent value of every field, where most samples have the field; the first sample
    decides a tie."""
    paths = dict.fromkeys(path for sample in samples for path in sample)
    chosen = {}
    for path in paths:
        # A sample without the field votes against it.
        (value, _), *_ = Counter(sample.get(path) for sample in samples).most_common(1)
        if value is not None:
            chosen[path] = value
    return chosen


def agreement(sample: Leaves, wanted: Leaves) -> float:
    """Share of the fields of both that are equal, in [0, 1]."""
    paths = sample.keys() | wanted.keys()
    return sum(sample.get(path) == wanted.get(path) for path in paths) / max(1, len(paths))


def _canonical(value: Any) -> str:
    """Text that is equal for equal values. Raises RecursionError for what is too deep."""
    return json.dumps(_plain(value), ensure_ascii=True, sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return {"number": _number(value)}
    if isinstance(value, dict):
        return {"object": {name: _plain(inner) for name, inner in value.items()}}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _number(value: Decimal) -> str:
    """Digits and exponent without trailing zeros: ``1``, ``1.0`` and ``10e-1`` are one number."""
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    short = text.rstrip("0")
    if not short:
        return "0"
    return f"{'-' * sign}{short}e{int(exponent) + len(text) - len(short)}"


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
