"""What one address may ask of an arena: answers cost a model's time."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict

MOST_ADDRESSES = 100_000


class Budget:
    """So many requests a minute for each address; what was not used is saved up to one minute's.

    Args:
        per_minute: how many.
    """

    def __init__(self, per_minute: int) -> None:
        self._most = float(per_minute)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, address: str, now: float | None = None) -> bool:
        """Whether one more request of `address` fits."""
        now = time.monotonic() if now is None else now
        place = _household(address)
        with self._lock:
            left, then = self._left.pop(place, (self._most, now))
            left = min(self._most, left + (now - then) * self._most / 60)
            fits = left >= 1
            self._left[place] = (left - fits, now)
            if len(self._left) > MOST_ADDRESSES:
                self._left.popitem(last=False)
        return fits


def _household(address: str) -> str:
    """The address itself, or the /64 network of an IPv6 address: one customer owns all of it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))
