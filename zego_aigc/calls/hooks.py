"""What others see of a call: hooks and log lines. Nothing in here changes what a call ends in."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.errors import ZegoError
from zego_aigc.transport.envelope import Unreadable, read

if TYPE_CHECKING:
    from yarl import URL

    from zego_aigc.transport.http import Answer
    from zego_aigc.transport.pool import SessionPool

__all__ = ["AttemptEvent", "CallEvent", "Hooks", "call_hook", "logger"]

logger: logging.Logger = logging.getLogger("zego_aigc")

MAX_RUNNING = 1_000
"""Calls of a hook that is a coroutine function that may be under way at a time."""

HOOK_TIMEOUT = 60.0
"""Seconds that one of them may take."""


class AttemptEvent(msgspec.Struct, frozen=True):
    """Passed to the ``on_attempt`` hook after each attempt."""

    action: str
    """The vendor's name of the Action."""
    attempt: int
    """From 1."""
    host: str
    """The host that it was sent to."""
    url: str
    """The service's base URL, without the query of the request, which holds the signature."""
    seconds: float
    """From the limiter's grant to the end of the attempt."""
    status: int | None
    """The HTTP status, if there was a response."""
    code: int | None
    """The vendor's code, if there was a readable response."""
    request_id: str | None
    """The vendor's RequestId, if there was a readable response."""
    error: BaseException | None
    """Why there was no response."""


class CallEvent(msgspec.Struct, frozen=True):
    """Passed to the ``on_result`` hook once for each call."""

    action: str
    """The vendor's name of the Action."""
    attempts: int
    """How many times the request was tried."""
    host: str
    """The host that it was sent to."""
    seconds: float
    """From the call to its end, waiting included."""
    error: BaseException | None
    """What the call raised; None if it returned a result."""


class Hooks(msgspec.Struct, frozen=True):
    """The hooks of a client, and the log lines that go with them."""

    pool: SessionPool
    """In whose scope coroutines run."""
    on_attempt: Callable[[AttemptEvent], object] | None
    on_result: Callable[[CallEvent], object] | None

    def emit_attempt(
        self, action: str, attempt: int, url: URL, seconds: float, answer: Answer | None, error: BaseException | None
    ) -> None:
        """Report an attempt: to the hook, and to the log at DEBUG."""
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
        call_hook(
            self.pool, self.on_attempt, AttemptEvent(action, attempt, host, str(url), seconds, status, code, request_id, error)
        )

    def emit_result(self, action: str, attempts: int, host: str, seconds: float, error: BaseException | None) -> None:
        """Report a call: to the hook, and a failure to the log, at INFO since it is also raised."""
        if isinstance(error, ZegoError):
            facts = {
                "action": action,
                "attempt": attempts,
                "host": host,
                "seconds": seconds,
                "code": getattr(error, "code", None),
                "request_id": getattr(error, "request_id", None),
            }
            often = "1 attempt" if attempts == 1 else f"{attempts} attempts"
            logger.info("%s failed after %s in %.3f s: %s", action, often, seconds, error, extra={"zego": facts})
        call_hook(self.pool, self.on_result, CallEvent(action, attempts, host, seconds, error))


def call_hook(pool: SessionPool, hook: Callable[[Any], object] | None, event: object) -> None:
    """Call a user's hook. Its errors are logged and change nothing.

    A coroutine function is run beside the call, in the pool's scope: :meth:`SessionPool.aclose` waits for it, within bounds.
    """
    if hook is None:
        return
    try:
        returned = hook(event)
    except Exception:
        logger.exception("the hook %r failed", hook)
        return
    if inspect.iscoroutine(returned):
        if _running.get(hook, 0) >= MAX_RUNNING:
            returned.close()
            logger.warning("the hook %r was not run: %d of its calls are under way. Let it return sooner", hook, MAX_RUNNING)
        else:
            pool.spawn(_run_hook(hook, returned))


_running: dict[Any, int] = {}
"""How many calls of a hook are under way."""


async def _run_hook(hook: Callable[[Any], object], work: Coroutine[Any, Any, object]) -> None:
    _running[hook] = _running.get(hook, 0) + 1
    try:
        async with asyncio.timeout(HOOK_TIMEOUT):
            await work
    except TimeoutError:
        logger.warning("the hook %r was cancelled after %g s: let it return sooner", hook, HOOK_TIMEOUT)
    except Exception:
        logger.exception("the hook %r failed", hook)
    finally:
        _running[hook] -= 1
        if not _running[hook]:
            del _running[hook]
