"""Reads a request's ``ttrl`` object, and a model name that pins a version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from ttrl_server.api import body
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
    """The checked ``ttrl`` object of a request."""

    samples: int | None
    """M, the samples that vote."""
    train: bool | None
    version: int | None
    """From ``adapter``: 0 is the base model."""
    stop: StopRule | None = None
    level: float | None = None
    label: str | None = None


def read(data: dict[str, Any], config: Config) -> Extension:
    """Reads the ``ttrl`` object. Raises RequestError with the offending name."""
    given = data.get("ttrl")
    if given is None:
        return Extension(None, None, None)
    if not isinstance(given, dict):
        raise RequestError("ttrl must be an object.", param="ttrl", code="invalid_type")
    for name in given:
        if name not in _TTRL_FIELDS + _OLD_FIELDS:
            raise RequestError(
                f"ttrl.{name} is unknown; there are {', '.join(_TTRL_FIELDS)}.",
                param=f"ttrl.{name}",
                code="unknown_parameter",
            )
    weighs, most = config.vote.weighting == "confidence", config.vote.max_samples
    samples, votes = (
        body.whole(given, name, 1, most, prefix="ttrl.") for name in ("samples", "votes")
    )
    if None not in (samples, votes) and samples != votes:
        raise _wrong(
            "samples", f"is {samples}, and ttrl.votes, its old name, {votes}: leave one out."
        )
    stop = given.get("stop")
    if stop is not None and stop not in STOP_RULES:
        raise _wrong("stop", f"is {str(stop)[:60]!r}; it must be one of {', '.join(STOP_RULES)}.")
    if stop in ("beta", "certificate") and weighs:
        weighed = "counts votes, and this server weighs them (vote.weighting): use exact or none."
        raise _wrong("stop", f"{stop} {weighed}")
    level = body.number(given, "level", 0.5, 1, above=True, prefix="ttrl.")
    if level == 1:
        raise _wrong("level", "is 1; it must be below 1.")
    label = body.text(given, "label", LABEL_LIMIT, prefix="ttrl.")
    if label is not None and not config.train.feedback:
        raise _wrong("label", "is not taken here (train.feedback).", code="unsupported_value")
    return Extension(
        samples=votes if samples is None else samples,
        train=body.flag(given, "train", prefix="ttrl."),
        version=_version(given.get("adapter"), "ttrl.adapter"),
        stop=stop,
        level=level,
        label=label,
    )


def _wrong(name: str, problem: str, *, code: str = "invalid_value") -> RequestError:
    return RequestError(f"ttrl.{name} {problem}", param=f"ttrl.{name}", code=code)


def resolve_model(data: dict[str, Any], config: Config) -> int | None:
    """The version in a model name; None follows the served version. Unknown names are a 404."""
    name = data.get("model")
    if name is None or name == config.name:
        return None
    if not isinstance(name, str):
        raise RequestError("model must be a string.", param="model", code="invalid_type")
    alias, at, pin = name.rpartition("@")
    if not at or alias != config.name:
        raise RequestError(
            f"The model {name[:200]!r} does not exist here. There is {config.name!r}, which "
            f"improves, and '{config.name}@base' and '{config.name}@v<number>', which do not.",
            status=404,
            param="model",
            code="model_not_found",
        )
    return _version(pin, "model")


def _version(pin: Any, param: str) -> int | None:
    if pin is None:
        return None
    number = number_of_pin(pin) if isinstance(pin, str) else None
    if number is not None:
        return number
    raise RequestError(
        f"{param}: {str(pin)[:80]!r} is neither 'base' nor 'v<number>'.",
        status=404,
        param=param,
        code="model_not_found",
    )
