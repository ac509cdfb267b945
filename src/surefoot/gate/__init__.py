"""The gate: answers for the app while it cannot, on the sockets that outlive it."""

from surefoot.gate.held import held_sockets
from surefoot.gate.messages import Request
from surefoot.gate.server import GLANCE_S, Gate

__all__ = ["GLANCE_S", "Gate", "Request", "held_sockets"]
