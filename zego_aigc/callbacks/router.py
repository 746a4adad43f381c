"""Receiving callbacks: verify, answer fast, and hand events to your coroutines in order."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import math
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from zego_aigc.callbacks._answer import COME_AGAIN, FORBIDDEN, MALFORMED, TAKEN, Answer
from zego_aigc.callbacks._order import Reorder
from zego_aigc.callbacks._replay import ReplayMemory, Seen
from zego_aigc.callbacks.errors import CallbackError, MalformedCallback, ReplayedCallback
from zego_aigc.callbacks.events import Event
from zego_aigc.callbacks.parsing import MAX_AGE, parse_callback
from zego_aigc.errors import ConfigurationError
from zego_aigc.transport.task_scope import TaskScope

if TYPE_CHECKING:
    from typing import Self

    from aiohttp import web

    from zego_aigc.callbacks._asgi import Receive, Scope, Send

__all__ = ["CallbackRouter"]

logger: logging.Logger = logging.getLogger("zego_aigc")

EventT = TypeVar("EventT", bound=Event)
Handler = Callable[[EventT], Awaitable[None]]

MAX_IDLE_SUBJECTS = 10_000
"""Of how many instances and tasks the last Sequence is remembered while nothing is in hand for them."""


class CallbackRouter:
    """Takes callbacks over HTTP and hands their events to registered coroutines.

    ::

        router = CallbackRouter(secret=callback_secret)

        @router.on(ASRResult)
        async def heard(event: ASRResult) -> None: ...

        app = FastAPI(lifespan=router.lifespan)
        app.mount("/callbacks", router.asgi)

    The vendor is answered as soon as an event is verified and in the queue, before any handler runs. Events of one agent
    instance (or stream task) are handled one after another, in the order of their Sequence; those of different instances
    at the same time. Since gaps between Sequences are normal, an event waits `reorder_wait` for earlier ones, and one that
    comes later than that is handled on arrival. All of this, the replay protection too, is per process.

    A handler's exception is logged and ends nothing. What is in the queue when the process dies is lost: the vendor, who
    promises no delivery either, has been told that it arrived.

    Handlers run in tasks that the router owns. Enter it (``async with router:``), or give the app one of :meth:`lifespan`
    (Starlette, FastAPI, Litestar) and :meth:`aiohttp_context`; served by itself, ``router.asgi`` follows the server's lifespan.
    On exit it takes nothing more, gives the handlers `close_timeout` to finish what is in hand, then cancels them.

    Args:
        secret: the project's CallbackSecret, which is not its ServerSecret.
        max_age: seconds for which a signature is taken.
        reorder_wait: seconds that an event waits for earlier ones; 0 hands events out as they come.
        replay_memory: how many callbacks are remembered to recognise a signature's second use; 0 turns that off.
        capacity: events in hand at most, all together. Beyond it the vendor is told to come again.
        per_subject: events in hand at most for one instance or task.
        max_body: bytes that a callback may have.
        close_timeout: seconds that handlers get to finish on exit.
        clock: Unix time in seconds.

    Raises:
        ConfigurationError: the secret is empty.
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        *,
        secret: str,
        max_age: float = MAX_AGE,
        reorder_wait: float = 0.1,
        replay_memory: int = 50_000,
        capacity: int = 10_000,
        per_subject: int = 1_000,
        max_body: int = 1 << 20,
        close_timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not secret:
            raise ConfigurationError("secret must be the CallbackSecret from the ZEGOCLOUD console; it is empty")
        for name, value, least in (
            ("max_age", max_age, 1),
            ("reorder_wait", reorder_wait, 0),
            ("replay_memory", replay_memory, 0),
            ("capacity", capacity, 1),
            ("per_subject", per_subject, 1),
            ("max_body", max_body, 1),
            ("close_timeout", close_timeout, 0),
        ):
            if not least <= value < math.inf:
                raise ValueError(f"{name} must be a finite number from {least} up, not {value}")
        self._secret = secret
        self._max_age = max_age
        self._reorder_wait = reorder_wait
        # A callback from `max_age` in the future stays fresh for twice as long.
        self._replays = ReplayMemory(replay_memory, keep=2 * max_age) if replay_memory else None
        self._capacity = capacity
        self._per_subject = per_subject
        self.max_body = max_body
        self._close_timeout = close_timeout
        self._clock = clock
        self._handlers: list[tuple[type[Event], Handler[Any]]] = []
        self._subjects: OrderedDict[str, _Subject] = OrderedDict()
        self._in_hand = 0
        self._tasks: TaskScope | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"CallbackRouter(handlers={len(self._handlers)}, in_hand={self._in_hand})"

    # --- handlers ------------------------------------------------------------------------------------------------

    def on(self, *kinds: type[EventT]) -> Callable[[Handler[EventT]], Handler[EventT]]:
        """Register a coroutine function for some kinds of events: ``@router.on(AgentInstanceCreated, AgentInstanceDeleted)``.

        A base class stands for all its events: ``AgentEvent``, ``DigitalHumanEvent``, or ``Event`` for everything,
        ``UnknownEvent`` included. Several handlers of one event run one after another, in the order of registration.

        Raises:
            TypeError: no kind is given, or what is registered is not a coroutine function.
        """
        for kind in kinds or (None,):
            if not (isinstance(kind, type) and issubclass(kind, Event)):  # pyright: ignore[reportUnnecessaryIsInstance] - "@router.on" without brackets
                raise TypeError("name the events: @router.on(ASRResult), or @router.on(Event) for all")

        def register(handler: Handler[EventT]) -> Handler[EventT]:
            if not (inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)):
                raise TypeError(f"a handler must be a coroutine function (async def), not {handler!r}")
            self._handlers.extend((kind, handler) for kind in kinds)
            return handler

        return register

    def _handlers_for(self, event: Event) -> list[Handler[Any]]:
        # A dict keeps the order, and calls a handler once that was registered for a class and its base.
        return list(dict.fromkeys(handler for kind, handler in self._handlers if isinstance(event, kind)))

    # --- receiving -----------------------------------------------------------------------------------------------

    def receive(self, body: bytes) -> Answer:
        """Take one callback's body and say what to answer: for frameworks that have no adapter here.

        It verifies, queues and returns; nothing waits.

        Raises:
            ConfigurationError: the router has not been entered.
        """
        if self._closed:
            return COME_AGAIN
        tasks = self._tasks
        if tasks is None:
            raise ConfigurationError(
                "the callback router is not running: use 'async with router:', FastAPI(lifespan=router.lifespan) or "
                "app.cleanup_ctx.append(router.aiohttp_context)"
            )
        now = self._clock()
        try:
            event = parse_callback(body, secret=self._secret, now=now, max_age=self._max_age)
            if self._replays is not None:
                seen = self._replays.look(event.signature, body, now)
                if seen is Seen.REPLAY:
                    raise ReplayedCallback(
                        "its signature came before with another body: the sender saw one of your callbacks and forges others "
                        "with its signature. Register an https address with the vendor if it is not one, and rotate the "
                        "CallbackSecret in the console"
                    )
                if seen is Seen.COPY:
                    return TAKEN
        except CallbackError as error:
            logger.warning("callback refused: %s", error)
            return MALFORMED if isinstance(error, MalformedCallback) else FORBIDDEN
        if self._handlers_for(event) and not self._queue(event, tasks):
            logger.warning(
                "callback answered with 503, to come again: %d events are in hand (capacity=%d, per_subject=%d). Handlers are "
                "slower than events come: let them hand work to a queue, or raise the bound",
                self._in_hand,
                self._capacity,
                self._per_subject,
            )
            return COME_AGAIN
        if self._replays is not None:
            self._replays.take(event.signature, body, now)
        return TAKEN

    def _queue(self, event: Event, tasks: TaskScope) -> bool:
        """False if there is no room."""
        name = event.subject
        subject = self._subjects.get(name)
        if self._in_hand >= self._capacity or (subject is not None and len(subject.events) >= self._per_subject):
            return False
        if subject is None:
            subject = self._subjects[name] = _Subject(self._reorder_wait)
        if not subject.events.push(event, event.order, asyncio.get_running_loop().time(), kind=type(event)):
            return True  # had before, under another nonce
        self._in_hand += 1
        self._subjects.move_to_end(name)
        if subject.task is None:
            subject.task = tasks.start(self._serve(subject))
        else:
            subject.more.set()
        self._forget_idle()
        return True

    def _forget_idle(self) -> None:
        if len(self._subjects) > MAX_IDLE_SUBJECTS:
            name, subject = next(iter(self._subjects.items()))
            if subject.task is None:
                del self._subjects[name]
            else:
                self._subjects.move_to_end(name)

    # --- handing out ---------------------------------------------------------------------------------------------

    async def _serve(self, subject: _Subject) -> None:
        """Hand a subject's events out in order until there are none."""
        events = subject.events
        try:
            while True:
                # On the way out nobody waits for earlier events any more.
                event = events.pop(math.inf if self._closed else asyncio.get_running_loop().time())
                if event is not None:
                    await self._hand_out(event)
                    self._in_hand -= 1
                elif (due := events.next_due()) is not None:
                    subject.more.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout_at(due):
                            await subject.more.wait()
                else:
                    return
        finally:
            subject.task = None

    async def _hand_out(self, event: Event) -> None:
        for handler in self._handlers_for(event):
            try:
                await handler(event)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                logger.exception("callback handler %s was cancelled from within on %s", _name(handler), _about(event))
            except Exception:
                logger.exception("callback handler %s failed on %s", _name(handler), _about(event))

    # --- life ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start taking callbacks.

        Raises:
            ConfigurationError: the router runs already, or not on asyncio.
        """
        if self._tasks is not None:
            raise ConfigurationError(
                "the callback router is running already: enter it once, in the app's lifespan, or build a second router"
            )
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError("the callback router runs on asyncio only: start the app with asyncio.run()") from None
        tasks = TaskScope("zego_aigc callbacks")
        await tasks.open()
        self._tasks = tasks
        self._closed = False
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Take nothing more and let the handlers finish what is in hand; after `close_timeout` cancel them."""
        tasks = self._tasks
        if tasks is None:
            return
        self._closed = True
        for subject in self._subjects.values():
            subject.more.set()
        try:
            await tasks.close(self._close_timeout)
        finally:
            if self._in_hand:
                logger.error(
                    "the callback router closed with %d events not handled: handlers did not finish within close_timeout=%g s",
                    self._in_hand,
                    self._close_timeout,
                )
            self._tasks = None
            self._subjects.clear()
            self._in_hand = 0

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

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The router as an ASGI app: mount it in FastAPI, Starlette or Litestar, or serve it by itself."""
        from zego_aigc.callbacks import _asgi

        await _asgi.serve(self, scope, receive, send)

    async def aiohttp_handler(self, request: web.Request) -> web.Response:
        """The router as an aiohttp handler: ``app.router.add_post("/callbacks", router.aiohttp_handler)``."""
        from zego_aigc.callbacks import _aiohttp

        return await _aiohttp.handle(self, request)


class _Subject:
    """The events in hand for one instance or task."""

    __slots__ = ("events", "more", "task")

    def __init__(self, wait: float) -> None:
        self.events: Reorder[Event] = Reorder(wait)
        self.more = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


def _about(event: Event) -> str:
    """What a log may say of an event: not what people said."""
    order = "" if event.order is None else f" (Sequence {event.order})"
    return f"{type(event).__name__} of {event.subject}{order}"


def _name(handler: Handler[Any]) -> str:
    return getattr(handler, "__qualname__", None) or repr(handler)
