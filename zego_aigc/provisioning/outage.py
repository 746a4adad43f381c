"""Waiting an outage out, so that it costs no more than what was in flight as it began.

Each Action has a circuit. The first answer that is lost (a 5xx, a broken connection, silence) opens it: what waits for the
limiter is not sent. One caller at a time then asks the service something that only reads; once that is answered, one request
goes ahead, and if that is answered, too, all do. The rules stand in :class:`Circuit`, which neither waits nor reads a clock.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio

from zego_aigc.calls.retry import AttemptOutcome, outcome_of_refusal
from zego_aigc.errors import ApiError, OutcomeUnknown, RateLimited, TimedOut, TransportError, ZegoError
from zego_aigc.schema.actions import ACTIONS, Action, Service
from zego_aigc.schema.codes import RETURN_CODES
from zego_aigc.schema.lifecycle import LIFECYCLES

if TYPE_CHECKING:
    from zego_aigc.provisioning.run_calls import RunCalls

__all__ = ["Circuit", "CircuitOpen", "Outages", "Retries", "ServiceGone", "may_pass"]

MAX_PAUSE = 15.0
"""Seconds between two probes, or two attempts at what is to be sent later, at most."""

PACED_PAUSE = 1.0
"""Seconds between two attempts at what the limiter paces: it slows down by itself, and longer leaves the limit unused."""

SILENCE = 10.0
"""Seconds without any answer, though requests are out, after which no more are sent."""

MAX_OUTAGE = 600.0
"""Seconds after which nothing is waited out any longer."""

PROBE_TIMEOUT = 10.0
"""Seconds that a probe may take."""

POLL = 0.1
"""Seconds between two looks at what goes ahead of those who wait."""


class CircuitOpen(Exception):
    """The service does not answer at present: the request was not sent."""


class ServiceGone(Exception):
    """The service has not answered for too long, or never did."""


class State(enum.Enum):
    """Whether requests may be sent."""

    CLOSED = enum.auto()
    """They may."""
    OPEN = enum.auto()
    """None may: an answer was lost, and none has come since."""
    TRIAL = enum.auto()
    """One may: a probe was answered."""


class Circuit:
    """The circuit of one Action. Times are monotonic seconds."""

    __slots__ = ("_heard", "_in_flight", "_losses", "since", "state", "was_answered")

    def __init__(self) -> None:
        self.state: State = State.CLOSED
        self.since: float = 0.0
        """When it opened."""
        self.was_answered: bool = False
        """Whether the service has ever answered a request of the Action."""
        self._losses = 0  # what opened it, and the probes since then that were lost
        self._in_flight = 0
        self._heard = 0.0  # when the latest answer came, or the first of the requests in flight left

    def is_blocked(self, now: float) -> bool:
        """Whether no request may be sent at present."""
        if self.state is State.CLOSED:
            return self._in_flight > 0 and now - self._heard > SILENCE
        return self.state is State.OPEN or self._in_flight > 0

    def sent(self, now: float) -> None:
        """A request leaves. One of :meth:`answered`, :meth:`lost` and :meth:`abandoned` follows."""
        if not self._in_flight:
            self._heard = now
        self._in_flight += 1

    def answered(self, now: float) -> None:
        """The service has answered it, whatever it said."""
        self._in_flight -= 1
        self._heard = now
        self._losses = 0
        self.state = State.CLOSED
        self.was_answered = True

    def lost(self, now: float) -> None:
        """It was lost."""
        self._in_flight -= 1
        self.open(now)

    def open(self, now: float) -> None:
        """Something was lost: a request, or a look-up."""
        # What else was in flight is lost by the same outage: it is no reason to wait for longer.
        if self.state is not State.OPEN:
            self._lengthen(now)

    def abandoned(self) -> None:
        """Its answer is not waited for."""
        self._in_flight -= 1

    def probe_lost(self, now: float) -> None:
        """A probe was lost, too."""
        self._lengthen(now)

    def probe_answered(self) -> None:
        """A probe was answered: one request may go ahead."""
        if self.state is State.OPEN:
            self.state = State.TRIAL

    def pause(self) -> float:
        """Seconds until the next probe: none after the first loss, which may be a chance one."""
        return 0.0 if self._losses <= 1 else min(MAX_PAUSE, 2.0 ** (self._losses - 2))

    def _lengthen(self, now: float) -> None:
        self._losses += 1
        if self._losses == 1:
            self.since = now
        self.state = State.OPEN


class Outages:
    """The circuits of a run.

    Args:
        calls: to the service.
        note: called with what is waited for, and with None when it goes on.
    """

    def __init__(self, calls: RunCalls, note: Callable[[str | None], None]) -> None:
        self._calls = calls
        self._note = note
        self._circuits: dict[str, Circuit] = {}
        self._probing: dict[str, anyio.Lock] = {}
        self._answered: set[Service] = set()

    def has_answered(self, action: str) -> bool:
        """Whether the service of an Action has answered anything in this run."""
        return ACTIONS[action].service in self._answered

    def leaves(self, action: str) -> None:
        """A request is about to leave.

        Raises:
            CircuitOpen: it must not.
        """
        circuit, now = self._circuit(action), time.monotonic()
        if circuit.is_blocked(now):
            raise CircuitOpen
        circuit.sent(now)

    def answered(self, action: str) -> None:
        """The service has answered a request, whatever it said."""
        circuit = self._circuit(action)
        if not circuit.was_answered:
            self._answered.add(ACTIONS[action].service)
        circuit.answered(time.monotonic())

    def count(self, action: str, error: BaseException) -> None:
        """A request that left has ended in an error: it was answered, lost, or is not waited for."""
        if isinstance(error, OutcomeUnknown) or (isinstance(error, ZegoError) and may_pass(error) and is_lost(error)):
            self._circuit(action).lost(time.monotonic())
        elif isinstance(error, ApiError):
            self.answered(action)
        else:
            self._circuit(action).abandoned()

    async def wait_out(self, action: str, error: ZegoError | None = None) -> None:
        """Wait until a request of an Action may be sent.

        Args:
            action: the Action's name.
            error: what was lost, where that was not a request but a look-up, say.

        Raises:
            ServiceGone: the service has not answered for ten minutes, or never in this run.
        """
        circuit = self._circuit(action)
        if error is not None:
            circuit.open(time.monotonic())
        while circuit.is_blocked(time.monotonic()):
            async with self._probing[action]:
                if circuit.state is State.OPEN:
                    await self._probe(action, circuit, error)
                    continue
            await anyio.sleep(POLL)

    async def _probe(self, action: str, circuit: Circuit, error: ZegoError | None) -> None:
        if pause := circuit.pause():
            self._note(f"the service does not answer: {action} waits, and the service is asked again in {pause:.0f} s")
            await anyio.sleep(pause)
        service = ACTIONS[action].service
        try:
            await self._calls.call(_probe_of(service), timeout=PROBE_TIMEOUT)
        except ZegoError as reason:
            if may_pass(reason):
                now = time.monotonic()
                circuit.probe_lost(now)
                if service not in self._answered or now - circuit.since > MAX_OUTAGE:
                    raise ServiceGone(f"the service does not answer: {error or reason}") from reason
                return
        self._answered.add(service)
        self._note(None)
        circuit.probe_answered()

    def _circuit(self, action: str) -> Circuit:
        circuit = self._circuits.get(action)
        if circuit is None:
            circuit = self._circuits[action] = Circuit()
            self._probing[action] = anyio.Lock()
        return circuit


class Retries:
    """Waits between attempts at one thing, after errors that :func:`may_pass`.

    Args:
        outages: of the run.
        action: what is tried; its circuit is waited for.
    """

    def __init__(self, outages: Outages, action: str) -> None:
        self._outages = outages
        self._action = action
        self._began = time.monotonic()
        self._tries = 0

    async def wait(self, error: ZegoError, *, counted: bool = False) -> None:
        """Wait before the next attempt.

        Args:
            error: what the last one ended in.
            counted: whether the circuit knows of it.

        Raises:
            ServiceGone: it has been tried for too long.
        """
        if time.monotonic() - self._began > MAX_OUTAGE:
            raise ServiceGone(f"nothing came of it for {MAX_OUTAGE / 60:.0f} minutes: {error}") from error
        if is_lost(error):
            await self._outages.wait_out(self._action, None if counted else error)
        else:
            await anyio.sleep(PACED_PAUSE if _is_paced(error) else min(MAX_PAUSE, 2.0 ** min(self._tries, 4)))
            self._tries += 1


def _probe_of(service: Service) -> Action[Any]:
    """A request that only reads."""
    listings = [life.listing for life in LIFECYCLES.values() if life.listing is not None]
    listing = next(listing for listing in listings if listing.query.service is service)
    probe: Action[Any] = listing.ask(["probe"] if listing.ids else [])
    return probe


def may_pass(error: ZegoError) -> bool:
    """Whether the same request may succeed later, and does no harm: nothing was done, or doing it again changes nothing."""
    if isinstance(error, ApiError):
        return _outcome(error) in {AttemptOutcome.NOT_PROCESSED, AttemptOutcome.AMBIGUOUS}
    return isinstance(error, TransportError)


def is_lost(error: ZegoError) -> bool:
    """Whether an error that :func:`may_pass` speaks of an outage. Otherwise the limiter or the service has said "later"."""
    if isinstance(error, ApiError):
        return _outcome(error) is AttemptOutcome.AMBIGUOUS
    return not (isinstance(error, TimedOut) and error.waited_for in {"limiter", "before_send", "retry"})


def _is_paced(error: ZegoError) -> bool:
    """Whether the limiter has to do with it: the service found us too fast, or the queue was longer than the deadline."""
    if isinstance(error, RateLimited):
        return error.name != "SystemBusy"
    return isinstance(error, TimedOut) and error.waited_for == "limiter"


def _outcome(error: ApiError) -> AttemptOutcome:
    known = RETURN_CODES.get(error.code)
    return outcome_of_refusal(known.why if known else None, error.status)
