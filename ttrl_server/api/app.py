"""The list of all routes, and the application that serves them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from ttrl_server.api import passthrough
from ttrl_server.api.adapters import AdapterRoutes
from ttrl_server.api.admin import AdminRoutes
from ttrl_server.api.envelope import on_error
from ttrl_server.api.feedback import FeedbackRoute
from ttrl_server.api.keys import LOCAL_ORIGIN, KeyCheck
from ttrl_server.api.openai import OpenAIRoutes
from ttrl_server.errors import TtrlError
from ttrl_server.settings.sections import ApiConfig

EXPOSED = (
    *("x-request-id", "x-ttrl-adapter", "x-ttrl-train", "x-ttrl-unvoted"),
    *("retry-after", "x-should-retry"),
)
"""Headers that a page may read."""


def build(
    openai: OpenAIRoutes,
    admin: AdminRoutes,
    feedback: FeedbackRoute,
    adapters: AdapterRoutes,
    *,
    config: ApiConfig,
    admin_key: str,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
) -> Starlette:
    """The ASGI application with all routes of the gateway; any other path is a 404."""
    routes = [
        Route("/v1/chat/completions", openai.chat, methods=["POST"]),
        Route("/v1/completions", openai.completion, methods=["POST"]),
        Route("/v1/messages", openai.messages, methods=["POST"]),
        Route("/v1/responses", openai.responses, methods=["POST"]),
        Route("/v1/models", openai.models),
        Route("/v1/models/{name:path}", openai.model),
        Route("/v1/feedback", feedback.give, methods=["POST"]),
        *(Route(path, openai.passed_through, methods=["POST"]) for path in passthrough.ALLOWED),
        Route("/health", admin.ready),
        Route("/ready", admin.ready),
        Route("/live", admin.live),
        Route("/version", admin.version),
        Route("/metrics", admin.metrics),
        Route("/ttrl/v1/status", admin.status),
        Route("/ttrl/v1/train/lease", admin.lease, methods=["POST"]),
        Route("/ttrl/v1/train/renew", admin.renew, methods=["POST"]),
        Route("/ttrl/v1/train/propose", admin.propose, methods=["POST"]),
        Route("/ttrl/v1/train/skip", admin.skip, methods=["POST"]),
        Route("/ttrl/v1/learning/resume", admin.resume, methods=["POST"]),
        Route("/ttrl/v1/adapters", adapters.list),
        Route("/ttrl/v1/adapters/rollback", adapters.roll_back, methods=["POST"]),
        Route("/ttrl/v1/adapters/{version}", adapters.show),
        Route("/ttrl/v1/adapters/{version}/promote", adapters.promote, methods=["POST"]),
        Route("/ttrl/v1/adapters/{version}/pin", adapters.pin, methods=["POST"]),
        Route("/ttrl/v1/adapters/{version}/unpin", adapters.unpin, methods=["POST"]),
        Route("/ttrl/v1/adapters/{version}/retire", adapters.retire, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = dict.fromkeys((TtrlError, HTTPException, Exception), on_error)
    pages = Middleware(
        CORSMiddleware,
        allow_origins=config.origins,
        allow_origin_regex=LOCAL_ORIGIN,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        allow_private_network=True,
        expose_headers=EXPOSED,
    )
    first = [pages, Middleware(KeyCheck, config=config, admin_key=admin_key)]
    return Starlette(
        routes=routes, middleware=first, exception_handlers=handlers, lifespan=lifespan
    )
