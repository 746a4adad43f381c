"""What others see of a call: hooks and log lines. Nothing in here changes what a call ends in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.errors import ZegoError
from zego_aigc.transport.envelope import Unreadable, read

if TYPE_CHECKING:
    from yarl import URL

    from zego_aigc.transport.http import Answer

__all__ = ["Attempt", "Hooks", "Outcome", "logger", "notify"]

logger: logging.Logger = logging.getLogger("zego_aigc")


class Attempt(msgspec.Struct, frozen=True):
    """What the hook ``on_attempt`` is told, after each attempt."""

    action: str
    """The vendor's name of the Action."""
    attempt: int
    """From 1."""
    host: str
    """The host that it was sent to."""
    url: str
    """The service's base URL: what it was sent to, without the query, which holds the signature."""
    seconds: float
    """From the limiter's grant to the end of the attempt."""
    status: int | None
    """The HTTP status, where there was an answer."""
    code: int | None
    """The vendor's code, where there was a readable answer."""
    request_id: str | None
    """The vendor's RequestId, where there was a readable answer."""
    error: BaseException | None
    """Why there was no answer."""


class Outcome(msgspec.Struct, frozen=True):
    """What the hook ``on_result`` is told, once for each call."""

    action: str
    """The vendor's name of the Action."""
    attempts: int
    """How many times the request was tried."""
    host: str
    """The host that it was sent to."""
    seconds: float
    """From the call to its end, waiting included."""
    error: BaseException | None
    """What the call ended in, if not in a result."""


class Hooks(msgspec.Struct, frozen=True):
    """Who wants to know."""

    on_attempt: Callable[[Attempt], object] | None
    on_result: Callable[[Outcome], object] | None

    def attempt_over(
        self, action: str, attempt: int, url: URL, seconds: float, answer: Answer | None, error: BaseException | None
    ) -> None:
        """Tell of an attempt: to the hook, and to the log at DEBUG."""
        status = code = request_id = None
        if answer is not None:
            status = answer.status
            try:
                envelope = read(answer.body, Any)
            except Unreadable:
                pass
            else:
                code, request_id = envelope.code, envelope.request_id
        what = type(error).__name__ if error is not None else f"HTTP {status}, code {code}"
        host = url.host or ""
        facts = {"action": action, "attempt": attempt, "host": host, "seconds": seconds, "code": code, "request_id": request_id}
        logger.debug(
            "%s attempt %d: %s in %.3f s [RequestId %s]", action, attempt, what, seconds, request_id, extra={"zego": facts}
        )
        notify(self.on_attempt, Attempt(action, attempt, host, str(url), seconds, status, code, request_id, error))

    def call_over(self, action: str, attempts: int, host: str, seconds: float, error: BaseException | None) -> None:
        """Tell of a call: to the hook, and of a failure to the log at WARNING."""
        if isinstance(error, ZegoError):
            code, request_id = getattr(error, "code", None), getattr(error, "request_id", None)
            facts = {
                "action": action,
                "attempt": attempts,
                "host": host,
                "seconds": seconds,
                "code": code,
                "request_id": request_id,
            }
            often = "1 attempt" if attempts == 1 else f"{attempts} attempts"
            logger.warning("%s failed after %s in %.3f s: %s", action, often, seconds, error, extra={"zego": facts})
        notify(self.on_result, Outcome(action, attempts, host, seconds, error))


def notify(hook: Callable[[Any], object] | None, event: object) -> None:
    """Call a user's hook; its errors are logged and change nothing."""
    if hook is not None:
        try:
            hook(event)
        except Exception:
            logger.exception("the hook %r failed", hook)
