"""What a client may add to a request: the ``ttrl`` object, and a model name that pins a version."""

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
"""Characters of an answer that a client may give as the right one."""
_TTRL_FIELDS = ("samples", "train", "stop", "level", "adapter", "label")
_OLD_FIELDS = ("votes",)
"""``ttrl.votes`` is ``ttrl.samples`` under its old name, read until 0.3."""


@dataclass(frozen=True, slots=True)
class Extension:
    """The request's ``ttrl`` object, checked."""

    samples: int | None
    """M, the samples that vote."""
    train: bool | None
    version: int | None
    """From ``adapter``: 0 is the base model."""
    stop: StopRule | None = None
    level: float | None = None
    label: str | None = None


def read(data: dict[str, Any], config: Config) -> Extension:
    """The ``ttrl`` object; raises RequestError with the offending name."""
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
    return Extension(
        samples=_samples(given, config),
        train=body.flag(given, "train", prefix="ttrl."),
        version=_version(given.get("adapter"), "ttrl.adapter"),
        stop=_stop(given, config),
        level=_level(given),
        label=_label(given, config),
    )


def _samples(given: dict[str, Any], config: Config) -> int | None:
    most = config.vote.max_samples
    asked, before = (body.whole(given, name, 1, most, prefix="ttrl.") for name in ("samples", "votes"))
    if asked is not None and before is not None and asked != before:
        raise RequestError(
            f"ttrl.samples is {asked} and ttrl.votes, its old name, {before}. Leave one of the two out.",
            param="ttrl.samples",
            code="invalid_value",
        )
    return before if asked is None else asked


def _label(given: dict[str, Any], config: Config) -> str | None:
    label = body.text(given, "label", LABEL_LIMIT, prefix="ttrl.")
    if label is not None and not config.train.feedback:
        raise RequestError(
            "This server takes no labels (train.feedback).", param="ttrl.label", code="unsupported_value"
        )
    return label


def _stop(given: dict[str, Any], config: Config) -> StopRule | None:
    rule = given.get("stop")
    if rule is None:
        return None
    if rule not in STOP_RULES:
        wrong = f"is {str(rule)[:60]!r}; it must be one of {', '.join(STOP_RULES)}."
    elif rule in ("beta", "certificate") and config.vote.weighting == "confidence":
        wrong = f"{rule} counts votes, and this server weighs them (vote.weighting): use exact or none."
    else:
        return next(known for known in STOP_RULES if known == rule)
    raise RequestError(f"ttrl.stop {wrong}", param="ttrl.stop", code="invalid_value")


def _level(given: dict[str, Any]) -> float | None:
    """1 − δ of a statistical rule, above one half and below one."""
    level = body.number(given, "level", 0.5, 1, above=True, prefix="ttrl.")
    if level == 1:
        raise RequestError("ttrl.level is 1; no sample makes that sure.", param="ttrl.level", code="invalid_value")
    return level


def resolve_model(data: dict[str, Any], config: Config) -> int | None:
    """The pinned version a model name means, or None for the improving alias; an unknown name is a 404."""
    name = data.get("model")
    if name is None or name == config.name:
        return None
    if not isinstance(name, str):
        raise RequestError("model must be a string.", param="model", code="invalid_type")
    alias, at, pin = name.rpartition("@")
    if not at or alias != config.name:
        raise RequestError(
            f"The model {name[:200]!r} does not exist here. There is {config.name!r}, which improves, and "
            f"'{config.name}@base' and '{config.name}@v<number>', which do not.",
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
