"""HTTP/1.1 as uvicorn speaks it, also with clients that offer to speak another protocol.

A server may ignore such an offer and answer in HTTP/1.1 (RFC 9110, section 7.8). The JDK's client
offers h2c with its requests, and httptools would take their bodies for bytes of the other protocol.
So it does not get to see the offer.
"""

from __future__ import annotations

import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

END = b"\r\n\r\n"
LONGEST_HEAD = 2**16
"""Bytes of a head that are kept until it is whole; a longer one is read as it comes."""
_OFFER = re.compile(rb"\r\n(upgrade:(?![ \t]*websocket))", re.IGNORECASE)


class Http(HttpToolsProtocol):
    """One connection, whose requests offer nothing but WebSockets."""

    _between = True
    """Whether the next byte begins a request."""
    _head = b""

    def data_received(self, data: bytes) -> None:
        if self._between:
            self._unset_keepalive_if_required()
            data = self._head + data
            if END not in data and len(data) < LONGEST_HEAD:
                self._head = data
                return
            head, end, body = data.partition(END)
            data, self._head = _OFFER.sub(rb"\r\nx-\1", head) + end + body, b""
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._between = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._between = True
        super().on_message_complete()
