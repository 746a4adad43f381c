"""The time as the service counts it.

This machine's clock may be wrong, and may be set while a fleet is made. So our attempts and what the service says of
their work are compared by the service's own time, which the ``Date`` of its answers shows; durations are of a monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import yarl

from zego_aigc.transport.clock import http_date

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["ServiceClock"]

MAX_WAIT = 5.0
"""Seconds that the service may take to tell the time."""


class ServiceClock:
    """Unix seconds by the service's clock; by this machine's until the service has answered once.

    Args:
        wall: this machine's Unix time.
        monotonic: a clock that is never set.
    """

    __slots__ = ("_ahead", "_date", "_monotonic", "_wall")

    def __init__(self, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._ahead: float | None = None  # the service's time minus the monotonic clock
        self._date: str | None = None

    @property
    def known(self) -> bool:
        """Whether it is the service's time."""
        return self._ahead is not None

    def now(self) -> float:
        """The time."""
        return self._wall() if self._ahead is None else self._ahead + self._monotonic()

    async def ask(self, client: Client) -> None:
        """Ask the service, unless its time is known. Where it does not answer, this machine's has to do."""
        for url in {*client.hosts.values()}:
            if not self.known:
                self.observe(await client.pool.date(yarl.URL(url), MAX_WAIT))

    def observe(self, date: str | None) -> float:
        """Take note of an answer's ``Date`` header.

        A header is in whole seconds, cut off: the latest of several is the nearest to the truth.

        Returns:
            the seconds by which what was noted until now is behind, if the service's time was not known before; 0 otherwise.
        """
        if date is None or date == self._date:
            return 0.0
        self._date = date
        if (then := http_date(date)) is None:
            return 0.0
        before = self._ahead
        ahead = then - self._monotonic()
        if before is not None:
            self._ahead = max(before, ahead)
            return 0.0
        self._ahead = ahead
        return self.now() - self._wall()
