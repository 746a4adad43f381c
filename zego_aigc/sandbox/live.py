"""A sandbox in a thread of its own: for tests that are not coroutines, and for code that blocks its event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from zego_aigc.sandbox.emit import JSON, emit
from zego_aigc.sandbox.sandbox import Sandbox, SandboxSettings

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from zego_aigc.calls.client_options import ClientOptions
    from zego_aigc.client import Client
    from zego_aigc.sandbox.faults import Faults
    from zego_aigc.schema.actions import Action

__all__ = ["LiveSandbox"]

STEP_TIMEOUT = 120.0
"""Seconds that a call into the sandbox's thread may take."""

T = TypeVar("T")
ActionT = TypeVar("ActionT", bound="Action[Any]")


class LiveSandbox:
    """A sandbox whose event loop runs in a thread, for as long as the ``with`` block does.

    ::

        with LiveSandbox(quota=3) as live:
            os.environ.update(live.env)
            ...
            live.advance(120)

    In ``unittest``: ``self.live = self.enterContext(LiveSandbox())`` in ``setUp()``, or
    ``cls.live = cls.enterClassContext(LiveSandbox())`` in ``setUpClass()``.

    Its methods may be called from any thread but its own.

    Args:
        settings: as for :class:`Sandbox`.

    Raises:
        TypeError: for an unknown setting.
        ValueError: for a setting out of range.
    """

    def __init__(self, **settings: Unpack[SandboxSettings]) -> None:
        self.sandbox: Sandbox = Sandbox(**settings)
        """The sandbox itself. Its settings (``live.sandbox.app.quotas.agents = 3``) may be changed from any thread; what is
        a coroutine belongs into :meth:`run`, and what walks through what lives into :meth:`call`."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._url = ""
        self._stop = asyncio.Event()
        self._failure: list[BaseException] = []

    # --- its life ------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begin, and wait until it listens.

        Raises:
            OSError: if the port cannot be had.
        """
        started = threading.Event()
        failure: list[BaseException] = []
        self._failure = failure

        async def serve() -> None:
            async with self.sandbox:
                self._loop = asyncio.get_running_loop()
                self._url = self.sandbox.url
                started.set()
                await self._stop.wait()

        def work() -> None:
            try:
                asyncio.run(serve())
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits for it
                failure.append(error)
            finally:
                started.set()

        self._thread = threading.Thread(target=work, name="zego_aigc sandbox", daemon=True)
        self._thread.start()
        started.wait()
        if failure:
            self._thread.join()
            raise failure[0]
        return self

    def stop(self) -> None:
        """End. What was received can still be looked at.

        Raises:
            BaseException: what went wrong in the sandbox meanwhile, such as an exception of a ``reply`` function.
        """
        loop, self._loop = self._loop, None
        thread, self._thread = self._thread, None
        if loop is None or thread is None:
            return
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            loop.call_soon_threadsafe(self._stop.set)
        thread.join()
        if self._failure:
            raise self._failure[0]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    # --- where it is ---------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The origin, such as ``http://127.0.0.1:40123``: the base URL of both services."""
        if self._loop is None:
            raise RuntimeError("the sandbox is not running: use it with 'with LiveSandbox() as live'")
        return self._url

    @property
    def env(self) -> dict[str, str]:
        """The environment variables that lead a client, ``Client.from_env()`` for instance, to it."""
        app = self.sandbox.app
        return {
            "ZEGO_APP_ID": str(app.app_id),
            "ZEGO_SERVER_SECRET": app.server_secret,
            "ZEGO_CALLBACK_SECRET": app.callback_secret,
            "ZEGO_AIAGENT_URL": self.url,
            "ZEGO_DIGITALHUMAN_URL": self.url,
            "ZEGO_SANDBOX_URL": self.url,
        }

    def client(self, **options: Unpack[ClientOptions]) -> Client:
        """A client of it, for whichever event loop opens it; `options` as for :class:`zego_aigc.Client`."""
        return self.sandbox.client(**options)

    # --- control -------------------------------------------------------------------------------------------------

    @property
    def faults(self) -> Faults:
        """What goes wrong on purpose; may be used from any thread."""
        return self.sandbox.faults

    def received(self, action: type[ActionT]) -> list[ActionT]:
        """The requests of an Action so far; see :meth:`Sandbox.received`."""
        return self.call(lambda sandbox: sandbox.received(action))

    def advance(self, seconds: float) -> None:
        """Move the clock; what falls due happens before this returns. See :meth:`zego_aigc.sandbox.clock.Clock.advance`."""
        self.run(lambda sandbox: sandbox.clock.advance(seconds))

    def settle(self) -> None:
        """Wait until no callback is being sent and no model is being asked."""
        self.run(lambda sandbox: sandbox.settled())

    def emit(self, event: str | int, about: str | None = None, /, **data: JSON) -> dict[str, Any]:
        """Send a callback now, and wait for its first attempt; see :meth:`Sandbox.emit`.

        Returns:
            The callback's body.

        Raises:
            LookupError: if `about` is not given and nothing runs that the event could be about.
        """

        async def send(sandbox: Sandbox) -> dict[str, Any]:
            delivery = emit(sandbox.app, event, about, data)
            await sandbox.settled()
            return delivery.body

        return self.run(send)

    def user_speaks(self, text: str, about: str | None = None, /, *, seconds: float = 1.5) -> None:
        """The user of an instance says something; see :meth:`Sandbox.user_speaks`.

        Raises:
            LookupError: if no such instance is running.
        """
        self.call(lambda sandbox: sandbox.user_speaks(text, about, seconds=seconds))

    def join(self, room_id: str, user_id: str, *, publishing: bool = True) -> None:
        """A real user enters a room; see :meth:`zego_aigc.sandbox.rooms.Rooms.join`."""
        self.call(lambda sandbox: sandbox.app.rooms.join(room_id, user_id, publishing=publishing))

    def leave(self, room_id: str, user_id: str) -> None:
        """A real user leaves a room."""
        self.call(lambda sandbox: sandbox.app.rooms.leave(room_id, user_id))

    def call(self, work: Callable[[Sandbox], T]) -> T:
        """Call a function with the sandbox in its thread, and return its result.

        Raises:
            RuntimeError: if it does not run, or this is its own thread.
            TimeoutError: if it takes more than 120 seconds.
        """

        async def do(sandbox: Sandbox) -> T:
            return work(sandbox)

        return self.run(do)

    def run(self, work: Callable[[Sandbox], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine function with the sandbox in its event loop, and return its result.

        Raises:
            RuntimeError: if it does not run, or this is its own thread.
            TimeoutError: if it takes more than 120 seconds.
        """
        if self._loop is None:
            raise RuntimeError("the sandbox is not running: use it with 'with LiveSandbox() as live'")
        if threading.current_thread() is self._thread:
            raise RuntimeError("this is the sandbox's own thread: use live.sandbox, and await what is a coroutine")
        return asyncio.run_coroutine_threadsafe(work(self.sandbox), self._loop).result(STEP_TIMEOUT)
