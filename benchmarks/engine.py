"""A real vLLM with the command line ttrl-serve would use, for as long as a benchmark needs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from ttrl_server.engine.client import EngineClient
from ttrl_server.engine.command import engine_command, socket_path
from ttrl_server.engine.supervisor import make_socket_dir
from ttrl_server.process import ChildTree
from ttrl_server.settings.config import Config
from ttrl_server.settings.sections import EngineConfig, TrainConfig
from ttrl_server.types import Prompt, Question, Sampling, VoteOptions

KEY = "benchmark"
START_S = 600


def small(
    model: str, run_dir: Path, *, dtype: Any = "float32", when: Any = "idle", seqs: int = 128
) -> Config:
    """The settings under which votes of the small model are measured on a CPU."""
    return Config(
        model=model,
        served_model_name="m",
        hardware="cpu",
        dtype=dtype,
        max_model_len=1024,
        run_dir=run_dir,
        engine=EngineConfig(max_num_seqs=seqs, cpu_kv_cache_gib=2),
        train=TrainConfig(when=when),
    )


async def prompt_of(
    client: EngineClient, model: str, prompt: str, kind: Literal["chat", "completion"] = "chat"
) -> Prompt:
    """A question as the engine reads it, or a text to go on with."""
    said = [{"role": "user", "content": prompt}] if kind == "chat" else prompt
    question = Question("", "", said, kind, model, None, Sampling(1.0), VoteOptions(1))
    return await client.prompt(question, model)


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[EngineClient]:
    """The client of one engine that is ready; the process and all it started are gone
    afterwards."""
    make_socket_dir(config)
    socket_path(config, 0).unlink(missing_ok=True)
    argv, env = engine_command(config, 0)
    log, env = config.state_dir / "engine.log", env | {"VLLM_API_KEY": KEY}
    tree = ChildTree("engine", argv, env, log, grace_s=5)
    client = EngineClient(socket=str(socket_path(config, 0)), key=KEY)
    await tree.start()
    await client.open()
    try:
        ended = asyncio.ensure_future(tree.wait())
        async with asyncio.timeout(START_S):
            while not await client.healthy():
                await asyncio.wait([ended], timeout=0.5)
                if ended.done():
                    raise RuntimeError(f"the engine ended:\n{tree.tail(40)}")
        yield client
    finally:
        await client.close()
        await tree.stop()
