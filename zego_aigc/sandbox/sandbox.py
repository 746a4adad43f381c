"""The sandbox as its users hold it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from zego_aigc.sandbox.app import App
from zego_aigc.sandbox.callbacks import Outbox
from zego_aigc.sandbox.clock import Clock
from zego_aigc.sandbox.recording import Recording
from zego_aigc.sandbox.scope import Scope
from zego_aigc.sandbox.server import Front

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from zego_aigc.actions import Action
    from zego_aigc.client import Client

__all__ = ["DEFAULT_APP_ID", "DEFAULT_SERVER_SECRET", "Sandbox", "serve"]

DEFAULT_APP_ID = 1234567890
DEFAULT_SERVER_SECRET = "sandbox0sandbox0sandbox0sandbox0"  # noqa: S105 - opens nothing but a sandbox

ActionT = TypeVar("ActionT", bound="Action[Any]")


class Sandbox:
    """Both services on one origin, for as long as the ``async with`` block runs.

    Args:
        app_id: the AppId of the first app; more come with :meth:`add_app`.
        server_secret: its ServerSecret.
        quota: how many agents, digital humans and streams each may live at once: one number for all, a mapping of
            ``agents``, ``digital_humans`` and ``streams``, or None for no bound.
        host: where to listen. Loopback only, unless told otherwise.
        port: which port; 0 takes a free one.
        history: how many calls are remembered.
        settings: more of :class:`App`'s settings for the first app.
    """

    def __init__(
        self,
        *,
        app_id: int = DEFAULT_APP_ID,
        server_secret: str = DEFAULT_SERVER_SECRET,
        quota: Any = 10,
        host: str = "127.0.0.1",
        port: int = 0,
        history: int = 20_000,
        **settings: Any,
    ) -> None:
        self._scope = Scope()
        self.clock = Clock(self._settled)
        self.outbox = Outbox(self.clock, self._scope)
        self.apps: dict[int, App] = {}
        self.recording = Recording(history)
        self._host = host
        self._port = port
        self._runner: web.ServerRunner | None = None
        self._url = ""
        self.app = self.add_app(app_id, server_secret, quota=quota, **settings)

    @property
    def url(self) -> str:
        """The origin, such as ``http://127.0.0.1:40123``: the base URL of both services."""
        if not self._url:
            raise RuntimeError("the sandbox is not running: use it with 'async with Sandbox() as sandbox'")
        return self._url

    @property
    def app_id(self) -> int:
        """The first app's AppId."""
        return self.app.app_id

    @property
    def server_secret(self) -> str:
        """The first app's ServerSecret."""
        return self.app.server_secret

    def add_app(self, app_id: int, server_secret: str, **settings: Any) -> App:
        """Open another account, with limits and state of its own; see :class:`App` for the settings."""
        app = self.apps[app_id] = App(self.clock, self.outbox, app_id, server_secret, **settings)
        app.ws_url = self._url.replace("http", "ws", 1)
        return app

    def client(self, *, app: App | None = None, **options: Any) -> Client:
        """A client of this sandbox, for the first app or the one given; `options` as for :class:`zego_aigc.Client`."""
        from zego_aigc.client import Client

        app = app or self.app
        options = {"aiagent_url": self.url, "digitalhuman_url": self.url, **options}
        return Client(app.app_id, app.server_secret, **options)

    def received(self, action: type[ActionT]) -> list[ActionT]:
        """The requests of an Action that reached the sandbox and were well formed, oldest first, refused ones included."""
        return [call.request for call in self.recording.calls if isinstance(call.request, action)]

    async def __aenter__(self) -> Self:
        front = Front(self.clock, self.apps, self.recording)
        await self._scope.open()
        runner = web.ServerRunner(web.Server(front.handle, access_log=None), handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        self._runner = runner
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except BaseException:
            await self.aclose()
            raise
        host, port = runner.addresses[0][:2]
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        for app in self.apps.values():
            app.ws_url = self._url.replace("http", "ws", 1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop listening and forget every timer. What was received can still be looked at."""
        runner, self._runner = self._runner, None
        self._url = ""
        self.clock.close()
        if runner is not None:
            await runner.cleanup()
        await self._scope.close()
        await self.outbox.close()

    async def _settled(self) -> None:
        await self.outbox.settled()


async def serve(*, ready: Callable[[Sandbox], None] | None = None, **settings: Any) -> None:
    """Run a sandbox until cancelled, for the command line.

    Args:
        ready: called once with the listening sandbox, to print its address.
        settings: as for :class:`Sandbox`: ``port``, ``host``, ``app_id``, ``server_secret``, ``quota`` and more.

    Raises:
        OSError: if the port cannot be had.
    """
    async with Sandbox(**settings) as sandbox:
        if ready is not None:
            ready(sandbox)
        await asyncio.get_running_loop().create_future()
