"""Receiving callbacks: verify, answer fast, and hand events to your coroutines in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from zego_aigc.callbacks._answer import COME_AGAIN, FORBIDDEN, MALFORMED, TAKEN, TOO_LARGE, Answer
from zego_aigc.callbacks._asgi import CallbackApp
from zego_aigc.callbacks._counters import Counters, RouterStats
from zego_aigc.callbacks._dispatch import Bounds, Dispatcher
from zego_aigc.callbacks._handlers import EventT, Handler, Handlers
from zego_aigc.callbacks._replays import Claim, LocalSeen, Replays, Seen, Standing
from zego_aigc.callbacks.errors import BadSignature, CallbackError, MalformedCallback, ReplayedCallback, StaleCallback
from zego_aigc.callbacks.events import Event
from zego_aigc.callbacks.parsing import read
from zego_aigc.callbacks.signature import MAX_AGE, Verified, checked_secrets, verify
from zego_aigc.callbacks.subscriptions import MAX_WAITING, Subscription, Subscriptions
from zego_aigc.errors import ConfigurationError
from zego_aigc.transport.refusal_log import RefusalLog

if TYPE_CHECKING:
    from typing import Self

    from aiohttp import web

__all__ = ["CallbackRouter"]

logger: logging.Logger = logging.getLogger("zego_aigc")

T = TypeVar("T")

MAX_BODY = 128 * 1024
"""Bytes. The largest documented callback is a UserAudioData: 1.5 s of 16-bit speech at 16 kHz are 48,000 bytes, 64,000 in
base64 and 66,000 once URL-encoded; this is twice as much."""

_REASONS: dict[type[CallbackError], str] = {
    MalformedCallback: "malformed",
    BadSignature: "bad_signature",
    StaleCallback: "stale",
    ReplayedCallback: "replayed",
}


class CallbackRouter:
    """Takes callbacks over HTTP and hands their events to registered coroutines.

    ::

        router = CallbackRouter(secret=callback_secret)

        @router.on(ASRResult)
        async def heard(event: ASRResult) -> None: ...

        app = FastAPI(lifespan=router.lifespan)
        app.mount("/callbacks", router.asgi)

    The vendor is answered as soon as an event is verified and in hand, before any handler runs. Events of one agent
    instance (or stream task) are handled one after another, in the order of their Sequence; those of different instances
    at the same time. Since gaps between Sequences are normal, an event waits `reorder_wait` for earlier ones, and one that
    comes later than that is handled on arrival. The order is that of one process.

    Whatever a handler raises is logged and ends nothing, and one that takes longer than `handler_timeout` is cancelled. What is
    in hand when the process dies is lost: the vendor, who promises no delivery either, has been answered that it arrived. A
    handler that is registered with ``before_answer=True`` runs before that answer, and where it fails the vendor sends the
    callback again: the place to put an event into a queue of your own.

    Handlers run in tasks that the router owns. Enter it (``async with router:``), or give the app one of :meth:`lifespan`
    (Starlette, FastAPI, Litestar) and :meth:`aiohttp_context`; served by itself, ``router.asgi`` follows the server's lifespan.
    On exit it takes nothing more, gives the handlers `close_timeout` to finish what is in hand, then cancels them.

    Args:
        secret: the project's CallbackSecret, which is not its ServerSecret; or several, while one is rotated.
        max_age: seconds for which a signature is taken.
        reorder_wait: seconds that an event waits for earlier ones; 0 hands events out as they come.
        replay_memory: how many callbacks are remembered to recognise a signature's second use; 0 turns that off.
        seen: a memory that several processes share, instead of this process's own: :class:`zego_aigc.redis.RedisSeen`.
        capacity: events in hand at most, all together. Beyond it the vendor is asked to come again. A tenth of it, and of
            `capacity_bytes`, is kept for instances and tasks that have nothing in hand.
        capacity_bytes: the sum of their bodies' sizes at most.
        per_subject: events in hand at most for one instance or task.
        max_body: bytes that a callback may have.
        handler_timeout: seconds that a handler may take for one event; then it is cancelled.
        answer_timeout: seconds that the handlers that run before the answer, and the shared memory, may take.
        close_timeout: seconds that handlers get to finish on exit.
        clock: Unix time in seconds.

    Raises:
        ConfigurationError: the secret is empty, or two arguments contradict each other.
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        *,
        secret: str | Sequence[str],
        max_age: float = MAX_AGE,
        reorder_wait: float = 0.1,
        replay_memory: int = 50_000,
        seen: Seen | None = None,
        capacity: int = 10_000,
        capacity_bytes: int = 64 << 20,
        per_subject: int = 1_000,
        max_body: int = MAX_BODY,
        handler_timeout: float = 60.0,
        answer_timeout: float = 4.0,
        close_timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secrets = checked_secrets(secret)
        for name, value, least in (
            ("max_age", max_age, 1),
            ("reorder_wait", reorder_wait, 0),
            ("replay_memory", replay_memory, 0),
            ("capacity", capacity, 1),
            ("capacity_bytes", capacity_bytes, 1),
            ("per_subject", per_subject, 1),
            ("max_body", max_body, 1),
            ("handler_timeout", handler_timeout, 0.001),
            ("answer_timeout", answer_timeout, 0.001),
            ("close_timeout", close_timeout, 0),
        ):
            if not least <= value < math.inf:
                raise ValueError(f"{name} must be a finite number from {least} up, not {value}")
        self._max_age = max_age
        self._replays: Replays | None = None
        self._shared = seen is not None
        if seen is not None or replay_memory:
            self._replays = Replays(
                seen if seen is not None else LocalSeen(replay_memory, clock=clock),
                # A callback from `max_age` in the future stays fresh for twice as long.
                keep=2 * max_age,
                # Longer than a claim can be needed, and short enough for the vendor's last attempts after a kill.
                lease=2 * answer_timeout + 5,
            )
        self._bounds = Bounds(events=capacity, size=capacity_bytes, per_subject=per_subject)
        self.max_body: int = max_body
        """Bytes that a callback may have."""
        self._handler_timeout = handler_timeout
        self._answer_timeout = answer_timeout
        self._close_timeout = close_timeout
        self._clock = clock
        self._counters = Counters()
        self._refusals = RefusalLog("callback")
        self._handlers = Handlers(self._counters)
        self._before = Handlers(self._counters)
        self._subscriptions = Subscriptions()
        self._dispatcher = Dispatcher(self._hand_out, self._bounds, reorder_wait)
        self._running = False
        self._closed = False
        self.asgi: CallbackApp = CallbackApp(self)
        """The router as an ASGI application: mount it in FastAPI, Starlette or Litestar, or serve it by itself."""

    def __repr__(self) -> str:
        return f"CallbackRouter(handlers={len(self._handlers) + len(self._before)}, in_hand={len(self._dispatcher)})"

    if not TYPE_CHECKING:  # to a type checker, taking the router for an application stays the mistake that it is

        def __call__(self, *_):  # noqa: ANN002, ANN204, D102 - it only says what to write
            raise TypeError("the router itself is no application: mount router.asgi, or add a route to router.aiohttp_handler")

    # --- handlers ------------------------------------------------------------------------------------------------

    def on(self, *kinds: type[EventT], before_answer: bool = False) -> Callable[[Handler[EventT]], Handler[EventT]]:
        """Register a coroutine function for some kinds of events: ``@router.on(AgentInstanceCreated, AgentInstanceDeleted)``.

        A base class stands for all its events: ``AgentEvent``, ``DigitalHumanEvent``, or ``Event`` for everything,
        ``UnknownEvent`` included. Several handlers of one event run one after another, in the order of registration.

        Args:
            kinds: classes of events.
            before_answer: run it before the vendor is answered, as the callback comes, within the router's `answer_timeout`.
                If it raises or takes longer, the answer is 503, and the vendor sends the callback again, five times within a
                minute. It may therefore see an event more than once, and it sees events in the order of their coming.

        Raises:
            TypeError: no kind is given, or what is registered is not a coroutine function.
        """
        for kind in kinds or (None,):
            if not (isinstance(kind, type) and issubclass(kind, Event)):  # pyright: ignore[reportUnnecessaryIsInstance] - "@router.on" without brackets
                raise TypeError("name the events: @router.on(ASRResult), or @router.on(Event) for all")

        def register(handler: Handler[EventT]) -> Handler[EventT]:
            (self._before if before_answer else self._handlers).add(kinds, handler)
            return handler

        return register

    def subscribe(self, subject: str, *, max_waiting: int = MAX_WAITING) -> Subscription:
        """Follow one instance or task: ``async for event in router.subscribe(instance_id)``.

        Every event from now on, in order, as it is handed to the handlers; the iteration ends when the instance or task has
        ended, and when the router closes. Only this process's callbacks are seen.

        Args:
            subject: an AgentInstanceId or TaskId.
            max_waiting: events that are kept for a reader that is slower than they come; then the oldest are dropped, and
                counted in ``missed``.

        Raises:
            ValueError: an argument is out of range.
        """
        return self._subscriptions.open(subject, max_waiting)

    # --- state ---------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether callbacks are taken now: the router runs, and there is room."""
        return self._running and not self._closed and self._dispatcher.has_room

    def stats(self) -> RouterStats:
        """What is in hand, and what was done so far. It may be called from any thread."""
        counters = self._counters
        return RouterStats(
            in_hand=len(self._dispatcher),
            in_hand_bytes=self._dispatcher.size,
            oldest=self._dispatcher.oldest(),
            subjects=self._dispatcher.busy_subjects,
            subscribers=len(self._subscriptions),
            taken=counters.taken,
            copies=counters.copies,
            refused=dict(counters.refused),
            handled=counters.handled,
            failed=counters.failed,
            timed_out=counters.timed_out,
            handler_seconds=counters.handler_seconds,
        )

    async def settled(self) -> None:
        """Wait until nothing is in hand: what came before has been handled. For tests; in production events go on coming."""
        await self._dispatcher.settled()

    # --- receiving -----------------------------------------------------------------------------------------------

    def receive(self, body: bytes, *, sender: str = "") -> Answer:
        """Take one callback's body and say what to answer, at once: for code that cannot ``await``.

        Args:
            body: the request's body, not compressed.
            sender: the address that it came from, for the log.

        Raises:
            ConfigurationError: the router has not been entered, or waits before it answers: for a handler with
                ``before_answer=True``, or for a shared memory.
        """
        if self._shared or len(self._before):
            raise ConfigurationError(
                "this router waits before it answers (for handlers with before_answer=True, or for seen=...): use "
                "'await router.areceive(body)'"
            )
        return _at_once(self.areceive(body, sender=sender))

    async def areceive(self, body: bytes, *, sender: str = "") -> Answer:
        """Take one callback's body and say what to answer: for frameworks that have no adapter here.

        Args:
            body: the request's body, not compressed.
            sender: the address that it came from, for the log.

        Raises:
            ConfigurationError: the router has not been entered.
        """
        if self._closed:
            return self._put_off("closed")
        if not self._running:
            raise ConfigurationError(
                "the callback router is not running: use 'async with router:', FastAPI(lifespan=router.lifespan) or "
                "app.cleanup_ctx.append(router.aiohttp_context)"
            )
        try:
            callback = verify(body, secrets=self._secrets, now=self._clock(), max_age=self._max_age)
            claimed = await self._claim(callback)
            if isinstance(claimed, Answer):
                return claimed
            try:
                answer = await self._take(read(callback), len(body))
            except BaseException:
                await self._settle(claimed, taken=False)
                raise
        except CallbackError as error:
            return self._refuse(_REASONS[type(error)], str(error), sender)
        await self._settle(claimed, taken=answer is TAKEN)
        return answer

    def refuse_unread(self, reason: str, sender: str) -> Answer:
        """Refuse a body that was not read to its end: for adapters.

        Args:
            reason: ``too_large`` or ``malformed``.
            sender: the address that it came from.
        """
        if reason == "too_large":
            return self._refuse(reason, f"the body has more than max_body={self.max_body} bytes", sender)
        return self._refuse(reason, "the body is not encoded as its Content-Encoding says", sender)

    async def _claim(self, callback: Verified) -> Answer | Claim | None:
        """The right to handle a callback, or what to answer without that."""
        if self._replays is None:
            return None
        claiming = self._replays.claim(callback.signature, callback.body)
        try:
            standing, claim = await (self._bounded(claiming) if self._shared else claiming)
        except Exception as error:  # noqa: BLE001 - a memory of the user's own may raise anything
            return self._put_off("memory", f"the memory of seen callbacks failed ({type(error).__name__}: {error})")
        match standing:
            case Standing.REPLAY:
                raise ReplayedCallback(
                    "its signature came before with another body: the sender saw one of your callbacks and forges others "
                    "with its signature. Register an https address with the vendor if it is not one, and rotate the "
                    "CallbackSecret in the console"
                )
            case Standing.COPY:
                self._counters.copies += 1
                return TAKEN
            case Standing.UNDER_WAY:
                return self._put_off("under_way")
            case Standing.NEW:
                return claim

    async def _settle(self, claim: Claim | None, *, taken: bool) -> None:
        """Make a claim good, or give it up."""
        if claim is None or self._replays is None:
            return
        settling = self._replays.take(claim) if taken else self._replays.release(claim)
        # Shielded: a server may cancel a request whose sender has hung up.
        await (asyncio.shield(asyncio.ensure_future(self._settle_shared(settling))) if self._shared else settling)

    async def _settle_shared(self, settling: Coroutine[Any, Any, None]) -> None:
        try:
            await self._bounded(settling)
        except Exception as error:  # noqa: BLE001 - see above; the claim expires by itself
            logger.warning(
                "the memory of seen callbacks failed (%s: %s): a copy may be handled twice", type(error).__name__, error
            )

    async def _bounded(self, work: Coroutine[Any, Any, T]) -> T:
        async with asyncio.timeout(self._answer_timeout):
            return await work

    async def _take(self, event: Event, size: int) -> Answer:
        """Get an event into hand."""
        before = self._before.of(type(event))
        wanted = bool(self._handlers.of(type(event))) or self._subscriptions.wants(event.subject)
        if not (before or wanted):
            self._counters.taken += 1
            return TAKEN
        place = self._dispatcher.reserve(event, size)
        if place is None:
            return self._put_off(
                "full",
                f"{len(self._dispatcher)} events are in hand ({self._bounds}). Handlers are slower than events come: let them "
                "hand work to a queue, or raise the bound",
            )
        try:
            if before and not await self._handled_before(before, event):
                return self._put_off("not_handled")
            if wanted and not self._dispatcher.put(place):
                return self._put_off("closed")
        except BaseException:
            self._dispatcher.release(place)
            raise
        if not wanted:
            self._dispatcher.release(place)
        self._counters.taken += 1
        return TAKEN

    async def _handled_before(self, handlers: Sequence[Handler[Any]], event: Event) -> bool:
        now = asyncio.get_running_loop().time
        deadline = now() + self._answer_timeout
        for handler in handlers:
            left = max(0.0, deadline - now())
            if not await self._before.run(handler, event, left, "answer_timeout"):
                return False
        return True

    def _refuse(self, reason: str, text: str, sender: str) -> Answer:
        """Refuse a callback for good."""
        self._counters.refused[reason] += 1
        self._refusals.add(reason, text, sender)
        return {"malformed": MALFORMED, "too_large": TOO_LARGE}.get(reason, FORBIDDEN)

    def _put_off(self, reason: str, text: str = "") -> Answer:
        """Ask the vendor to come again."""
        self._counters.refused[reason] += 1
        if text:
            self._refusals.add(reason, f"{text}. It was answered with 503, to come again", "")
        return COME_AGAIN

    # --- handing out ---------------------------------------------------------------------------------------------

    async def _hand_out(self, event: Event) -> None:
        self._subscriptions.publish(event)
        for handler in self._handlers.of(type(event)):
            await self._handlers.run(handler, event, self._handler_timeout, "handler_timeout")

    # --- life ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start taking callbacks.

        Raises:
            ConfigurationError: the router runs already, or not on asyncio.
        """
        if self._running:
            raise ConfigurationError(
                "the callback router is running already: enter it once, in the app's lifespan, or build a second router"
            )
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError("the callback router runs on asyncio only: start the app with asyncio.run()") from None
        await self._dispatcher.open()
        self._running, self._closed = True, False
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Take nothing more and let the handlers finish what is in hand; after `close_timeout` cancel them."""
        if not self._running:
            return
        self._closed = True
        left = len(self._dispatcher)
        try:
            left = await self._dispatcher.close(self._close_timeout)
        finally:
            self._running = False
            self._subscriptions.close()
            self._refusals.close()
            if left:
                logger.error(
                    "the callback router closed with %d events not handled: handlers did not finish within close_timeout=%g s",
                    left,
                    self._close_timeout,
                )

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncGenerator[None, None]:
        """The router's life as an app's lifespan: ``FastAPI(lifespan=router.lifespan)``."""
        async with self:
            yield

    async def aiohttp_context(self, _app: web.Application) -> AsyncGenerator[None, None]:
        """The router's life as an aiohttp app's: ``app.cleanup_ctx.append(router.aiohttp_context)``."""
        async with self:
            yield

    # --- adapters ------------------------------------------------------------------------------------------------

    async def aiohttp_handler(self, request: web.Request) -> web.Response:
        """The router as an aiohttp handler: ``app.router.add_route("*", "/callbacks", router.aiohttp_handler)``."""
        from zego_aigc.callbacks import _aiohttp

        return await _aiohttp.handle(self, request)


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that does not wait."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise AssertionError("a router without a shared memory and without handlers before the answer does not wait")
