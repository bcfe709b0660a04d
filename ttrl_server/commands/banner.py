"""The banner: what ``ttrl-serve`` prints when it is ready."""

from __future__ import annotations

from ttrl_server.engine.fleet import Fleet
from ttrl_server.registry.names import version_name
from ttrl_server.settings import sources
from ttrl_server.settings.config import Config


def render(config: Config, url: str, fleet: Fleet) -> str:
    """The text: URL, model, version, votes, learning, folders, key, and a curl command to try."""
    off = config.vote.policy == "never"
    header = ' -H "Authorization: Bearer $KEY"' if config.api.keys else ""
    messages = '[{"role": "user", "content": "What is 7 * 8?"}]'
    body = f'{{"model": "{config.name}", "messages": {messages}}}'
    ask = f"curl -s {url}/v1/chat/completions{header} -H 'content-type: application/json'"
    rows = {
        "serving": f"{url}/v1",
        "model": f"{config.name}  ({config.model})",
        "adapter": version_name(config.name, fleet.serving),
        "votes": "off (vote.policy never)" if off else f"{config.vote.samples} a question",
        "learning": _learning(config),
        "store": sources.redacted(config)["store"]["url"] or str(config.state_dir / "store.sqlite"),
        "adapters": str(config.adapters_root),
        "logs": str(config.state_dir / "logs"),
        "key": "needed (Authorization: Bearer …)" if header else "not needed (loopback only)",
        "try": f"{ask} -d '{body}'",
    }
    lines = [f"  {name:<9} {value}" for name, value in rows.items()]
    return "\n".join(["", "ttrl-server is ready", *lines, ""])


def _learning(config: Config) -> str:
    if not config.train.enabled:
        return "off (train.enabled is false)"
    if config.vote.policy == "never":
        return "off (nothing is voted on: vote.policy is never)"
    train = config.train
    how = f"on ({train.algorithm}, rank {train.rank}"
    if train.reward != "majority":
        odd = "misleads a weak model" if train.reward == "signed" else "a control"
        how += f", train.reward {train.reward}: {odd}"
    if train.launch == "elsewhere":
        return f"{how}), waiting for ttrl-train from elsewhere"
    where = "CPU" if config.hardware == "cpu" else f"GPU {','.join(map(str, train.devices))}"
    return f"{how}, on {where}, {train.questions} questions a step)"
