"""The durable experience store: what was voted on, until it has been learned from. Owned by the
gateway alone."""

from ttrl_server.store.experiences import Experiences

__all__ = ["Experiences"]
