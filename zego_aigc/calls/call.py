"""One call, from the limiter to the result: wait, sign, send, read, and try again or raise.

The rules are pure and live in :mod:`zego_aigc.calls.retry` and :mod:`zego_aigc.calls.interpret`; here they are carried out.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from zego_aigc.calls.hooks import logger
from zego_aigc.calls.interpret import RawAction, Request, Verdict, judge
from zego_aigc.calls.response import Response
from zego_aigc.calls.retry import Backoff, Ending, Step, next_step
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
from zego_aigc.schema import validation
from zego_aigc.schema.actions import Repeat
from zego_aigc.transport.body import Outgoing
from zego_aigc.transport.deadlines import Alarm
from zego_aigc.transport.http import Answer

if TYPE_CHECKING:
    from zego_aigc.calls.endpoint import Keeper, Route
    from zego_aigc.limits.limiter import FullPermit

__all__ = ["Call"]

T = TypeVar("T")
U = TypeVar("U")

_LAST_ATTEMPT = 1.0
"""Seconds that must be left for another attempt, or a quarter of the whole deadline."""

_CLEAR = frozenset({Ending.REFUSED, Ending.GONE})
"""Endings after which another attempt would be answered the same."""


class Call(Generic[T]):
    """One call, and how far it has come.

    Args:
        route: where it goes.
        request: what it asks for.
        action: the struct, or the :class:`~zego_aigc.calls.interpret.RawAction`.
        body: the action, encoded.
        timeout: seconds that everything may take.
        before_send: awaited before each attempt, with its number.
        from_grant: whether the time runs from the limiter's first grant on.
        keeper: for a call that is not simply over when its caller is cancelled.
        on_orphan: told what a cancelled call has made, instead of the route's.
    """

    __slots__ = (
        "_answer",
        "_before_send",
        "_body",
        "_corrected",
        "_failed",
        "_granted",
        "_keeper",
        "_outgoing",
        "_request_id",
        "_started",
        "_timeout",
        "_tries",
        "action",
        "alarm",
        "attempts",
        "cancelled_by",
        "deadline",
        "first_sent",
        "held_until",
        "may_have_run",
        "on_orphan",
        "request",
        "result",
        "route",
    )

    def __init__(
        self,
        route: Route,
        request: Request,
        action: Any,
        body: bytes,
        timeout: float,
        *,
        before_send: Callable[[int], Awaitable[None]] | None = None,
        from_grant: bool = False,
        keeper: Keeper | None = None,
        on_orphan: Callable[[Any], object] | None = None,
    ) -> None:
        self.route: Route = route
        self.request: Request = request
        self.action: Any = action
        self.attempts: int = 0
        self.may_have_run: bool = False  # an earlier attempt may have done the work
        self.first_sent: float | None = None
        self.cancelled_by: asyncio.CancelledError | None = None  # what is to be raised once the answer has come
        self.held_until: float  # if so
        self.on_orphan: Callable[[Any], object] | None = on_orphan
        self.result: T = None  # type: ignore[assignment]  # once it is there
        self._body: bytes | None = body  # None while the call stands in line
        self._timeout = timeout
        self._before_send = before_send
        self._keeper = keeper
        self._tries = 0  # attempts that were lost or found no connection
        self._corrected = False  # the clock, by an earlier attempt
        self._failed: Verdict | None = None  # the last attempt
        self._answer: Answer | None = None  # to the last attempt
        self._request_id: str | None = None
        # Of the attempt under way:
        self.alarm: Alarm
        self._granted: float | None = None  # when the limiter let it go
        self._outgoing: Outgoing | None = None  # once it is signed
        self._started = time.monotonic()
        self.deadline: float | None = None if from_grant else self._started + timeout

    @property
    def in_flight(self) -> bool:
        """Whether any byte of the attempt under way may have left."""
        return self._outgoing is not None and self._outgoing.begun

    @property
    def may_exist(self) -> bool:
        """Whether the work may have been done, as things stand at this moment."""
        return self.may_have_run or self.in_flight

    def remaining(self) -> float:
        """Seconds until the deadline; infinitely many while it does not run yet."""
        return math.inf if self.deadline is None else self.deadline - time.monotonic()

    async def run(self) -> T:
        """Carry the call out.

        Returns:
            its result; :meth:`response` has what came along.

        Raises:
            ZegoError: what the call ended in.
        """
        try:
            # Nothing more than this frame waits in line: there may be thousands.
            if (permit := self._begin()) is None:
                try:
                    permit = await self.route.pool.limiter.acquire(self.route.signer.app_id, self.request.name)
                except BaseException as error:
                    self._left_line(error)
                    raise
                self.alarm.stop()
            keeper = self._keeper
            if keeper is None:
                if not await self.attempt(permit):
                    await self.go_on()
            elif not self.route.pool.posting:
                await keeper.whole(self, permit)
            else:
                try:
                    over = await self.attempt(permit, kept=True)
                except BaseException as error:
                    keeper.broken_off(self, error)
                    raise
                if not over or self.cancelled_by is not None:
                    await keeper.rest(self, over=over)
        except BaseException as error:
            final = self.final(error)
            self._over(final)
            if final is error:
                raise
            try:
                raise final from error
            finally:
                del final  # its traceback holds this frame
        if self.route.hooks.on_result is not None:
            self._over(None)
        return self.result

    def response(self) -> Response[T]:
        """The result of :meth:`run`, which is just over, with what came along."""
        return Response(self.result, self._request_id, self._answer, self.attempts, time.monotonic() - self._started)

    def final(self, error: BaseException) -> BaseException:
        """What to end in, where `error` leaves open whether the work was done: the client was closed between attempts, say."""
        unclear = isinstance(error, Exception) and not isinstance(error, ApiError | OutcomeUnknown)
        return self.unknown(error) if unclear and self.may_exist and self.request.never_blindly else error

    def unknown(self, cause: BaseException) -> OutcomeUnknown:
        """What a call ends in that may have been carried out and must not be twice."""
        return OutcomeUnknown(
            f"{self.request.name} may or may not have been carried out, and a repeat could do harm: {cause}",
            action=self.action,
            attempts=self.attempts,
        )

    def _over(self, error: BaseException | None) -> None:
        seconds = time.monotonic() - self._started
        self.route.hooks.call_over(self.request.name, self.attempts, self.route.host, seconds, error)

    # --- one attempt

    def _begin(self) -> FullPermit | None:
        """Begin an attempt.

        Returns:
            a permit if there is one at once; otherwise the caller waits for one and tells :meth:`_left_line` if it fails.
        """
        pool = self.route.pool
        self.attempts += 1
        self._granted = None
        if (permit := pool.limiter.take(self.route.signer.app_id, self.request.name)) is not None:
            return permit
        self._refuse_long_queue()
        if self.attempts == 1 and not isinstance(self.action, RawAction):
            self._body = None  # encoded anew when its turn comes; but what may have been carried out is repeated as it was
        self.alarm = Alarm(pool.alarms, None if self.deadline is None else self.remaining(), "ring")
        return None

    def _refuse_long_queue(self) -> None:
        """Fail now rather than at the deadline, when the limiter's queue alone is longer than that.

        Raises:
            TimedOut: it is.
        """
        if self.deadline is None:
            return
        wait = self.route.pool.limiter.estimate(self.route.signer.app_id, self.request.name)
        if wait and wait > self.remaining():
            self._give_up(
                TimedOut(
                    f"{self.request.name} would wait {wait:.1f} s for its turn at the limiter, longer than what is left of the "
                    f"{self._timeout:g} s that the call may take: raise the timeout, or ask for less at a time",
                    waited_for="limiter",
                )
            )

    def _left_line(self, error: BaseException) -> None:
        """Waiting for a permit ended in an error.

        Raises:
            TimedOut: because the time is up.
            ConfigurationError: because the client was closed.
        """
        if self.alarm.stop() and isinstance(error, asyncio.CancelledError):
            if self.route.pool.closed:
                self.refuse()
            self._give_up(self._timed_out())

    async def attempt(self, permit: FullPermit, *, kept: bool = False) -> bool:
        """Use a permit: sign, send, and see what comes back.

        Args:
            permit: the limiter's.
            kept: whether the keeper goes on with it when its caller is cancelled.

        Returns:
            whether the call is over. Otherwise :meth:`go_on`.

        Raises:
            TimedOut: the call's time is up, and nothing is lost.
            OutcomeUnknown: the call's time is up, or the client was closed.
            ConfigurationError: the client was closed.
        """
        route, request, pool = self.route, self.request, self.route.pool
        self._granted = granted = time.monotonic()
        if self.deadline is None:
            self.deadline = granted + self._timeout
        seconds, most = self.deadline - granted, route.policy.attempt_timeout
        # Whether it may take less time than the call:
        cut_short = seconds > most and (not request.never_blindly or request.recovery in route.look_ups)
        self.alarm = alarm = Alarm(pool.alarms, most if cut_short else seconds, "drain" if kept else None)
        answer: Answer | None = None
        failure: BaseException | None = None
        try:
            if pool.closed:
                self.refuse()
            if self._before_send is not None:
                await self._before_send(self.attempts)
                if pool.closed:
                    self.refuse()
                if alarm.rang:
                    raise asyncio.CancelledError  # noqa: TRY301 - which before_send has kept to itself
                alarm.cancelling = alarm.task.cancelling()  # what else it has kept to itself does not count either
            if self._body is None:
                # Checked again, since the maps inside may have changed meanwhile.
                self._body = validation.encode(self.action, advise=False)
            query = route.signer.query(request.name, timestamp=route.clock.timestamp())
            outgoing = self._outgoing = Outgoing(self._body, query, permit, self)
            if self.first_sent is None:
                self.first_sent = time.monotonic()
            answer = await pool.post(route.url, outgoing, careful=request.never_blindly)
        except TransportError as error:
            failure = error
            self._failed = Verdict(error, Ending.LOST if self.in_flight else Ending.NOTHING_DONE)
            return False
        except asyncio.CancelledError as error:
            failure = error
            self.withhold()
            only_ours = alarm.stop()
            if pool.closed and (only_ours or not self.cancelled):
                self.refuse()  # aiohttp cancels who waits for a connection
            # If the time for the attempt was up while it was held, what it made may still be found.
            if not only_ours and not (alarm.rang and cut_short and self.cancelled_by is not None):
                raise
            failure = late = self._timed_out()
            if not cut_short:
                self._give_up(late)
            self._failed = Verdict(late, Ending.LOST if self.in_flight else Ending.NOTHING_DONE)
            return False
        except BaseException as error:
            failure = error
            raise
        else:
            self._answer = answer
            verdict = judge(answer, request, self.action, route.host, self.attempts, route.scrub, route.clock)
            if isinstance(verdict, Verdict):
                self._failed = verdict
                return False
            pool.budget.earn()
            self._request_id = verdict.request_id
            if request.result is not None:
                self.result = verdict.data  # type: ignore[assignment]  # judged to be of the request's type
            return True
        finally:
            alarm.stop()
            if self._outgoing is not None:
                self._outgoing.sender = None  # which holds it
            if answer is None:
                permit.release()  # does nothing for a request that departed
            if route.hooks.on_attempt is not None or logger.isEnabledFor(logging.DEBUG):
                assert self._granted is not None
                seconds = time.monotonic() - self._granted
                route.hooks.attempt_over(request.name, self.attempts, route.url, seconds, answer, failure)
            failure = None  # its traceback holds this frame

    def refuse(self) -> NoReturn:
        """The client is closed.

        Raises:
            OutcomeUnknown: the work may have been done, and must not be twice.
            ConfigurationError: otherwise.
        """
        name = self.request.name
        if self.in_flight:
            self._give_up(ConfigurationError(f"the client was closed while {name} was under way"))
        again = " again" if self.may_have_run else ""
        raise ConfigurationError(f"the client was closed before {name} was sent{again}")

    @property
    def alone(self) -> bool:
        """Whether nothing else is under way, and the caller has not been cancelled, not even before."""
        return len(self.route.pool.alarms) == 1 and not self.alarm.task.cancelling()

    @property
    def cancelled(self) -> bool:
        """Whether the caller is being cancelled."""
        return self.alarm.task.cancelling() > self.alarm.cancelling

    async def outlast(self, cancelled: asyncio.CancelledError, waiting: Callable[[], Coroutine[Any, Any, U]]) -> U:
        """Go on waiting for the answer although the wait was cancelled, if the call has a keeper.

        Raises:
            CancelledError: it has none, or nothing has left, or the time is up.
        """
        # An alarm around the call counts as well, such as that of a call whose before_send this is.
        too_late = any(alarm.task is asyncio.current_task() for alarm in self.route.pool.alarms.rung)
        # Only the first attempt is kept, which is why it may drain.
        if self._keeper is None or self.alarm.at_close != "drain" or not self.in_flight or too_late:
            raise cancelled
        if self.cancelled_by is None:
            self.cancelled_by = cancelled
            self.held_until = time.monotonic() + self.route.policy.cancel_grace
        return await self._keeper.hold(self, waiting())

    def withhold(self) -> None:
        """Let the attempt under way not leave any more, unless it has."""
        if self._outgoing is not None:
            self._outgoing.withheld = True

    def _timed_out(self) -> TimedOut:
        if self._granted is None:
            phase, what = "limiter", "for its turn at the limiter"
        elif self._outgoing is None:
            phase, what = "before_send", "for before_send"
        elif not self._outgoing.begun:
            phase, what = "connect", f"for a connection to {self.route.host}"
        else:
            phase, what = "answer", f"for the answer of {self.route.host}"
        return TimedOut(
            f"{self.request.name} was still waiting {what} when its time was up ({self._timeout:g} s for the whole call)",
            waited_for=phase,
        )

    # --- what follows

    async def go_on(self) -> None:
        """After an attempt that was not the end: find out, wait and try again, until the call is over.

        Raises:
            ZegoError: what it ended in.
        """
        while not await self._is_done():
            if self.route.pool.closed:
                self.refuse()
            if (permit := self._begin()) is None:
                try:
                    permit = await self.route.pool.limiter.acquire(self.route.signer.app_id, self.request.name)
                except BaseException as error:
                    self._left_line(error)
                    raise
                self.alarm.stop()
            if await self.attempt(permit):
                return

    async def _is_done(self) -> bool:
        """After an attempt that failed: whether the work turns out to be done. Otherwise it is time for the next one."""
        assert self._failed is not None
        failure, ending = self._failed.error, self._failed.ending
        self._outgoing = None
        if ending is Ending.EXPIRED:
            # Answered by one corrected attempt: if that is refused as well, the clock is not the reason.
            assert self._answer is not None
            if not self.route.clock.correct(self._answer.headers.get("Date")) or self._corrected:
                self._give_up(failure)
            self._corrected = True
            return False
        step = next_step(ending, self.request.repeat, may_have_run=self.may_have_run)
        if ending is Ending.LOST:
            self.may_have_run = True
        if step is Step.DONE:
            self.found(None)  # type: ignore[arg-type]  # what ends something has no result
            return True
        if step is Step.UNKNOWN:
            raise self.unknown(failure) from failure
        if step is Step.LOOK_UP and await self._look_up(failure, ending):
            return True
        if step is Step.RAISE or ending in _CLEAR:
            raise failure
        await self._pause(failure, ending)
        return False

    def found(self, result: T) -> None:
        """The work turned out to have been done, by an attempt without an answer."""
        self.result = result
        self._answer = self._request_id = None

    async def _look_up(self, failure: ZegoError, ending: Ending) -> bool:
        recovery = self.request.recovery
        look_up = None if recovery is None else self.route.look_ups.get(recovery)
        if look_up is None:
            raise self.unknown(failure) from failure
        try:
            return await look_up(self, failure, ending)
        except (AlreadyExists, OutcomeUnknown):
            raise
        except ZegoError as error:
            error.__cause__ = error.__cause__ or failure
            raise self.unknown(error) from error

    async def _pause(self, failure: ZegoError, ending: Ending) -> None:
        """Wait before the next attempt, or raise when there should be none."""
        pool, policy = self.route.pool, self.route.policy
        told_later = ending is Ending.NOTHING_DONE and isinstance(failure, ApiError)
        if told_later:
            self._slow_down(failure)
        else:
            self._tries += 1
        if self._tries >= policy.max_attempts or not (
            self.request.repeat is Repeat.ENDS or pool.budget.spend(later=told_later)
        ):
            self._give_up(failure)
        backoff = Backoff(policy.initial_backoff, policy.max_backoff)
        delay = backoff.delay(self.attempts, chance=random.random())  # noqa: S311 - jitter, not a secret
        delay += getattr(failure, "retry_after", None) or 0.0
        # An attempt that nobody has the time to wait for would turn a clear "nothing was done" into a "perhaps".
        reserve = min(_LAST_ATTEMPT, self._timeout / 4) if ending is Ending.NOTHING_DONE else 0.0
        if delay + reserve >= self.remaining():
            self._give_up(failure)
        await asyncio.sleep(delay)

    def _slow_down(self, failure: ZegoError) -> None:
        """Tell the limiter when the service found us too fast."""
        if isinstance(failure, RateLimited) and failure.name != "SystemBusy":
            self.route.pool.limiter.too_fast(self.route.signer.app_id, self.request.name)

    def _give_up(self, failure: ZegoError) -> NoReturn:
        """Raise what the call ends in, which is never a plain error where the work may have been done and must not be twice."""
        if self.may_exist and self.request.never_blindly:
            raise self.unknown(failure) from failure
        if isinstance(failure, TransportError):
            failure.__dict__.update(action=self.request.name, attempts=self.attempts)
        raise failure
