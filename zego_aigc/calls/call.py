"""One call, from the limiter to the result: attempt after attempt, until it is over.

Read :meth:`Call.run` first: each step stands below it, in the order in which it is taken. The rules are pure and live in
:mod:`zego_aigc.calls.retry` and :mod:`zego_aigc.calls.interpret`; here they are carried out.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar

from zego_aigc.calls.attempt import Attempt, closed_error
from zego_aigc.calls.create_guard import CreateGuard
from zego_aigc.calls.interpret import Failure
from zego_aigc.calls.request import RawAction
from zego_aigc.calls.response import Response
from zego_aigc.calls.retry import AttemptOutcome, Backoff, RetryDecision, retry_decision
from zego_aigc.calls.unknown import outcome_unknown
from zego_aigc.errors import AlreadyExists, ApiError, OutcomeUnknown, RateLimited, TimedOut, TransportError, ZegoError
from zego_aigc.schema.actions import Repeat
from zego_aigc.transport.deadlines import QueueDeadline
from zego_aigc.transport.envelope import Envelope

if TYPE_CHECKING:
    from zego_aigc.calls.create_guard import Creates
    from zego_aigc.calls.request import Request
    from zego_aigc.calls.route import Route
    from zego_aigc.errors import ConfigurationError
    from zego_aigc.limits.limiter import FullPermit
    from zego_aigc.transport.deadlines import Deadline
    from zego_aigc.transport.http import Answer

__all__ = ["Call", "LookUp", "LostCreate"]

T = TypeVar("T")

MIN_LAST_ATTEMPT = 1.0
"""Seconds that must be left for another attempt, or a quarter of the whole deadline."""

_FINAL = frozenset({AttemptOutcome.REJECTED, AttemptOutcome.NOT_FOUND})
"""Outcomes after which another attempt would be answered the same."""


class LostCreate(Protocol):
    """What a look-up needs of a :class:`Call` whose create may have been carried out."""

    @property
    def action(self) -> Any:
        """The struct."""
        ...

    @property
    def attempts(self) -> int:
        """How many there were."""
        ...

    @property
    def background(self) -> bool:
        """Whether others may go first at the limiter: then so they may before its look-ups."""
        ...

    @property
    def first_sent(self) -> float | None:
        """When its first attempt was sent, by the monotonic clock."""
        ...

    @property
    def lookup_delay(self) -> float:
        """``RetryPolicy.lookup_delay``, seconds."""
        ...

    def remaining(self) -> float:
        """Seconds until its deadline."""
        ...

    def resolve(self, result: Any) -> None:
        """The work turned out to have been done."""
        ...

    def as_unknown(self, cause: BaseException) -> OutcomeUnknown:
        """What to raise where that stays open."""
        ...


LookUp = Callable[[LostCreate, ZegoError, AttemptOutcome], Awaitable[bool]]
"""Finds out, after an attempt that ended so, whether the work of a create was done, and has it :meth:`LostCreate.resolve`."""


class Call(Generic[T]):
    """One call, and how far it has come.

    ::

        result = await Call(route, request, action, body, timeout).run()

    Args:
        route: how it goes.
        request: what it asks for.
        action: the struct, or the :class:`~zego_aigc.calls.request.RawAction`.
        body: the action, encoded.
        timeout: seconds that everything may take.
        before_send: awaited before each attempt, with its number.
        from_grant: whether the time runs from the limiter's first grant on.
        background: whether others may go first at the limiter.
        may_have_run: whether an earlier call may have done the work.
        look_up: for a create, if it can be looked up.
        creates: for a create: what takes care of it.
    """

    __slots__ = (
        "_attempt",
        "_before_send",
        "_body",
        "_clock_corrected",
        "_creates",
        "_look_up",
        "_may_have_run",
        "_request",
        "_response",
        "_route",
        "_runs_from",
        "_started",
        "_timeout",
        "_tries",
        "action",
        "attempts",
        "background",
        "first_sent",
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
        background: bool = False,
        may_have_run: bool = False,
        look_up: LookUp | None = None,
        creates: Creates | None = None,
    ) -> None:
        self.action: Any = action
        self.attempts: int = 0
        self.first_sent: float | None = None
        self._route = route
        self._request = request
        self._body: bytes | None = body
        self._timeout = timeout
        self._before_send = before_send
        self.background: bool = background
        self._look_up = look_up
        self._creates = creates
        self._attempt: Attempt | None = None  # the one under way, or the last one until it is judged
        self._response: Envelope[Any] | Failure | None = None  # to the last attempt; an Envelope ends the call
        self._may_have_run = may_have_run  # an attempt before may have done the work
        self._clock_corrected = False
        self._tries = 0  # attempts that were lost or found no connection
        self._started = time.monotonic()
        self._runs_from: float | None = None if from_grant else self._started

    async def run(self, *, detached: bool = False) -> T:
        """Carry the call on from where it stands, until it is over. Then hooks are called and failures are logged.

        Args:
            detached: whether a :class:`CreateGuard` runs this in a task of its own, for what follows the first attempt. The
                caller's task waits for it, and reports how the call ended.

        Raises:
            ZegoError: what the call ended in.
        """
        try:
            while not isinstance(self._response, Envelope):
                if self._response is not None:
                    await self._recover(self._response)
                    continue  # it may turn out to be over
                self.attempts += 1
                permit = self._route.pool.limiter.take(
                    self._route.signer.app_id, self._request.name, background=self.background
                )
                if permit is None:
                    # Inlined: one coroutine frame less for each of the thousands that may be queued.
                    deadline = self._join_queue()
                    try:
                        permit = await self._route.pool.limiter.acquire(
                            self._route.signer.app_id, self._request.name, background=self.background
                        )
                    except BaseException as error:
                        self._left_queue(deadline, error)
                        raise
                    deadline.stop()
                if self._creates is None or self.attempts > 1:
                    await self.attempt(permit)
                else:
                    await CreateGuard(self._route, self._creates.begin(self.action)).run(self, permit)
        except BaseException as error:
            if not detached:
                self._report_failure(error)
            raise
        if not detached:
            self._emit_result(None)
        return self.result

    # --- the limiter's queue

    def _join_queue(self) -> Deadline:
        """Get ready to wait for a permit.

        Raises:
            TimedOut: the queue alone is longer than the call's deadline.
        """
        if self._runs_from is None:
            remaining = None
        else:
            remaining = self.remaining()
            self._refuse_long_queue(remaining)
        if self.attempts == 1 and not isinstance(self.action, RawAction):
            # Encoded again when its turn comes, to hold less. What may have been carried out is repeated as it was, though.
            self._body = None
        return QueueDeadline(self._route.pool.deadlines, remaining)

    def _refuse_long_queue(self, remaining: float) -> None:
        wait = self._route.pool.limiter.estimate(self._route.signer.app_id, self._request.name, background=self.background)
        if wait and wait > remaining:
            self._give_up(
                TimedOut(
                    f"{self._request.name} would wait {wait:.1f} s for its turn at the limiter, longer than what is left of "
                    f"the {self._timeout:g} s that the call may take: raise the timeout, or ask for less at a time",
                    waited_for="limiter",
                )
            )

    def _left_queue(self, deadline: Deadline, error: BaseException) -> None:
        """Waiting for a permit ended in an error.

        Raises:
            TimedOut: because the time is up.
            ConfigurationError: because the client was closed.
        """
        if deadline.stop() and isinstance(error, asyncio.CancelledError):
            if self._route.pool.closed:
                raise self.closed_error()
            self._give_up(
                TimedOut(
                    f"{self._request.name} was still waiting for its turn at the limiter when its time was up "
                    f"({self._timeout:g} s for the whole call): raise the timeout, or ask for less at a time",
                    waited_for="limiter",
                )
            )

    # --- an attempt

    async def attempt(self, permit: FullPermit, guard: CreateGuard | None = None) -> bool:
        """Make an attempt.

        Args:
            permit: the limiter's.
            guard: see :class:`~zego_aigc.calls.attempt.Attempt`.

        Returns:
            whether the call is over.

        Raises:
            TimedOut: the call's time is up.
            ConfigurationError: the client was closed.
        """
        granted = time.monotonic()
        if self._runs_from is None:
            self._runs_from = granted
        attempt = self._attempt = Attempt(
            self._route,
            self._request,
            self.action,
            self.attempts,
            granted,
            self._runs_from + self._timeout - granted,
            self._timeout,
            may_cut_short=not self._request.never_blindly or self._look_up is not None,
            guard=guard,
        )
        response = self._response = await attempt.run(permit, self._body, self._before_send)
        if isinstance(response, Envelope):
            if self._request.result is None:
                response.data = None  # whatever came
            self._route.pool.budget.earn()
            return True
        if attempt.signed_request is not None:
            self._body = attempt.signed_request.body
            self.first_sent = self.first_sent or attempt.sent_at
        return False

    def remaining(self) -> float:
        """Seconds until the deadline; infinitely many while it does not run yet."""
        return math.inf if self._runs_from is None else self._runs_from + self._timeout - time.monotonic()

    # --- what follows an attempt that failed

    async def _recover(self, failure: Failure) -> None:
        """Find out whether the work was done all the same, or wait until it is time for another attempt.

        Raises:
            ZegoError: there is nothing more to be done.
        """
        error, outcome, answer = failure.error, failure.outcome, self._answer
        self._response = self._attempt = None
        if outcome is AttemptOutcome.CLOCK_SKEW:
            # Answered by one corrected attempt: if that is refused as well, the clock is not the reason.
            assert answer is not None
            if not self._route.clock.correct(answer.headers.get("Date")) or self._clock_corrected:
                self._give_up(error)
            self._clock_corrected = True
            return
        decision = retry_decision(outcome, self._request.repeat, may_have_run=self._may_have_run)
        if outcome is AttemptOutcome.AMBIGUOUS:
            self._may_have_run = True
        if decision is RetryDecision.DONE:
            self.resolve(None)  # type: ignore[arg-type]  # what ends something has no result
            return
        if decision is RetryDecision.UNKNOWN:
            raise self.as_unknown(error) from error
        if decision is RetryDecision.LOOK_UP and await self._find_out(error, outcome):
            return
        if decision is RetryDecision.RAISE or outcome in _FINAL:
            raise error
        await self._pause(error, outcome)

    async def _find_out(self, error: ZegoError, outcome: AttemptOutcome) -> bool:
        """Look a create up; whether its work was done."""
        if self._look_up is None:
            raise self.as_unknown(error) from error
        try:
            return await self._look_up(self, error, outcome)
        except (AlreadyExists, OutcomeUnknown):
            raise
        except ZegoError as trouble:
            trouble.__cause__ = trouble.__cause__ or error
            raise self.as_unknown(trouble) from trouble

    async def _pause(self, error: ZegoError, outcome: AttemptOutcome) -> None:
        """Wait before the next attempt, or raise if there should be none."""
        pool, policy = self._route.pool, self._route.policy
        asked_to_wait = outcome is AttemptOutcome.NOT_PROCESSED and isinstance(error, ApiError)
        if asked_to_wait:
            self._slow_down(error)
        else:
            self._tries += 1
        # What ends something is tried until the deadline: what it does not end goes on billing.
        if self._request.repeat is not Repeat.ENDS and (
            self._tries >= policy.max_attempts or not pool.budget.spend(later=asked_to_wait)
        ):
            self._give_up(error)
        backoff = Backoff(policy.initial_backoff, policy.max_backoff)
        delay = backoff.delay(self.attempts, chance=random.random())  # noqa: S311 - jitter, not a secret
        delay += getattr(error, "retry_after", None) or 0.0
        # An attempt for which there is no time would turn a clear "nothing was done" into a "perhaps", and whatever the reason
        # is into a "timed out".
        ends = self._request.repeat is Repeat.ENDS
        reserve = min(MIN_LAST_ATTEMPT, self._timeout / 4) if ends or outcome is AttemptOutcome.NOT_PROCESSED else 0.0
        if delay + reserve >= self.remaining():
            self._give_up(error)
        await asyncio.sleep(delay)
        if pool.closed:
            raise self.closed_error()

    def _slow_down(self, error: ZegoError) -> None:
        """Let the limiter know when the service found us too fast."""
        if isinstance(error, RateLimited) and error.name != "SystemBusy":
            self._route.pool.limiter.too_fast(self._route.signer.app_id, self._request.name)

    def _give_up(self, error: ZegoError) -> NoReturn:
        """Raise `error`, unless the work may have been done and must not be done twice: then that is what to say."""
        if self.may_have_been_processed and self._request.never_blindly:
            raise self.as_unknown(error) from error
        raise error

    # --- what is known of it

    @property
    def result(self) -> T:
        """What the call returns, once it is over."""
        response = self._response
        return response.data if isinstance(response, Envelope) else None  # type: ignore[return-value]  # of the request's type

    @property
    def may_have_been_processed(self) -> bool:
        """Whether the work may have been done, as things stand at this moment."""
        return self._may_have_run or (self._attempt is not None and self._attempt.in_flight)

    @property
    def lookup_delay(self) -> float:
        """See :class:`LostCreate`."""
        return self._route.policy.lookup_delay

    def suppress_send(self) -> None:
        """Let the attempt under way not leave any more, unless it has."""
        if self._attempt is not None:
            self._attempt.suppress_send()

    def resolve(self, result: T) -> None:
        """The work turned out to have been done, by an attempt without an answer."""
        self._response = Envelope(0, data=result)

    def closed_error(self) -> ConfigurationError:
        """What the call ends in when the client is closed."""
        return closed_error(self._request.name, in_flight=self.may_have_been_processed)

    def as_unknown(self, cause: BaseException) -> OutcomeUnknown:
        """What a call ends in that may have been carried out and must not be twice."""
        return outcome_unknown(self.action, self._request.name, cause, attempts=self.attempts)

    def final(self, error: BaseException) -> BaseException:
        """What the call ends in if `error` ends it: that may leave open whether the work was done."""
        unclear = isinstance(error, Exception) and not isinstance(error, ApiError | OutcomeUnknown)
        if unclear and self.may_have_been_processed and self._request.never_blindly:
            return self.as_unknown(error)
        return error

    # --- its end

    def _report_failure(self, error: BaseException) -> None:
        """Something has ended the call.

        Raises:
            OutcomeUnknown: that leaves open whether the work was done.
        """
        final = self.final(error)
        if isinstance(final, TransportError):
            final.__dict__.update(action=self._request.name, attempts=self.attempts)
        self._emit_result(final)
        if final is not error:
            try:
                raise final from error
            finally:
                del final, error  # whose tracebacks hold this frame

    def _emit_result(self, error: BaseException | None) -> None:
        seconds = time.monotonic() - self._started
        self._route.hooks.emit_result(self._request.name, self.attempts, self._route.host, seconds, error)

    @property
    def _answer(self) -> Answer | None:
        """The response to the last attempt; None when the work was found done by a look-up."""
        return None if self._attempt is None else self._attempt.answer

    def response(self) -> Response[T]:
        """The result of :meth:`run`, which is just over, with what came along."""
        request_id = self._response.request_id if isinstance(self._response, Envelope) else None
        return Response(self.result, request_id, self._answer, self.attempts, time.monotonic() - self._started)
