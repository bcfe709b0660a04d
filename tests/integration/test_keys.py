"""Nobody gets past without the right key, and the list of open routes is short."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from starlette.routing import Route

from tests.integration.conftest import ADMIN, Gateway
from ttrl_server.api.keys import ADMIN_PREFIXES, OPEN_ROUTES
from ttrl_server.errors import ConfigError
from ttrl_server.settings.sources import parse


def _routes(gateway: Gateway) -> list[tuple[str, str]]:
    return [
        (route.path, method)
        for route in gateway.service.app.routes
        if isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]


def test_every_route_but_the_open_ones_needs_a_key(start: Callable[..., Gateway]) -> None:
    gateway = start(api={"keys": ["client-key"], "admin_key": ADMIN})
    open_ = set()
    for path, method in _routes(gateway):
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "Basic x"},
            {"x-api-key": "nope"},
        ):
            reply = httpx.request(method, gateway.url + path, headers=headers, json={})
            if reply.status_code != 401:
                open_.add(path)
            else:
                assert reply.json()["error"]["code"] == "invalid_api_key"
    assert open_ == set(OPEN_ROUTES) == {"/health", "/ready"}


def test_a_clients_key_does_not_open_the_trainers_routes(start: Callable[..., Gateway]) -> None:
    gateway = start(api={"keys": ["client-key"], "admin_key": ADMIN})
    for path, method in _routes(gateway):
        if path.startswith(ADMIN_PREFIXES):
            for headers in ({}, {"authorization": "Bearer client-key"}):
                assert (
                    httpx.request(method, gateway.url + path, headers=headers, json={}).status_code
                    == 401
                )


def test_without_client_keys_the_trainers_routes_still_need_theirs(gateway: Gateway) -> None:
    assert gateway.http.post("/ttrl/v1/train/lease", json={"worker": "x"}).status_code == 401
    assert gateway.http.post("/ttrl/v1/adapters/rollback", json={"to": 0}).status_code == 401


def test_the_right_key_is_let_in_either_way(start: Callable[..., Gateway]) -> None:
    gateway = start(api={"keys": ["client-key"], "admin_key": ADMIN})
    for headers in ({"authorization": "Bearer client-key"}, {"x-api-key": "client-key"}):
        assert httpx.get(gateway.url + "/v1/models", headers=headers).status_code == 200


def test_an_empty_key_is_refused_at_the_start_and_never_matches(gateway: Gateway) -> None:
    with pytest.raises(ConfigError, match=r"api\.keys"):
        parse(["--model", "tiny", "--hardware", "cpu", "--api-key", ""])
    assert (
        gateway.http.post("/ttrl/v1/train/lease", headers={"x-api-key": ""}, json={}).status_code
        == 401
    )


def test_without_a_key_only_loopback_may_be_bound() -> None:
    with pytest.raises(ConfigError, match="api-key"):
        parse(["--model", "tiny", "--hardware", "cpu", "--host", "0.0.0.0"])
    assert parse(
        ["--model", "tiny", "--hardware", "cpu", "--host", "0.0.0.0", "--api-key", "k"]
    ).config.api.keys == ["k"]
