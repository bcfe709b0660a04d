"""The store of experiences, from the vote to the training step. Only the gateway owns it."""

from ttrl_server.store.experiences import Experiences

__all__ = ["Experiences"]
