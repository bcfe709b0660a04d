"""``ttrl-serve``: reads the settings, checks the machine, serves, and drains at the end."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from pathlib import Path

from ttrl_server.errors import ConfigError, TtrlError
from ttrl_server.settings import sources
from ttrl_server.settings.config import Config

CPU_PLUGINS = frozenset({"ttrl_cpu_lora", "ttrl_cpu_seed"})
"""Our plugins that repair vLLM on a CPU; vLLM loads them."""


def main() -> None:
    """Console script."""
    try:
        invocation = sources.parse(sys.argv[1:])
        if invocation.dry_run:
            print(dry_run(invocation.config))
            return
        _check_machine(invocation.config)
        run(invocation.config)
    except TtrlError as error:
        print(f"ttrl-serve: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


# ---------------------------------------------------------------- --dry-run


def dry_run(config: Config) -> str:
    """The resolved settings and the command lines with their environment; starts nothing."""
    import yaml

    from ttrl_server.engine.command import engine_command
    from ttrl_server.training.command import deepspeed_config, trainer_command

    parts = ["# settings", yaml.safe_dump(sources.redacted(config), sort_keys=False).rstrip()]
    for replica in range(config.replicas if not config.engine.url else 0):
        command = _shell(*engine_command(config, replica), VLLM_API_KEY="<random>")
        parts += [f"\n# engine {replica}", command]
    if config.train.enabled:
        argv, env = trainer_command(config, config.resolved_file, config.url(config.api.port))
        parts += ["\n# trainer", _shell(argv, env, TTRL_ADMIN_KEY="<random>")]
        parts += ["\n# deepspeed", json.dumps(deepspeed_config(config), indent=2)]
    return "\n".join(parts)


def _shell(argv: list[str], env: dict[str, str], **secret: str) -> str:
    names = [f"{name}={shlex.quote(value)}" for name, value in env.items()]
    names += [f"{name}={value}" for name, value in secret.items()]
    return " \\\n  ".join([*names, shlex.join(argv)])


def _check_machine(config: Config) -> None:
    """Checks GPUs, plugins and the model folder before a real start. Raises ConfigError."""
    from importlib.metadata import entry_points

    if config.hardware == "cuda":
        wanted = sorted({*config.engine.devices, *config.train.devices})
        missing = [gpu for gpu in wanted if not Path(f"/dev/nvidia{gpu}").exists()]
        if missing:
            raise ConfigError(
                f"the settings want GPUs {wanted}, this machine has no GPU {missing[0]}: pass "
                "--gpus N, --engine.devices and --train.devices, or --hardware cpu"
            )
    if config.hardware == "cpu" and not config.engine.url:
        loaded = {plugin.name for plugin in entry_points(group="vllm.general_plugins")}
        allowed = os.environ.get("VLLM_PLUGINS")
        if allowed is not None:  # set but empty: vLLM loads no plugin at all
            loaded &= set(allowed.split(","))
        if not loaded >= CPU_PLUGINS:
            raise ConfigError(
                "vLLM would not load the plugins ttrl_cpu_lora and ttrl_cpu_seed; without them an "
                "adapter may answer a base request, and a seed may end the engine: "
                "install the package (pip install -e .), and name both in VLLM_PLUGINS if that "
                "is set"
            )
    looks_local = config.model.startswith(("/", "./", "../", "~"))
    if looks_local and not (Path(config.model) / "config.json").is_file():
        raise ConfigError(f"--model {config.model}: there is no config.json in that folder")


# ---------------------------------------------------------------- serving


def run(config: Config) -> None:
    """Serves until the process gets a signal."""
    import uvloop

    uvloop.run(_serve(config))


async def _serve(config: Config) -> None:
    import uvicorn

    from ttrl_server.api.http import Http
    from ttrl_server.commands.service import Service
    from ttrl_server.telemetry import log

    log.configure(config.log.format, config.log.level)
    config.state_dir.mkdir(parents=True, exist_ok=True)
    family = socket.AF_INET6 if ":" in config.api.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.api.host, config.api.port))
    except OSError as error:
        where = f"{config.api.host}:{config.api.port}"
        raise ConfigError(f"cannot listen on {where} ({error.strerror}): pass --port") from None
    service = Service(config, port=listening.getsockname()[1])
    server = uvicorn.Server(
        uvicorn.Config(
            service.app,
            http=Http,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=round(config.engine.drain_timeout_s),
        )
    )
    service.stop = lambda: setattr(server, "should_exit", True)
    await server.serve(sockets=[listening])
    if service.failure:
        raise service.failure


if __name__ == "__main__":
    main()
