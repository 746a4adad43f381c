"""One attempt of a call: sign, send, read the response, and say what it means."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from zego_aigc.calls.hooks import logger
from zego_aigc.calls.interpret import Failure, interpret_response
from zego_aigc.calls.retry import AttemptOutcome
from zego_aigc.errors import ConfigurationError, TimedOut, TransportError
from zego_aigc.schema import validation
from zego_aigc.transport.deadlines import Deadline, DrainedDeadline
from zego_aigc.transport.signed_request import SignedRequest

if TYPE_CHECKING:
    from zego_aigc.calls.create_guard import CreateGuard
    from zego_aigc.calls.request import Request
    from zego_aigc.calls.route import Route
    from zego_aigc.limits.limiter import FullPermit
    from zego_aigc.transport.envelope import Envelope
    from zego_aigc.transport.http import Answer

__all__ = ["Attempt", "closed_error"]

U = TypeVar("U")


class Attempt:
    """One attempt, made when the limiter has granted it.

    It is the :class:`~zego_aigc.transport.signed_request.Sender` of its request.

    Args:
        route: how it goes.
        request: what it asks for.
        action: the struct, or the :class:`~zego_aigc.calls.request.RawAction`.
        number: of the attempt within its call, from 1.
        granted: when the limiter granted it, by the monotonic clock.
        seconds: until the call's deadline.
        timeout: the seconds that the whole call may take, for messages.
        may_cut_short: whether the call could go on without its answer, so that ``RetryPolicy.attempt_timeout`` applies.
        guard: the call's, if the attempt is to outlive the cancellation of its caller.
    """

    __slots__ = (
        "_action",
        "_cut_short",
        "_deadline",
        "_granted",
        "_guard",
        "_number",
        "_request",
        "_route",
        "_timeout",
        "answer",
        "sent_at",
        "signed_request",
    )

    def __init__(
        self,
        route: Route,
        request: Request,
        action: Any,
        number: int,
        granted: float,
        seconds: float,
        timeout: float,
        *,
        may_cut_short: bool,
        guard: CreateGuard | None = None,
    ) -> None:
        self.answer: Answer | None = None
        """The response, once it was read."""
        self.signed_request: SignedRequest | None = None
        """What is sent, once it is signed."""
        self.sent_at: float | None = None
        """When it was signed and handed to the connection, by the monotonic clock."""
        self._route = route
        self._request = request
        self._action = action
        self._number = number
        self._guard = guard
        self._granted = granted
        self._cut_short = may_cut_short and seconds > route.policy.attempt_timeout
        self._timeout = route.policy.attempt_timeout if self._cut_short else timeout
        # A guarded attempt is given time to end by itself when the client closes; others are cancelled with their connection.
        limit = self._timeout if self._cut_short else seconds
        deadlines = route.pool.deadlines
        self._deadline = Deadline(deadlines, limit) if guard is None else DrainedDeadline(deadlines, limit)

    async def run(
        self, permit: FullPermit, encoded: bytes | None, before_send: Callable[[int], Awaitable[None]] | None
    ) -> Envelope[Any] | Failure:
        """Make the attempt.

        Args:
            permit: the limiter's. It is released if nothing was sent.
            encoded: the Action; None to encode it now.
            before_send: awaited with the number of the attempt before its first byte leaves.

        Returns:
            the response if it is a result, otherwise why not.

        Raises:
            TimedOut: the call's time is up.
            ConfigurationError: the client was closed.
            CancelledError: the caller was cancelled.
        """
        route, request, pool, deadline = self._route, self._request, self._route.pool, self._deadline
        error: BaseException | None = None
        try:
            self._refuse_if_closed()
            if before_send is not None:
                await self._call_before_send(before_send)
            if encoded is None:
                # Checked again, since the maps inside may have changed meanwhile.
                encoded = validation.encode(self._action, advise=False)
            query = route.signer.query(request.name, timestamp=route.clock.timestamp())
            self.signed_request = SignedRequest(encoded, query, permit, self)
            self.sent_at = time.monotonic()
            self.answer = await pool.post(route.url, self.signed_request, careful=request.never_blindly)
        except TransportError as failure:
            error = failure
            return Failure(failure, self._outcome())
        except asyncio.CancelledError as cancelled:
            error = cancelled
            self._raise_unless_late(cancelled)
            error = late = self._timed_out()
            if not self._cut_short:
                raise late from None
            return Failure(late, self._outcome())
        except BaseException as unexpected:
            error = unexpected
            raise
        else:
            response = interpret_response(
                self.answer, request, self._action, route.host, self._number, route.scrub, route.clock
            )
            if isinstance(response, Failure):
                self.signed_request.answered()
            else:
                self.signed_request.served(route.host)
            return response
        finally:
            deadline.stop()
            if self.signed_request is not None:
                self.signed_request.sender = None  # a reference cycle otherwise
            if self.answer is None:
                permit.release()  # does nothing for a request that departed
            if route.hooks.on_attempt is not None or logger.isEnabledFor(logging.DEBUG):
                seconds = time.monotonic() - self._granted
                route.hooks.emit_attempt(request.name, self._number, route.url, seconds, self.answer, error)
            error = None  # its traceback holds this frame

    async def _call_before_send(self, before_send: Callable[[int], Awaitable[None]]) -> None:
        await before_send(self._number)
        self._refuse_if_closed()
        if self._deadline.expired:
            raise asyncio.CancelledError  # which before_send has swallowed
        # Other cancellations that it has swallowed do not count either.
        self._deadline.cancelling = self._deadline.task.cancelling()

    def _outcome(self) -> AttemptOutcome:
        return AttemptOutcome.AMBIGUOUS if self.in_flight else AttemptOutcome.NOT_PROCESSED

    def _raise_unless_late(self, cancelled: asyncio.CancelledError) -> None:
        """The attempt was cancelled: tell its own deadline from other reasons.

        Raises:
            ConfigurationError: the client was closed.
            CancelledError: the caller was cancelled.
        """
        self.suppress_send()
        only_ours = self._deadline.stop()
        if only_ours or not self.cancelled:
            self._refuse_if_closed()  # aiohttp cancels calls that wait for a connection
        # The attempt's time may have run out while the guard held it: what it made may still be found.
        ran_out_in_guard = self._deadline.expired and self._cut_short and self.cancelled_by is not None
        if not only_ours and not ran_out_in_guard:
            raise cancelled

    def _timed_out(self) -> TimedOut:
        if self.signed_request is None:
            phase, what = "before_send", "for before_send"
        elif not self.signed_request.begun:
            phase, what = "connect", f"for a connection to {self._route.host}"
        else:
            phase, what = "answer", f"for the answer of {self._route.host}"
        of = "one attempt, by RetryPolicy.attempt_timeout" if self._cut_short else "the whole call"
        return TimedOut(
            f"{self._request.name} was still waiting {what} when its time was up ({self._timeout:g} s for {of})",
            waited_for=phase,
        )

    def _refuse_if_closed(self) -> None:
        if self._route.pool.closed:
            raise closed_error(self._request.name, in_flight=self.in_flight)

    @property
    def in_flight(self) -> bool:
        """Whether any byte of the request may have left."""
        return self.signed_request is not None and self.signed_request.begun

    def suppress_send(self) -> None:
        """Let the request not leave any more, unless it has."""
        if self.signed_request is not None:
            self.signed_request.suppressed = True

    # --- as the sender of its request

    @property
    def cancelled(self) -> bool:
        """Whether the caller is being cancelled."""
        return self._deadline.task.cancelling() > self._deadline.cancelling

    @property
    def cancelled_by(self) -> asyncio.CancelledError | None:
        """The cancellation that the guard keeps from the attempt, to raise it in the end."""
        return None if self._guard is None else self._guard.cancelled_by

    async def resume_after_cancel(self, cancelled: asyncio.CancelledError, waiting: Callable[[], Coroutine[Any, Any, U]]) -> U:
        """Go on waiting for the answer although the wait was cancelled, if the attempt has a guard.

        Raises:
            CancelledError: it has none, or nothing has left, or the time is up.
        """
        # A deadline around the call counts as well, such as that of a call whose before_send this is.
        too_late = self._route.pool.deadlines.expired_for_current_task()
        if self._guard is None or not self.in_flight or too_late:
            raise cancelled
        assert isinstance(self._deadline, DrainedDeadline)  # since it has a guard
        return await self._guard.finish_read(cancelled, self._deadline, waiting())


def closed_error(name: str, *, in_flight: bool) -> ConfigurationError:
    """What a call ends in when its client is closed."""
    if in_flight:
        return ConfigurationError(
            f"the client was closed while {name} was under way: close it when its calls are over. "
            "aclose(drain=...) waits for creates, and for nothing else"
        )
    return ConfigurationError(f"the client was closed before {name} was sent: close it when its calls are over")
