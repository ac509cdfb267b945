"""How often a wrong token may be tried."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from dataclasses import dataclass, field

TRIES = 5
"""Wrong tokens in a row from one address until it has to wait."""
LONGEST_WAIT_S = 300.0
_ADDRESSES_REMEMBERED = 4096


@dataclass
class Throttle:
    """Counts wrong tokens by address; each one over TRIES doubles the wait."""

    _failures: OrderedDict[str, tuple[int, float]] = field(default_factory=OrderedDict)

    def wait_s(self, address: str) -> float:
        """How long this address has to wait before its next try."""
        count, at = self._failures.get(_network(address), (0, 0.0))
        if count < TRIES:
            return 0.0
        return at + min(2.0 ** (count - TRIES + 1), LONGEST_WAIT_S) - time.monotonic()

    def failed(self, address: str) -> None:
        key = _network(address)
        count, _ = self._failures.pop(key, (0, 0.0))
        self._failures[key] = (count + 1, time.monotonic())
        if len(self._failures) > _ADDRESSES_REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, address: str) -> None:
        self._failures.pop(_network(address), None)


def _network(address: str) -> str:
    """An IPv6 host has a whole /64 to come from."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network(f"{address.partition('%')[0]}/64", strict=False))
    except ValueError:
        return address
