"""The client against a real HTTP server whose answers are written down beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.integration.fake_vllm import Serving
from tests.unit.training.tiny import tiny_batch
from ttrl_server.errors import ConfigError, LeaseLost, TtrlError
from ttrl_server.training import gateway
from ttrl_server.training.gateway import Gateway
from ttrl_server.training.messages import Outcome
from ttrl_server.types import Parent


class Script(Serving):
    """Answers in order with (status, body); keeps what was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.asked: list[tuple[str, str | None, Any]] = []
        super().__init__(Starlette(routes=[Route("/{path:path}", self.answer, methods=["POST"])]))

    async def answer(self, request: Request) -> Response:
        asked = request.url.path, request.headers["Authorization"], await request.json()
        self.asked.append(asked)
        status, body = self.answers.pop(0)
        return Response(body, status)


@pytest.fixture
def server() -> Iterator[Script]:
    script = Script()
    yield script
    script.stop()


def test_a_leased_batch_arrives_whole(server: Script) -> None:
    batch = tiny_batch(None)
    server.answers = [(200, msgspec.msgpack.encode(batch)), (204, b"")]
    client = Gateway(server.url, "key")
    assert client.lease("me") == batch
    assert client.lease("me") is None
    assert server.asked[0] == ("/ttrl/v1/train/lease", "Bearer key", {"worker": "me"})


def test_a_verdict_names_the_version_to_go_on_from(server: Script) -> None:
    said = b'{"state":"rejected","reason":"probe: off","parent":{"number":3,"folder":"v3"}}'
    server.answers = [(200, said)]
    outcome = Gateway(server.url, "key").propose("b1", "v4", {"loss": 0.1})
    assert outcome == Outcome("rejected", "probe: off", Parent(3, "v3"))
    assert server.asked[0][2] == {"batch": "b1", "folder": "v4", "metrics": {"loss": 0.1}}


def test_a_lease_that_is_gone_is_lease_lost_on_every_route(server: Script) -> None:
    server.answers = [(409, b"{}")] * 3
    client = Gateway(server.url, "key")
    calls: list[Any] = [[client.renew], [client.propose, "v1", {}], [client.skip, "nothing", {}]]
    for call, *told in calls:
        with pytest.raises(LeaseLost):
            call("b1", *told)


def test_a_refused_key_is_a_wrong_setting(server: Script) -> None:
    server.answers = [(401, b"{}")]
    with pytest.raises(ConfigError, match="TTRL_ADMIN_KEY"):
        Gateway(server.url, "key").renew("b1")


def test_a_restarting_gateway_is_waited_for(
    server: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "FIRST_PAUSE_S", 0.01)
    server.answers = [(503, b""), (502, b""), (204, b"")]
    Gateway(server.url, "key").renew("b1")
    assert len(server.asked) == 3


def test_a_gateway_that_stays_away_ends_the_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "FIRST_PAUSE_S", 0.01)
    with pytest.raises(TtrlError, match="away"):
        Gateway("http://127.0.0.1:9", "key", patience_s=0.05).renew("b1")
