"""An event loop whose time is a number: waiting costs nothing and happens exactly."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVarTuple, Unpack

Ts = TypeVarTuple("Ts")


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Instead of sleeping until the next timer it moves its time there; with no timer left, it says who would wait for ever.

    Pass ``loop.time`` as the clock of what is tested. ``now`` may be moved forwards by hand, as a busy loop would.
    ``callbacks`` and ``timers`` count what was scheduled.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.callbacks = 0
        self.timers = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None) -> asyncio.Handle:
        self.callbacks += 1
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)

    def settle(self) -> None:
        """Run what is ready, and what that makes ready, without any time passing."""

        async def rounds() -> None:
            for _ in range(10):
                await asyncio.sleep(0)

        self.run_until_complete(rounds())

    def advance(self, seconds: float) -> None:
        """Let time pass, running the timers that fall due on the way."""
        self.run_until_complete(asyncio.sleep(seconds))


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._simulated = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everything waits and no timer is set")
        self._simulated.now += timeout
        return super().select(0)
