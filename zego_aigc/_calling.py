"""One call, from the limiter to the result: wait, sign, send, read, and try again or raise.

The rules are pure and live in :mod:`zego_aigc._retry`; here they are carried out.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, TypeVar

import msgspec

from zego_aigc._codes import RETURN_CODES, api_error
from zego_aigc._envelope import Envelope, Unreadable, excerpt, read
from zego_aigc._retry import Backoff, Ending, Step, ending_of_refusal, next_step, retry_after
from zego_aigc._transport import Answer, Outgoing
from zego_aigc.actions import Repeat
from zego_aigc.errors import AlreadyExists, ApiError, BadResponse, OutcomeUnknown, TimedOut, TransportError, ZegoError

if TYPE_CHECKING:
    import yarl

    from zego_aigc._clock import ServerClock
    from zego_aigc.limiter import Permit
    from zego_aigc.pool import SessionPool
    from zego_aigc.signing import Signer

__all__ = ["Attempt", "Call", "Outcome", "Response", "Route"]

logger = logging.getLogger("zego_aigc")

T = TypeVar("T")

MOST_TRIES = 5
"""Attempts that may be lost or find no connection before the call gives up; being told "later" is not counted."""

ATTEMPT = 10.0
"""Seconds that an attempt may take where the Action may be sent again: a connection that died silently costs no more."""


class Response(Generic[T]):
    """A result with what came along."""

    __slots__ = ("_body", "attempts", "elapsed", "headers", "request_id", "result", "status")

    def __init__(self, result: T, request_id: str | None, answer: Answer | None, attempts: int, elapsed: float) -> None:
        self.result = result
        """What ``client.call`` returns."""
        self.request_id = request_id
        """The vendor's ``RequestId``; None when the work was found done by a look-up."""
        self.status = answer.status if answer else 200
        """The HTTP status."""
        self.headers: Mapping[str, str] = answer.headers if answer else {}
        """The answer's HTTP headers."""
        self.attempts = attempts
        """How many times the request was sent or tried."""
        self.elapsed = elapsed
        """Seconds from the call to its result, waiting included."""
        self._body = answer.body if answer else b"{}"

    @property
    def data(self) -> Any:
        """The answer's ``Data`` as it came, with fields that this library does not know. It may hold secrets."""
        return msgspec.json.decode(self._body).get("Data")

    def __repr__(self) -> str:
        return (
            f"Response(result={self.result!r}, request_id={self.request_id!r}, attempts={self.attempts}, "
            f"elapsed={self.elapsed:.3f})"
        )


class Attempt(NamedTuple):
    """What the hook ``on_attempt`` is told, after each attempt."""

    action: str
    attempt: int
    """From 1."""
    host: str
    seconds: float
    """From the limiter's grant to the end of the attempt."""
    status: int | None
    """The HTTP status, where there was an answer."""
    code: int | None
    """The vendor's code, where there was a readable answer."""
    request_id: str | None
    error: BaseException | None


class Outcome(NamedTuple):
    """What the hook ``on_result`` is told, once for each call."""

    action: str
    attempts: int
    host: str
    seconds: float
    """From the call to its end, waiting included."""
    error: BaseException | None


class Route(NamedTuple):
    """What does not change from call to call of one client and service."""

    pool: SessionPool
    signer: Signer
    clock: ServerClock
    url: yarl.URL
    scrub: Callable[[str, Any], str]
    on_attempt: Callable[[Attempt], object] | None
    on_result: Callable[[Outcome], object] | None


class Request(NamedTuple):
    """What is asked for."""

    name: str
    repeat: Repeat
    body: bytes
    result: Any
    """The type of Data."""
    action: Any
    """The struct, or the wire body of a raw call."""
    look_up: Callable[[Call, ZegoError], Awaitable[Response[Any] | None]] | None
    """Finds out, after the failure given, whether an earlier attempt did the work: its result, or None for "not done"."""


class Call:
    """The state of one call."""

    __slots__ = (
        "attempts",
        "before_send",
        "deadline",
        "first_sent",
        "from_grant",
        "granted",
        "may_have_run",
        "outgoing",
        "request",
        "retries",
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
        before_send: Callable[[int], Awaitable[None]] | None,
        *,
        from_grant: bool,
    ) -> None:
        self.route = route
        self.request = request
        self.timeout = timeout
        self.before_send = before_send
        self.from_grant = from_grant
        self.attempts = 0
        self.tries = 0
        self.retries = 0
        self.may_have_run = False  # an earlier attempt may have done the work
        self.outgoing: Outgoing | None = None  # the attempt under way
        self.first_sent: float | None = None
        self.granted = 0.0  # when the limiter let the attempt go
        self.started = time.monotonic()
        self.deadline: float | None = None if from_grant else self.started + timeout

    @property
    def in_flight(self) -> bool:
        """Whether the attempt under way may have left."""
        return self.outgoing is not None and self.outgoing.begun

    async def run(self) -> Response[Any]:
        """Carry the call out.

        Raises:
            ZegoError: whatever the call ended in.
        """
        try:
            response = await self._run()
        except BaseException as error:
            self._report(error)
            raise
        if self.route.on_result is not None:
            self._report(None)
        return response

    async def _run(self) -> Response[Any]:
        corrected = False
        while True:
            self.attempts += 1
            try:
                answer = await self._attempt()
            except TransportError as error:
                self._tell(None, error)
                failure: ZegoError = error
                ending = Ending.LOST if self.in_flight else Ending.NOTHING_DONE
                if isinstance(error, TimedOut) and (error.waited_for == "limiter" or self._out_of_time()):
                    self._give_up(error, lost=ending is Ending.LOST)
            else:
                self._tell(answer, None)
                verdict = self._judge(answer)
                if isinstance(verdict, Response):
                    self.route.pool.budget.earn()
                    return verdict
                failure, ending = verdict
                if ending is Ending.EXPIRED:
                    # Answered by one corrected attempt: if that is refused as well, the clock is not the reason.
                    if corrected or not self.route.clock.correct(answer.headers.get("Date")):
                        self._give_up(failure, lost=False)
                    corrected = True
                    self.outgoing = None
                    continue
            step = next_step(ending, self.request.repeat, may_have_run=self.may_have_run)
            if ending is Ending.LOST:
                self.may_have_run = True
            self.outgoing = None
            if step is Step.RAISE:
                raise failure
            if step is Step.DONE:
                return Response(None, None, None, self.attempts, time.monotonic() - self.started)
            if step is Step.UNKNOWN:
                self._raise_unknown(failure)
            if step is Step.LOOK_UP and (found := await self._look_up(failure)) is not None:
                return found
            await self._pause(failure, ending)

    # --- one attempt

    async def _attempt(self) -> Answer:
        """Wait for the limiter, then sign, send and receive, within the deadline.

        Raises:
            TransportError: no answer was received.
        """
        self.outgoing = None
        self.granted = time.monotonic()
        timer = asyncio.timeout(self._remaining())
        try:
            async with timer:
                self._refuse_long_queue()
                permit = await self.route.pool.limiter.acquire(self.route.signer.app_id, self.request.name)
                try:
                    return await self._exchange(permit, timer)
                finally:
                    permit.release()  # does nothing for a request that departed
        except TimeoutError as error:
            if isinstance(error, ZegoError) or not timer.expired():
                raise
            raise self._timed_out() from None

    async def _exchange(self, permit: Permit, timer: asyncio.Timeout) -> Answer:
        """Sign, send and receive, with the limiter's permit."""
        route, request = self.route, self.request
        careful = request.repeat in _NEVER_BLINDLY
        self.granted = time.monotonic()
        if self.deadline is None:
            self.deadline = self.granted + self.timeout
            timer.reschedule(asyncio.get_running_loop().time() + self.timeout)
        if not careful and self.deadline - self.granted > ATTEMPT:
            timer.reschedule(asyncio.get_running_loop().time() + ATTEMPT)
        if self.before_send is not None:
            await self.before_send(self.attempts)
        query = route.signer.query(request.name, timestamp=route.clock.timestamp())
        self.outgoing = Outgoing(request.body, permit)
        if self.first_sent is None:
            self.first_sent = time.monotonic()
        return await route.pool.post(route.url.with_query(query), self.outgoing, careful=careful)

    def _remaining(self) -> float | None:
        return None if self.deadline is None else self.deadline - time.monotonic()

    def _out_of_time(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline - 0.001

    def _refuse_long_queue(self) -> None:
        """Fail now rather than at the deadline, when the limiter's queue alone is longer than it."""
        if self.deadline is None or (estimate := getattr(self.route.pool.limiter, "estimate", None)) is None:
            return
        wait = estimate(self.route.signer.app_id, self.request.name)
        if wait and time.monotonic() + wait > self.deadline:
            error = TimedOut(
                f"{self.request.name} would wait {wait:.1f} s for its turn at 10 calls a second, longer than the "
                f"{self.timeout:g} s that the call may take: raise the timeout or ask for less at a time",
                action=self.request.name, attempts=self.attempts - 1, waited_for="limiter",
            )  # fmt: skip
            if self.may_have_run and self.request.repeat in _NEVER_BLINDLY:
                self._raise_unknown(error)
            raise error

    def _timed_out(self) -> TimedOut:
        phase = "limiter" if self.outgoing is None else "answer" if self.outgoing.begun else "connect"
        return TimedOut(
            f"{self.request.name} got no answer from {self.route.url.host} in time (waiting for {_PHASES[phase]} when its "
            f"time was up): raise the timeout if that is usual",
            action=self.request.name, attempts=self.attempts, waited_for=phase,
        )  # fmt: skip

    # --- judging

    def _judge(self, answer: Answer) -> Response[Any] | tuple[ZegoError, Ending]:
        """What an answer means."""
        request = self.request
        try:
            envelope = read(answer.body, request.result)
        except Unreadable as reason:
            return self._judge_unreadable(answer, reason)
        if envelope.code == 0 and answer.status < 300:
            return Response(
                envelope.data if request.result is not None else None,
                envelope.request_id,
                answer,
                self.attempts,
                time.monotonic() - self.started,
            )
        if envelope.code == 0:
            return self._judge_unreadable(answer, Unreadable(f"it says success with HTTP status {answer.status}"))
        return self._judge_refusal(answer, envelope)

    def _judge_refusal(self, answer: Answer, envelope: Envelope[Any]) -> tuple[ApiError, Ending]:
        known = RETURN_CODES.get(envelope.code)
        error = api_error(
            envelope.code,
            message=self.route.scrub(envelope.message or "", self.request.action),
            request_id=envelope.request_id,
            action=self.request.name,
            attempts=self.attempts,
            status=answer.status,
            data=envelope.data if isinstance(envelope.data, dict) else None,  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
            retry_after=self._retry_after(answer),
        )
        return error, ending_of_refusal(known.why if known else None, answer.status)

    def _judge_unreadable(self, answer: Answer, reason: Unreadable) -> tuple[ZegoError, Ending]:
        shown = self.route.scrub(excerpt(answer.body), self.request.action)
        if answer.status == 429:
            error = api_error(
                429, message=shown, request_id=None, action=self.request.name, attempts=self.attempts,
                status=429, data=None, retry_after=self._retry_after(answer),
            )  # fmt: skip
            return error, Ending.NOTHING_DONE
        what = f"a redirect to {answer.headers.get('Location', '?').partition('?')[0]}, which is not followed" \
            if 300 <= answer.status < 400 else f"HTTP status {answer.status}, and {reason}"  # fmt: skip
        return (
            BadResponse(
                f"{request_line(self.request.name, self.route.url.host)} was answered with {what}: {shown!r}",
                action=self.request.name, attempts=self.attempts, status=answer.status, excerpt=shown,
            ),
            Ending.LOST,
        )  # fmt: skip

    def _retry_after(self, answer: Answer) -> float | None:
        return retry_after(answer.headers.get("Retry-After"), now=self.route.clock.timestamp())

    # --- what follows

    async def _look_up(self, failure: ZegoError) -> Response[Any] | None:
        if self.request.look_up is None:
            self._raise_unknown(failure)
        try:
            return await self.request.look_up(self, failure)
        except AlreadyExists:
            raise
        except (TransportError, ApiError) as error:
            error.__cause__ = error.__cause__ or failure
            self._raise_unknown(error)

    async def _pause(self, failure: ZegoError, ending: Ending) -> None:
        """Wait before the next attempt, or raise when there should be none."""
        route, request = self.route, self.request
        later = isinstance(failure, ApiError) and ending is Ending.NOTHING_DONE
        if not later:
            self.tries += 1
        if self.tries >= MOST_TRIES or (request.repeat is not Repeat.ENDS and not route.pool.budget.spend(later=later)):
            self._give_up(failure, lost=False)
        if later and isinstance(failure, ApiError) and failure.name in _TOO_FAST:
            too_fast = getattr(route.pool.limiter, "too_fast", None)
            if too_fast is not None:
                too_fast(route.signer.app_id, request.name)
        self.retries += 1
        delay = BACKOFF.delay(self.retries, chance=random.random())  # noqa: S311 - jitter, not a secret
        asked = failure.retry_after if isinstance(failure, ApiError) else None
        delay = max(delay, asked or 0.0)
        if self.deadline is not None and time.monotonic() + delay >= self.deadline:
            self._give_up(failure, lost=False)
        await asyncio.sleep(delay)

    def _give_up(self, failure: ZegoError, *, lost: bool) -> NoReturn:
        """Raise what the call ends in, which is never a plain error where the work may have been done and must not be."""
        if (lost or self.may_have_run) and self.request.repeat in _NEVER_BLINDLY:
            self._raise_unknown(failure)
        if isinstance(failure, TransportError):
            failure.__dict__.update(action=self.request.name, attempts=self.attempts)
        raise failure

    def _raise_unknown(self, cause: BaseException) -> NoReturn:
        raise OutcomeUnknown(
            f"{self.request.name} may or may not have been carried out, and a repeat could do it twice: {cause}",
            action=self.request.action,
            attempts=self.attempts,
        ) from cause

    # --- telling

    def _tell(self, answer: Answer | None, failure: ZegoError | None) -> None:
        if self.route.on_attempt is None and not logger.isEnabledFor(logging.DEBUG):
            return
        seconds = time.monotonic() - self.granted
        code: int | None = None
        request_id: str | None = None
        if answer is not None:
            try:
                envelope = read(answer.body, Any)
            except Unreadable:
                pass
            else:
                code, request_id = envelope.code, envelope.request_id
        attempt = Attempt(
            self.request.name, self.attempts, self.route.url.host or "", seconds, answer.status if answer else None, code,
            request_id, failure,
        )  # fmt: skip
        logger.debug(
            "%s attempt %d: code %s in %.3f s [RequestId %s]", attempt.action, attempt.attempt,
            code if failure is None else type(failure).__name__, seconds, request_id,
            extra={"zego": attempt._asdict()},
        )  # fmt: skip
        notify(self.route.on_attempt, attempt)

    def _report(self, error: BaseException | None) -> None:
        outcome = Outcome(self.request.name, self.attempts, self.route.url.host or "", time.monotonic() - self.started, error)
        if isinstance(error, ZegoError):
            logger.warning(
                "%s failed after %d attempts in %.3f s: %s", outcome.action, outcome.attempts, outcome.seconds, error,
                extra={
                    "zego": {
                        "action": outcome.action, "attempt": outcome.attempts, "seconds": outcome.seconds,
                        "code": getattr(error, "code", None), "request_id": getattr(error, "request_id", None),
                    }
                },
            )  # fmt: skip
        notify(self.route.on_result, outcome)


BACKOFF = Backoff()

_NEVER_BLINDLY = frozenset({Repeat.CREATES, Repeat.ONCE})
_TOO_FAST = frozenset({"RateLimited", "DigitalHumanRateLimited"})
_PHASES = {"limiter": "its turn at the limiter", "connect": "a connection", "answer": "the answer"}


def request_line(name: str, host: str | None) -> str:
    """How a message names a request: without its query, which holds the signature."""
    return f"{name} at {host}"


def notify(hook: Callable[[Any], object] | None, event: object) -> None:
    """Call a user's hook; its errors are logged and change nothing."""
    if hook is not None:
        try:
            hook(event)
        except Exception:
            logger.exception("the hook %r failed", hook)
