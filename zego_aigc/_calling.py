"""One call, from the limiter to the result: wait, sign, send, read, and try again or raise.

The rules are pure and live in :mod:`zego_aigc._retry` and :mod:`zego_aigc._judging`; here they are carried out.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, TypeVar

import msgspec

from zego_aigc._alarm import Alarm
from zego_aigc._judging import Request, Verdict, judge
from zego_aigc._retry import Backoff, Ending, Patience, Step, next_step
from zego_aigc._telling import Hooks, logger
from zego_aigc._transport import Answer, Outgoing
from zego_aigc.actions import Repeat
from zego_aigc.errors import (
    AlreadyExists,
    ApiError,
    ConfigurationError,
    OutcomeUnknown,
    RateLimited,
    TimedOut,
    TransportError,
    ZegoError,
)

if TYPE_CHECKING:
    import yarl

    from zego_aigc._clock import ServerClock
    from zego_aigc.pool import SessionPool
    from zego_aigc.signing import Signer

__all__ = ["Call", "LookUp", "Response", "Route"]

T = TypeVar("T")

_LAST_ATTEMPT = 1.0
"""Seconds that must be left for another attempt, or a quarter of the whole deadline."""

_CLEAR = frozenset({Ending.REFUSED, Ending.GONE})
"""Endings after which another attempt would be answered the same."""


class Response(Generic[T]):
    """A result with what came along."""

    __slots__ = ("_body", "attempts", "elapsed", "headers", "request_id", "result", "status")

    def __init__(self, result: T, request_id: str | None, answer: Answer | None, attempts: int, elapsed: float) -> None:
        self.result: T = result
        """What ``client.call`` returns."""
        self.request_id: str | None = request_id
        """The vendor's ``RequestId``; None when the work was found done by a look-up."""
        self.status: int = answer.status if answer else 200
        """The HTTP status."""
        self.headers: Mapping[str, str] = answer.headers if answer else {}
        """The answer's HTTP headers."""
        self.attempts: int = attempts
        """How many times the request was sent or tried."""
        self.elapsed: float = elapsed
        """Seconds from the call to its result, waiting included."""
        self._body = answer.body if answer else b"{}"

    @property
    def data(self) -> Any:
        """The answer's ``Data`` as it came, with fields that this library does not know. It may hold secrets."""
        return msgspec.json.decode(self._body).get("Data")

    def __repr__(self) -> str:
        return f"Response(request_id={self.request_id!r}, attempts={self.attempts}, elapsed={self.elapsed:.3f})"


class Route(NamedTuple):
    """What does not change from call to call of one client and service."""

    pool: SessionPool
    signer: Signer
    clock: ServerClock
    url: yarl.URL
    host: str
    scrub: Callable[[str, Any], str]
    """Takes the client's secrets and an Action's out of a text."""
    hooks: Hooks
    patience: Patience


class Call:
    """One call, and how far it has come."""

    __slots__ = (
        "attempts",
        "before_send",
        "deadline",
        "first_sent",
        "granted",
        "look_up",
        "may_have_run",
        "outgoing",
        "request",
        "route",
        "started",
        "timeout",
        "tries",
    )  # fmt: skip

    def __init__(
        self,
        route: Route,
        request: Request,
        timeout: float,
        *,
        before_send: Callable[[int], Awaitable[None]] | None = None,
        from_grant: bool = False,
        look_up: LookUp | None = None,
    ) -> None:
        self.route = route
        self.request = request
        self.timeout = timeout
        self.before_send = before_send
        self.look_up = look_up
        self.attempts = 0
        self.tries = 0  # attempts that were lost or found no connection
        self.may_have_run = False  # an earlier attempt may have done the work
        self.outgoing: Outgoing | None = None  # the attempt under way, once it is signed
        self.first_sent: float | None = None
        self.granted: float | None = None  # when the limiter let the attempt under way go
        self.started = time.monotonic()
        self.deadline: float | None = None if from_grant else self.started + timeout

    @property
    def in_flight(self) -> bool:
        """Whether any byte of the attempt under way may have left."""
        return self.outgoing is not None and self.outgoing.begun

    @property
    def may_exist(self) -> bool:
        """Whether the work may have been done, as things stand at this moment."""
        return self.may_have_run or self.in_flight

    def withhold(self) -> None:
        """Let the attempt under way not leave any more, unless it has."""
        if self.outgoing is not None:
            self.outgoing.withheld = True

    def remaining(self) -> float:
        """Seconds until the deadline; infinitely many while it does not run yet."""
        return math.inf if self.deadline is None else self.deadline - time.monotonic()

    def found(self, result: Any) -> Response[Any]:
        """The response for work that turned out to have been done by an attempt without an answer."""
        return Response(result, None, None, self.attempts, time.monotonic() - self.started)

    async def run(self) -> Response[Any]:
        """Carry the call out.

        Raises:
            ZegoError: what the call ended in.
        """
        hooks = self.route.hooks
        try:
            response = await self._run()
        except BaseException as error:
            hooks.call_over(self.request.name, self.attempts, self.route.host, time.monotonic() - self.started, error)
            raise
        if hooks.on_result is not None:
            hooks.call_over(self.request.name, self.attempts, self.route.host, time.monotonic() - self.started, None)
        return response

    async def _run(self) -> Response[Any]:
        try:
            return await self._try_and_try_again()
        except (ApiError, OutcomeUnknown):
            raise
        except Exception as error:
            # Between attempts the client was closed, or before_send or the limiter failed.
            if self.may_exist and self.request.never_blindly:
                self.raise_unknown(error)
            raise

    async def _try_and_try_again(self) -> Response[Any]:
        request, route = self.request, self.route
        corrected = False
        while True:
            self.attempts += 1
            answer = await self._attempt()
            if isinstance(answer, TransportError):
                failure: ZegoError = answer
                ending = Ending.LOST if self.in_flight else Ending.NOTHING_DONE
            else:
                verdict = judge(answer, request, route.host, self.attempts, route.scrub, route.clock)
                if not isinstance(verdict, Verdict):
                    route.pool.budget.earn()
                    result = None if request.result is None else verdict.data
                    return Response(result, verdict.request_id, answer, self.attempts, time.monotonic() - self.started)
                failure, ending = verdict
            self.outgoing = None
            if ending is Ending.EXPIRED:
                # Answered by one corrected attempt: if that is refused as well, the clock is not the reason.
                assert isinstance(answer, Answer)
                if not route.clock.correct(answer.headers.get("Date")) or corrected:
                    self._give_up(failure)
                corrected = True
                continue
            step = next_step(ending, request.repeat, may_have_run=self.may_have_run)
            if ending is Ending.LOST:
                self.may_have_run = True
            if step is Step.DONE:
                return self.found(None)
            if step is Step.UNKNOWN:
                self.raise_unknown(failure)
            if step is Step.LOOK_UP and (found := await self._look_up(failure, ending)) is not None:
                return found
            if step is Step.RAISE or ending in _CLEAR:
                raise failure
            await self._pause(failure, ending)

    # --- one attempt

    async def _attempt(self) -> Answer | TransportError:
        """Wait for the limiter, then sign, send and receive, within the deadline.

        Returns:
            the answer, whatever it says, or why there is none.
        """
        self.granted = None
        answer: Answer | None = None
        failure: BaseException | None = None
        alarm = Alarm(self.route.pool.alarms, None if self.deadline is None else self.remaining())
        try:
            answer = await self._exchange(alarm)
            return answer
        except TransportError as error:
            failure = error
            if isinstance(error, TimedOut):
                self._give_up(error)  # waiting for the limiter alone would take too long
            return error
        except asyncio.CancelledError as error:
            failure = error
            self.withhold()
            if not alarm.stop():
                raise
            failure = late = self._timed_out()
            if not self._is_capped():
                self._give_up(late)
            return late
        except BaseException as error:
            failure = error
            raise
        finally:
            alarm.stop()
            if self.granted is not None and (self.route.hooks.on_attempt is not None or logger.isEnabledFor(logging.DEBUG)):
                seconds = time.monotonic() - self.granted
                self.route.hooks.attempt_over(self.request.name, self.attempts, self.route.url, seconds, answer, failure)

    async def _exchange(self, alarm: Alarm) -> Answer:
        """Wait for the limiter's permit, and use it."""
        route, request, pool = self.route, self.request, self.route.pool
        if pool.closed:
            again = " again" if self.may_have_run else ""
            raise ConfigurationError(f"the client was closed before {request.name} was sent{again}")
        self._refuse_long_queue()
        permit = await pool.limiter.acquire(route.signer.app_id, request.name)
        try:
            self.granted = time.monotonic()
            if self.deadline is None:
                self.deadline = self.granted + self.timeout
                alarm.reset(self.timeout)
            if self._is_capped():
                alarm.reset(route.patience.attempt)
            if self.before_send is not None:
                await self.before_send(self.attempts)
            query = route.signer.query(request.name, timestamp=route.clock.timestamp())
            outgoing = self.outgoing = Outgoing(request.body, permit)
            if self.first_sent is None:
                self.first_sent = time.monotonic()
            return await pool.post(route.url.with_query(query), outgoing, careful=request.never_blindly)
        finally:
            permit.release()  # does nothing for a request that departed

    def _is_capped(self) -> bool:
        """Whether the attempt under way may take less than what is left of the deadline."""
        assert self.deadline is not None
        return (
            self.granted is not None
            and self.deadline - self.granted > self.route.patience.attempt
            and (self.look_up is not None or not self.request.never_blindly)
        )

    def _refuse_long_queue(self) -> None:
        """Fail now rather than at the deadline, when the limiter's queue alone is longer than that.

        Raises:
            TimedOut: it is.
        """
        estimate: Callable[[int, str], float] | None = getattr(self.route.pool.limiter, "estimate", None)
        if self.deadline is None or estimate is None:
            return
        wait = estimate(self.route.signer.app_id, self.request.name)
        if wait and wait > self.remaining():
            raise TimedOut(
                f"{self.request.name} would wait {wait:.1f} s for its turn at the limiter, longer than what is left of the "
                f"{self.timeout:g} s that the call may take: raise the timeout, or ask for less at a time",
                waited_for="limiter",
            )

    def _timed_out(self) -> TimedOut:
        if self.granted is None:
            phase, what = "limiter", "for its turn at the limiter"
        elif self.outgoing is None:
            phase, what = "before_send", "for before_send"
        elif not self.outgoing.begun:
            phase, what = "connect", f"for a connection to {self.route.host}"
        else:
            phase, what = "answer", f"for the answer of {self.route.host}"
        return TimedOut(
            f"{self.request.name} was still waiting {what} when its time was up ({self.timeout:g} s for the whole call)",
            waited_for=phase,
        )

    # --- what follows

    async def _look_up(self, failure: ZegoError, ending: Ending) -> Response[Any] | None:
        if self.look_up is None:
            self.raise_unknown(failure)
        try:
            return await self.look_up(self, failure, ending)
        except (AlreadyExists, OutcomeUnknown):
            raise
        except ZegoError as error:
            error.__cause__ = error.__cause__ or failure
            self.raise_unknown(error)

    async def _pause(self, failure: ZegoError, ending: Ending) -> None:
        """Wait before the next attempt, or raise when there should be none."""
        pool, patience = self.route.pool, self.route.patience
        told_later = ending is Ending.NOTHING_DONE and isinstance(failure, ApiError)
        if told_later:
            self._slow_down(failure)
        else:
            self.tries += 1
        if self.tries >= patience.tries or not (self.request.repeat is Repeat.ENDS or pool.budget.spend(later=told_later)):
            self._give_up(failure)
        backoff = Backoff(patience.first_pause, patience.longest_pause)
        delay = backoff.delay(self.attempts, chance=random.random())  # noqa: S311 - jitter, not a secret
        delay += getattr(failure, "retry_after", None) or 0.0
        # An attempt that nobody has the time to wait for would turn a clear "nothing was done" into a "perhaps".
        reserve = min(_LAST_ATTEMPT, self.timeout / 4) if ending is Ending.NOTHING_DONE else 0.0
        if delay + reserve >= self.remaining():
            self._give_up(failure)
        await asyncio.sleep(delay)

    def _slow_down(self, failure: ZegoError) -> None:
        """Tell the limiter when the service found us too fast."""
        if isinstance(failure, RateLimited) and failure.name != "SystemBusy":
            too_fast: Callable[[int, str], None] | None = getattr(self.route.pool.limiter, "too_fast", None)
            if too_fast is not None:
                too_fast(self.route.signer.app_id, self.request.name)

    def _give_up(self, failure: ZegoError) -> NoReturn:
        """Raise what the call ends in, which is never a plain error where the work may have been done and must not be twice."""
        if self.may_exist and self.request.never_blindly:
            self.raise_unknown(failure)
        if isinstance(failure, TransportError):
            failure.__dict__.update(action=self.request.name, attempts=self.attempts)
        raise failure

    def raise_unknown(self, cause: BaseException) -> NoReturn:
        """End the call without knowing.

        Raises:
            OutcomeUnknown: always.
        """
        raise OutcomeUnknown(
            f"{self.request.name} may or may not have been carried out, and a repeat could do harm: {cause}",
            action=self.request.action,
            attempts=self.attempts,
        ) from cause


LookUp = Callable[[Call, ZegoError, Ending], Awaitable[Response[Any] | None]]
"""Finds out, after an attempt that failed and ended so, whether the work is done: its response, or None if it is not."""
