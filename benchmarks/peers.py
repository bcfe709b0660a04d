"""What stands beside us in a benchmark: peers, each in an environment of its own, and an
upstream that costs little."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import yaml

PEERS = Path("runs/benchmarks")
"""Where the environments are kept from one run to the next; no peer is a dependency."""

MODEL = "tiny"


def environment(name: str, *requirements: str) -> Path:
    """The absolute path of a python that has ``requirements``; made once, then reused."""
    folder = (PEERS / f"{name}-venv").resolve()
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "\n".join(requirements) + "\n"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing {', '.join(requirements)} into {folder}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *requirements], check=True, stdout=sys.stderr)
    stamp.write_text(wanted)
    return python


def version(python: Path, package: str) -> str:
    """The installed version of one package of that environment."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.check_output([str(python), "-c", code], text=True).strip()


# ---------------------------------------------------------------- LiteLLM

LITELLM_ENV = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}
"""As its documentation runs it in production, and without a look-up of prices; its key is
LITELLM_MASTER_KEY."""


def litellm_command(python: Path, config: Path, upstream: str, port: int) -> list[str]:
    """Its proxy with one worker and one model, no database, no telemetry; writes its ``config``."""
    model = {"model": f"openai/{MODEL}", "api_base": f"{upstream}/v1", "api_key": "none"}
    settings = {
        "model_list": [{"model_name": MODEL, "litellm_params": model}],
        "litellm_settings": {"telemetry": False, "set_verbose": False},
    }
    config.write_text(yaml.safe_dump(settings))
    flags = f"--host 127.0.0.1 --port {port} --num_workers 1 --telemetry False --config".split()
    return [str(python), str(python.with_name("litellm")), *flags, str(config)]


# ---------------------------------------------------------------- a fixed upstream

EVENTS, PAUSE_S = 50, 0.002
"""Of a streamed answer: so many events, so long between two of them."""

MESSAGE = {"role": "assistant", "content": "Paris, since the tenth century. " * 8}
ANSWER = {
    "id": "chatcmpl-0123456789abcdef0123456789abcdef",
    "object": "chat.completion",
    "created": 1700000000,
    "model": MODEL,
    "choices": [{"index": 0, "message": MESSAGE, "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 120, "completion_tokens": 64, "total_tokens": 184},
}


class Upstream(asyncio.Protocol):
    """As much of HTTP as three well-behaved clients need; its small cost is in every figure."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._streaming: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._unread[:end]).lower()
            _, found, rest = head.partition(b"\r\ncontent-length:")
            length = int(rest.split(b"\r\n", 1)[0]) if found else 0
            if len(self._unread) < end + 4 + length:
                return
            body = bytes(self._unread[end + 4 : end + 4 + length])
            del self._unread[: end + 4 + length]
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        if path == b"/v1/chat/completions" and json.loads(body).get("stream"):
            task = asyncio.get_running_loop().create_task(self._stream())
            self._streaming.add(task)
            task.add_done_callback(self._streaming.discard)
        elif path == b"/v1/chat/completions":
            self._transport.write(CHAT)
        elif path == b"/v1/models":
            self._transport.write(_plain({"object": "list", "data": [{"id": MODEL}]}))
        else:
            self._transport.write(_plain({}))

    async def _stream(self) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; "
            b"charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for event in events():
            self._transport.write(b"%x\r\n%s\r\n" % (len(event), event))
            await asyncio.sleep(PAUSE_S)
        self._transport.write(b"0\r\n\r\n")


def _plain(content: Any) -> bytes:
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:"
    data = json.dumps(content)
    return f"{head} {len(data)}\r\n\r\n{data}".encode()


CHAT = _plain(ANSWER)


def events() -> list[bytes]:
    """The ``EVENTS`` server-sent events of one stream."""
    words: list[dict[str, Any]] = [
        {"delta": {"role": "assistant", "content": f" {i}"}, "finish_reason": None}
        for i in range(EVENTS - 2)
    ]
    head = {"object": "chat.completion.chunk", "created": ANSWER["created"], "model": MODEL}
    chunks = [
        head | {"id": ANSWER["id"], "choices": [{"index": 0, **choice}]}
        for choice in (*words, {"delta": {}, "finish_reason": "stop"})
    ]
    data = [*map(json.dumps, chunks), "[DONE]"]
    return [f"data: {each}\n\n".encode() for each in data]


async def serve_upstream(port: int, path: str) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_unix_server(Upstream, path)
    await (await loop.create_server(Upstream, "127.0.0.1", port)).serve_forever()
