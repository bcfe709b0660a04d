"""Question sets, from wherever they are. ``load`` takes:

    aime24                       a preset (``presets``)
    questions.jsonl              a file: JSON lines, JSON, CSV or Parquet
    HuggingFaceH4/MATH-500       a hub data set, read with ``datasets``
    reasoning-gym:TASK?size=50   made by reasoning-gym

A hub data set may name its part: ``id:split`` or ``id/config:split``. After the ``?`` of a
generator come ``size``, ``seed`` and the task's own parameters.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ttrl_client import Unusable, sources
from ttrl_client.choices import lettered, options_of
from ttrl_client.presets import PRESETS, Preset
from ttrl_client.scoring import Asked, expecting
from ttrl_client.sources import Placed

PROMPTS = ("prompt", "problem", "question", "Question", "input")
ANSWERS = ("answer", "final_answer", "target", "Correct Answer", "answerKey", "label")
GROUPS = ("level", "subject", "type", "difficulty", "category", "domain")
"""Fields that are looked for, in this order, where none is named."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question with its true answer."""

    id: str
    prompt: str
    answer: str
    """The true label: for scoring here, never sent unless asked for."""
    group: str | None = None
    """Level or subject, where the data has one."""
    request: dict[str, Any] = field(default_factory=dict)
    """Fields of the chat request beside its message: tools, tool_choice, response_format."""

    @property
    def asked(self) -> Asked:
        """What its answer is read as."""
        return expecting(self.prompt, self.answer, self.request)


@dataclass(frozen=True, slots=True)
class QuestionSet:
    name: str
    items: tuple[Item, ...]
    preset: Preset | None = None
    """Where the questions are a preset's: the paper's settings for them."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Where a record has what; None looks for the usual names."""

    prompt: str | None = None
    answer: str | None = None
    group: str | None = None
    suffix: str | None = None
    """Added to every prompt; None: the preset's own, where there is one."""


def load(source: Path | str, fields: Fields | None = None) -> QuestionSet:
    """The set that ``source`` names, called after it; Unusable says which line is wrong."""
    text, fields = str(source), fields or Fields()
    preset: Preset | None = None
    records: Iterable[Placed]
    if text.startswith(sources.GENERATOR):
        called, records = sources.task_of(text), sources.generated(text)
        fields = Fields(suffix=fields.suffix)
    elif Path(text).is_file() or Path(text).suffix.lower() in sources.READERS:
        called, records = Path(text).stem, sources.read_file(Path(text))
    elif preset := PRESETS.get(text.lower()):
        fields = Fields(
            fields.prompt or preset.prompt_field,
            fields.answer or preset.answer_field,
            fields.group,
            preset.suffix if fields.suffix is None else fields.suffix,
        )
        called, records = text.lower(), sources.from_hub(preset.hub, text)
    elif "/" in text and not text.startswith((".", "/", "~")):
        called, records = text.partition(":")[0].rsplit("/", 1)[-1], sources.from_hub(text, text)
    else:
        known = ", ".join(sorted(PRESETS))
        raise Unusable(f"{text}: there is no such file, and it is none of the presets {known}")
    items = tuple(_item(record, n, where, fields) for n, (where, record) in enumerate(records))
    if not items:
        raise Unusable(f"{text}: holds no questions")
    for name, times in Counter(item.id for item in items).items():
        if times > 1:
            raise Unusable(f"{text}: id {name!r} appears twice")
    return QuestionSet(called, items, preset)


def load_joined(
    named: Iterable[Path | str], name: str, fields: Fields | None = None
) -> QuestionSet:
    """Several as one set, in the order given; the settings are the first one's."""
    sets = [load(source, fields=fields) for source in named]
    items = [item for s in sets for item in s.items]
    if len({item.id for item in items}) < len(items):  # numbers, above all
        items = [
            replace(item, id=f"{n}-{s.name}-{item.id}")
            for n, s in enumerate(sets, 1)
            for item in s.items
        ]
    return QuestionSet(name, tuple(items), sets[0].preset)


# ---------------------------------------------------------------- records


def _item(record: dict[str, Any], number: int, where: str, fields: Fields) -> Item:
    prompt = _text(record, fields.prompt or _first(record, PROMPTS), where)
    answer_field = fields.answer or _first(record, ANSWERS)
    if options := options_of(record, answer_field, number, where):
        prompt, answer = lettered(prompt, *options)
    else:
        if isinstance(given := record.get(answer_field), (dict, list)):  # a call, or JSON
            record = record | {answer_field: json.dumps(given)}
        answer = _text(record, answer_field, where)
        if "####" in answer:  # GSM8K writes its working before it
            answer = answer.rsplit("####", 1)[-1].strip()
    name = record.get("id", number)
    grouped = fields.group or next((g for g in GROUPS if record.get(g) not in (None, "")), None)
    group = record.get(grouped) if grouped else None
    request = record.get("request") or {}
    if not isinstance(request, dict):
        raise Unusable(f"{where}: 'request' must be an object, not {request!r}")
    return Item(
        id=str(number if name in (None, "") else name),
        prompt=prompt + (fields.suffix or ""),
        answer=answer,
        group=None if group in (None, "") else str(group),
        request=request,
    )


def _first(record: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((name for name in names if record.get(name) not in (None, "")), names[0])


def _text(record: dict[str, Any], field_name: str, where: str) -> str:
    value = record.get(field_name)
    if type(value) not in (str, int, float) or not str(value).strip():
        raise Unusable(f"{where}: {field_name!r} must be text or a number, not {value!r}")
    text = str(value)
    if re.search("[\ud800-\udfff]", text):
        raise Unusable(f"{where}: {field_name!r} holds half of a surrogate pair")
    return text
