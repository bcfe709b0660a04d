"""From argv, environment and YAML to one validated Config: flag > environment > file > default.

pydantic-settings merges the sources. This module adds the presets that ``--model`` names, and the
arguments after ``--`` for vLLM. Every mistake is one ConfigError with a message of one line.
"""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from ttrl_server.errors import ConfigError
from ttrl_server.settings.config import Config

SHORT_FLAGS: dict[str, str | list[str]] = {
    "api.host": "host",
    "api.port": "port",
    "api.keys": "api-key",
    "engine.url": "engine-url",
}


@dataclass(frozen=True, slots=True)
class Invocation:
    """A parsed command line."""

    config: Config
    dry_run: bool
    source: Path | None
    """The YAML file that was read, if any."""


def parse(argv: list[str], *, prog: str = "ttrl-serve") -> Invocation:
    """The resolved settings of one command line. Raises ConfigError; SystemExit(0) for --help."""
    at = argv.index("--") if "--" in argv else len(argv)
    for_vllm = argv[at + 1 :]
    own = _OneLineParser(prog=prog, add_help=False, allow_abbrev=False)
    own.add_argument("--config", type=Path, metavar="FILE", help="YAML file of settings")
    about = "print settings and command lines, start nothing"
    own.add_argument("--dry-run", action="store_true", help=about)
    early = _OneLineParser(prog=prog, add_help=False, allow_abbrev=False, parents=[own])
    early.add_argument("--model")
    first, rest = early.parse_known_args(argv[:at])
    named = first.model or os.environ.get("TTRL_MODEL")
    preset = presets().get(Path(named).name.lower()) if named else None
    source = first.config or preset
    values = _read_yaml(source) if source else {}
    if named:
        # A bare preset name means the id in its file; an id or a path means itself.
        bare = preset is not None and source == preset and "/" not in named
        stands_for_id = bare and not Path(named).exists()
        rest = ["--model", values["model"] if stands_for_id else named, *rest]
    config = _resolve(rest, values, own)
    if for_vllm:
        given = [*config.engine.extra_args, *for_vllm]
        engine = config.engine.model_copy(update={"extra_args": given})
        config = config.model_copy(update={"engine": engine})
    return Invocation(config, first.dry_run, source)


# ---------------------------------------------------------------- presets


def presets() -> dict[str, Path]:
    """The YAML files shipped in configs/, by lower-case name."""
    here = Path(__file__).parents[1]
    folder = next(f for f in (here / "configs", here.parent / "configs") if f.is_dir())
    return {path.stem.lower(): path for path in sorted(folder.glob("*.yaml"))}


def _read_yaml(source: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(source.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {source}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"--config {source}: not valid YAML ({why})") from None
    if not isinstance(values, dict):
        found = type(values).__name__
        raise ConfigError(f"--config {source}: expected a mapping of settings, found {found}")
    for name in values:
        if not isinstance(name, str):
            raise ConfigError(f"--config {source}: {name!r} is no name of a setting")
    return values


# ---------------------------------------------------------------- merging


class _Environment(EnvSettingsSource):
    def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            shown = "" if "key" in field_name else f" {value!r}"
            where = f"{field_name}{shown} in the environment"
            raise ConfigError(f"{where}: not JSON, e.g. [0, 1]") from None


class _Settings(BaseSettings, Config):
    """Config as pydantic-settings fills it."""

    model_config = SettingsConfigDict(
        env_prefix="TTRL_",
        env_nested_delimiter="__",
        cli_kebab_case=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        cli_exit_on_error=False,
        cli_shortcuts=SHORT_FLAGS,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The YAML file's values are the init arguments, with a lower rank than the environment.
        return _Environment(settings_cls), init_settings


def _resolve(flags: list[str], file_values: dict[str, Any], own: argparse.ArgumentParser) -> Config:
    about = "Serves an OpenAI endpoint that answers by majority vote and learns from its own votes."
    more = (
        "Whatever follows -- goes to vLLM untouched. Environment: TTRL_VOTE__SAMPLES=64 sets "
        "--vote.samples."
    )
    parser = _OneLineParser(
        prog=own.prog, allow_abbrev=False, parents=[own], description=about, epilog=more
    )
    try:
        cli = CliSettingsSource[Any](_Settings, root_parser=parser, cli_prog_name=own.prog)
        settings = _Settings(_cli_settings_source=cli(args=flags), **file_values)
        return Config.model_validate(settings.model_dump(exclude_unset=True))
    except ValidationError as error:
        raise ConfigError(_one_line(error)) from None
    except SettingsError as error:
        raise ConfigError(" ".join(str(error).split())) from None


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def _one_line(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    what = problem["msg"].removeprefix("Value error, ")
    if not where:
        return what
    if problem["type"] == "extra_forbidden":
        return f"{where}: no such setting (see --help)"
    if problem["type"] == "missing":
        names = ", ".join(presets())
        return f"{where}: missing; pass --{where} (a hub id, a local folder, or one of {names})"
    return f"{where}: {what}" if "key" in where else f"{where} = {problem['input']!r}: {what}"


def redacted(config: Config) -> dict[str, Any]:
    """The settings as plain data, with absolute paths and without secrets."""
    data: dict[str, Any] = config.model_dump(mode="json")
    data["adapters"]["dir"] = str(config.adapters_root)
    data["api"]["keys"] = ["***"] * len(config.api.keys)
    for section, field in (("api", "admin_key"), ("engine", "key")):
        if data[section][field]:
            data[section][field] = "***"
    if config.store.url:
        data["store"]["url"] = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", config.store.url)
    return data
