"""The event log: one line an event on stderr, as text or JSON."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog


def configure(format: Literal["text", "json"], level: str) -> None:
    """Sets up structlog for this process; all modules use ``structlog.get_logger()``."""
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=28)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
