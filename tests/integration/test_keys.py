"""Nobody gets past without the right key, and the list of open routes is short."""

from __future__ import annotations

import pytest
from starlette.routing import Route

from tests.integration.conftest import Gateway, Start
from ttrl_server.api.keys import ADMIN_PREFIXES, OPEN_ROUTES
from ttrl_server.errors import ConfigError
from ttrl_server.settings.sources import parse

CLIENTS = {"authorization": "Bearer client-key"}
HERE = ["--model", "tiny", "--hardware", "cpu"]


@pytest.fixture(scope="module")
def shared(start_one: Start) -> Gateway:
    return start_one(api={"keys": ["client-key"]})


def let_in(gateway: Gateway, *headers: dict[str, str]) -> set[str]:
    """The routes that answer anything but 401 to one of the headers."""
    found = set()
    for route in gateway.service.app.routes:
        assert isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}:
            for given in headers:
                reply = gateway.http.request(method, route.path, headers=given, json={})
                if reply.status_code != 401:
                    found.add(route.path)
                else:
                    assert reply.json()["error"]["type"] == "authentication_error"
    return found


def test_every_route_but_the_open_ones_needs_a_key(gateway: Gateway) -> None:
    wrong = ({"authorization": "Bearer wrong"}, {"authorization": "Basic x"}, {"x-api-key": "nope"})
    assert let_in(gateway, {}, *wrong) == set(OPEN_ROUTES) == {"/health", "/live", "/ready"}


def test_a_clients_key_does_not_open_the_trainers_routes(gateway: Gateway) -> None:
    assert not [path for path in let_in(gateway, CLIENTS) if path.startswith(ADMIN_PREFIXES)]


def test_without_client_keys_the_trainers_routes_still_need_theirs(start: Start) -> None:
    gateway = start()
    for path, body in (("train/lease", {"worker": "x"}), ("adapters/rollback", {"to": 0})):
        for headers in ({}, {"x-api-key": ""}):
            reply = gateway.http.post(f"/ttrl/v1/{path}", json=body, headers=headers)
            assert reply.status_code == 401


def test_the_right_key_is_let_in_either_way(gateway: Gateway) -> None:
    for headers in (CLIENTS, {"x-api-key": "client-key"}):
        assert gateway.http.get("/v1/models", headers=headers).status_code == 200


def test_an_empty_key_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"api\.keys"):
        parse([*HERE, "--api-key", ""])


def test_without_a_key_only_loopback_may_be_bound() -> None:
    everywhere = [*HERE, "--host", "0.0.0.0"]
    with pytest.raises(ConfigError, match="api-key"):
        parse(everywhere)
    assert parse([*everywhere, "--api-key", "k"]).config.api.keys == ["k"]
