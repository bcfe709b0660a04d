"""Reads a request's ``ttrl`` object, and a model name that pins a version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from ttrl_server.api import body
from ttrl_server.api.body import wrong
from ttrl_server.errors import RequestError
from ttrl_server.registry.names import number_of_pin
from ttrl_server.settings.config import Config
from ttrl_server.types import StopRule

STOP_RULES: tuple[StopRule, ...] = get_args(StopRule)

LABEL_LIMIT = 2000
"""Most characters of a label."""
_TTRL_FIELDS = ("samples", "train", "stop", "level", "adapter", "label")
_OLD_FIELDS = ("votes",)
"""``ttrl.votes`` is the old name of ``ttrl.samples``; the server reads it until 0.3."""


@dataclass(frozen=True, slots=True)
class Extension:
    """The checked ``ttrl`` object of a request, and the version the request is pinned to."""

    samples: int | None
    """M, the samples that vote."""
    train: bool | None
    version: int | None
    """From ``ttrl.adapter``, else from ``model``: 0 is the base model, None the served version."""
    stop: StopRule | None
    level: float | None
    label: str | None


def read(data: dict[str, Any], config: Config) -> Extension:
    """Reads ``ttrl`` and ``model``. Raises RequestError with the offending name."""
    given = data.get("ttrl")
    if not isinstance(given, dict | None):
        raise wrong("ttrl", "must be an object.", code="invalid_type")
    for name in given or {}:
        if name not in _TTRL_FIELDS + _OLD_FIELDS:
            problem = f"is unknown; there are {', '.join(_TTRL_FIELDS)}."
            raise wrong(f"ttrl.{name}", problem, code="unknown_parameter")
    given = {f"ttrl.{name}": value for name, value in (given or {}).items()}
    most = config.vote.max_samples
    samples, votes = (body.whole(given, f"ttrl.{name}", 1, most) for name in ("samples", "votes"))
    if None not in (samples, votes) and samples != votes:
        problem = f"is {samples}, and ttrl.votes, its old name, {votes}: leave one out."
        raise wrong("ttrl.samples", problem)
    stop = given.get("ttrl.stop")
    if stop is not None and stop not in STOP_RULES:
        problem = f"is {str(stop)[:60]!r}; it must be one of {', '.join(STOP_RULES)}."
        raise wrong("ttrl.stop", problem)
    if stop in ("beta", "certificate") and config.vote.weighting != "uniform":
        weighed = "counts votes, and this server weighs them (vote.weighting): use exact or none."
        raise wrong("ttrl.stop", f"{stop} {weighed}")
    level = body.number(given, "ttrl.level", 0.5, 1, above=True)
    if level == 1:
        raise wrong("ttrl.level", "is 1; it must be below 1.")
    label = body.text(given, "ttrl.label", LABEL_LIMIT)
    if label is not None and not config.train.feedback:
        raise wrong("ttrl.label", "is not taken here (train.feedback).", code="unsupported_value")
    train = body.flag(given, "ttrl.train")
    pinned, named = _version(given.get("ttrl.adapter"), "ttrl.adapter"), _named(data, config)
    version = named if pinned is None else pinned
    return Extension(votes if samples is None else samples, train, version, stop, level, label)


def _named(data: dict[str, Any], config: Config) -> int | None:
    """The version in a model name, ours or the model's own as plain vLLM has it; None follows the
    served version. Unknown names are a 404."""
    name, ours = data.get("model"), config.name
    if name is None or name in (ours, config.model):
        return None
    if not isinstance(name, str):
        raise wrong("model", "must be a string.", code="invalid_type")
    alias, at, pin = name.rpartition("@")
    if not at or alias not in (ours, config.model):
        message = (
            f"The model {name[:200]!r} does not exist here. There is {ours!r}, which improves, and "
            f"'{ours}@base' and '{ours}@v<number>', which do not."
        )
        raise RequestError(message, status=404, param="model", code="model_not_found")
    return _version(pin, "model")


def _version(pin: Any, param: str) -> int | None:
    number = number_of_pin(pin) if isinstance(pin, str) else None
    if number is None and pin is not None:
        message = f"{param}: {str(pin)[:80]!r} is neither 'base' nor 'v<number>'."
        raise RequestError(message, status=404, param=param, code="model_not_found")
    return number
