"""The gate: answers for the app while it cannot, on the sockets that outlive it."""

from surefoot.gate.held import held_sockets
from surefoot.gate.server import Gate, Request

__all__ = ["Gate", "Request", "held_sockets"]
