"""The trainer's client for the gateway: lease a batch, renew the lease, propose a version."""

from __future__ import annotations

import time

import httpx
import msgspec
import structlog

from ttrl_server.errors import ConfigError, LeaseLost, TtrlError
from ttrl_server.training.messages import Lease, Outcome, Propose, Renew, Skip
from ttrl_server.types import Batch

PATIENCE_S = 300.0
"""How long a gateway may be unreachable (during a restart, say) before the trainer gives up."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
TIMEOUT = httpx.Timeout(60.0, read=600.0)
"""The gate loads, probes and examines a proposed version before it answers; one that takes longer
is proposed again, which changes nothing."""

events = structlog.get_logger()


class Gateway:
    """A synchronous client, which the heartbeat's thread may use too.

    Every call is repeated while the gateway cannot be reached. After ``patience_s`` the call raises
    TtrlError. A refused key raises ConfigError.
    """

    def __init__(self, url: str, key: str, *, patience_s: float = PATIENCE_S) -> None:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT)
        self._patience_s = patience_s

    def lease(self, worker: str) -> Batch | None:
        """Leases a batch. The gateway keeps the call open while no batch waits; None after some
        time without one."""
        response = self._post("lease", Lease(worker))
        if response.status_code == 204:
            return None
        return msgspec.msgpack.decode(response.content, type=Batch)

    def renew(self, batch_id: str) -> None:
        """Extends the lease of a batch by ``lease_s``. Raises LeaseLost."""
        self._post("renew", Renew(batch_id))

    def propose(self, batch_id: str, folder: str, metrics: dict[str, float]) -> Outcome:
        """Proposes a published version and waits for the gate's judgement. Raises LeaseLost."""
        response = self._post("propose", Propose(batch_id, folder, metrics))
        return msgspec.json.decode(response.content, type=Outcome)

    def skip(self, batch_id: str, reason: str, metrics: dict[str, float]) -> None:
        """Says that the trainer made no version from the batch. Raises LeaseLost."""
        self._post("skip", Skip(batch_id, reason, metrics))

    def _post(self, route: str, message: msgspec.Struct) -> httpx.Response:
        body = msgspec.json.encode(message)
        gone_since, pause = time.monotonic(), FIRST_PAUSE_S
        while True:
            try:
                response = self._http.post(f"/ttrl/v1/train/{route}", content=body)
                # Any other status is final. A gateway that is shutting down may reply 500.
                if response.status_code not in (500, 502, 503, 504):
                    break
                trouble = f"HTTP {response.status_code}"
            except httpx.TransportError as error:
                trouble = repr(error)
                if route == "propose" and isinstance(error, httpx.ReadTimeout):
                    gone_since = time.monotonic()  # it is there, and still judges
            if time.monotonic() - gone_since + pause > self._patience_s:
                away = f"the gateway has been away for {self._patience_s:.0f} s"
                raise TtrlError(f"{away} ({trouble})")
            events.warning("gateway.away", trouble=trouble, next_try_s=pause)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        if response.status_code == 409:
            raise LeaseLost(f"{route}: the gateway no longer holds this batch for this trainer")
        if response.status_code in (401, 403):
            refused = "the gateway refuses the key in TTRL_ADMIN_KEY"
            raise ConfigError(f"{refused}: give the one in its api.admin_key")
        if response.status_code not in (200, 204):
            said = f"the gateway answered {response.status_code}: {response.text[:300]}"
            raise TtrlError(f"{route}: {said}")
        return response
