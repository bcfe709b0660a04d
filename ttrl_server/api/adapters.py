"""``/ttrl/v1/adapters…``: the operator's routes, behind the admin key."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ttrl_server.api import body
from ttrl_server.errors import RequestError
from ttrl_server.promotion.operator import Operator
from ttrl_server.registry.names import number_in

_LIMIT = 2**16


class _Act(msgspec.Struct):
    reason: str = "asked for"
    force: bool = False
    """For ``promote``: serves a version although the gate refused it for its answers."""
    to: int | str | None = None
    """For ``roll_back``: 3 is version 3, 0 the base model, nothing the last good one."""


class AdapterRoutes:
    """Handlers that show versions and act on them."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    async def list(self, request: Request) -> Response:
        return JSONResponse(self._operator.list())

    async def show(self, request: Request) -> Response:
        return JSONResponse(self._operator.show(_version(request)))

    async def promote(self, request: Request) -> Response:
        number, asked = _version(request), await body.typed(request, _Act, _LIMIT, empty=b"{}")
        force, reason = asked.force, asked.reason
        await self._operator.promote(number, force=force, reason=reason, by=_who(request))
        return JSONResponse(self._operator.show(number))

    async def pin(self, request: Request) -> Response:
        number = _version(request)
        await self._operator.pin(number, by=_who(request))
        return JSONResponse(self._operator.show(number))

    async def unpin(self, request: Request) -> Response:
        number = _version(request)
        await self._operator.unpin(number, by=_who(request))
        return JSONResponse(self._operator.show(number))

    async def retire(self, request: Request) -> Response:
        number, asked = _version(request), await body.typed(request, _Act, _LIMIT, empty=b"{}")
        await self._operator.retire(number, reason=asked.reason, by=_who(request))
        return JSONResponse({"number": number, "state": "retired"})

    async def roll_back(self, request: Request) -> Response:
        asked = await body.typed(request, _Act, _LIMIT, empty=b"{}")
        number = None if asked.to is None else _number(str(asked.to), "to")
        await self._operator.roll_back(number, reason=asked.reason, by=_who(request))
        return JSONResponse({"served": self._operator.list()["served"]})


def _version(request: Request) -> int:
    return _number(request.path_params["version"], "version")


def _number(text: str, param: str) -> int:
    number = number_in(text)
    if number is None:
        raise RequestError(f"{text[:100]!r} is not a version: say 7, v7 or base.", param=param)
    return number


def _who(request: Request) -> str:
    """The request's id: a proxy's log can show who sent it."""
    return str(request.scope["ttrl.id"])
