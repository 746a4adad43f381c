"""One AppId as the sandbox knows it: what its account may do, and all that lives in it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from zego_aigc.actions import Service
from zego_aigc.sandbox.gate import RateWindow
from zego_aigc.sandbox.refusal import Refusal

if TYPE_CHECKING:
    from zego_aigc.sandbox.agents import Agent
    from zego_aigc.sandbox.clock import Clock
    from zego_aigc.sandbox.instances import Instance
    from zego_aigc.sandbox.streams import StreamTask

__all__ = ["App", "Pace", "Quotas"]


class Quotas(msgspec.Struct, kw_only=True):
    """How many of each kind may live at once; ``None`` is no bound. The vendor starts every account with 10."""

    agents: int | None = 10
    """Voice agent instances."""
    digital_humans: int | None = 10
    """Digital human agent instances, live ones included."""
    streams: int | None = 10
    """Digital human stream tasks."""


class Pace(msgspec.Struct, kw_only=True):
    """How long things take, in seconds on the sandbox's clock."""

    join: float = 0.2
    """From the creation of an instance until it is in its room and publishes."""
    think: float = 0.4
    """From a question until the answer is spoken."""
    character: float = 0.08
    """Speaking one character."""
    stream_start: float = 0.3
    """From the creation of a stream task until it streams."""
    stream_stop: float = 0.2
    """From a stop until a stream task is gone."""
    audio: float = 3.0
    """Playing an audio file, whose length the sandbox cannot know."""


class App:
    """An account with its limits and its state. Reached as ``sandbox.app`` or ``sandbox.apps[app_id]``.

    Every setting may be changed while the sandbox runs and counts from the next call on.
    """

    def __init__(
        self,
        clock: Clock,
        app_id: int,
        server_secret: str,
        *,
        quota: int | Mapping[str, int | None] | Quotas | None = 10,
        rate_limit: int | None = 10,
        rate_window: float = 1.0,
        pace: Pace | None = None,
    ) -> None:
        self.clock = clock
        self.app_id = app_id
        self.server_secret = server_secret
        self.quotas = _quotas(quota)
        self.rate_limit = rate_limit
        """Calls per Action in any `rate_window` seconds; None for no limit."""
        self.rate_window = rate_window
        self.rate_limits: dict[str, int | None] = {}
        """Limits of single Actions that differ, by Action name."""
        self.pace = pace or Pace()
        self.services = set(Service)
        """The services that are enabled for the account."""

        self.agents: dict[str, Agent] = {}
        self.instances: dict[str, Instance] = {}
        self.tasks: dict[str, StreamTask] = {}
        """Stream tasks by TaskId, those that ended included."""
        self._windows: dict[str, RateWindow] = {}
        self._numbers = itertools.count(1)

    def admits(self, action: str, now: float) -> bool:
        """Count a call against the limit of its Action and say whether it is within."""
        limit = self.rate_limits.get(action, self.rate_limit)
        if limit is None:
            return True
        window = self._windows.get(action)
        if window is None or not window.has(limit, self.rate_window):
            window = self._windows[action] = RateWindow(limit, self.rate_window)
        return window.admits(now)

    def rate(self, action: str, now: float) -> int:
        """How many calls of the Action stand in its window."""
        window = self._windows.get(action)
        return 0 if window is None else window.filling(now)

    def snowflake(self) -> str:
        """A new id in the form of the vendor's instance ids: a decimal number beyond what a double can hold."""
        return str((int(self.clock.now() * 1000) << 22) + next(self._numbers))

    @staticmethod
    def uuid() -> str:
        """A new id in the form of the vendor's task, drive and request ids."""
        return str(uuid.uuid4())


def _quotas(quota: int | Mapping[str, int | None] | Quotas | None) -> Quotas:
    if isinstance(quota, Quotas):
        return quota
    if isinstance(quota, Mapping):
        return Quotas(**quota)
    return Quotas(agents=quota, digital_humans=quota, streams=quota)


def check_quota(live: int, most: int | None, code: int, kind: str) -> None:
    """Refuse one more of a kind of which the account holds as many as it may.

    Raises:
        Refusal: with `code`.
    """
    if most is not None and live >= most:
        raise Refusal(code, f"{live} {kind} are alive; the account may hold {most}")
