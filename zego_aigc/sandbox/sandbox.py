"""The sandbox as its users hold it."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from aiohttp import web

from zego_aigc.errors import ConfigurationError
from zego_aigc.sandbox.actions_conversation import user_speaks
from zego_aigc.sandbox.app import App
from zego_aigc.sandbox.callbacks import Delivery
from zego_aigc.sandbox.certificate import self_signed
from zego_aigc.sandbox.control_api import ControlApi
from zego_aigc.sandbox.emit import JSON, emit
from zego_aigc.sandbox.guard import Guard, is_loopback
from zego_aigc.sandbox.server import ServiceHandler
from zego_aigc.sandbox.settings import Settings
from zego_aigc.sandbox.world import World

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from zego_aigc.callbacks.events import Event
    from zego_aigc.calls.client_options import ClientOptions
    from zego_aigc.client import Client
    from zego_aigc.schema.actions import Action

__all__ = ["DEFAULT_APP_ID", "DEFAULT_SERVER_SECRET", "Sandbox", "SandboxSettings", "serve"]

TURNS_TO_ACCEPT = 4
"""Turns of the event loop from the moment at which it sees a connection until the server knows of it, and one more."""

DEFAULT_APP_ID = 1234567890
DEFAULT_SERVER_SECRET = "sandbox0sandbox0sandbox0sandbox0"  # noqa: S105 - opens nothing but a sandbox

ActionT = TypeVar("ActionT", bound="Action[Any]")


class SandboxSettings(Settings, total=False):
    """What :class:`Sandbox` takes by name; it says what each means."""

    app_id: int
    """The AppId of the first app."""
    server_secret: str | None
    """Its ServerSecret: 32 letters and digits."""
    host: str
    """Where to listen; loopback unless given."""
    port: int
    """Which port; 0 takes a free one."""
    history: int
    """How many calls, and how many callbacks, are remembered."""
    seed: int | None
    """Of all randomness; None for ids that differ in every run."""
    time: float | None
    """Unix seconds at which the clock stands; None for one that goes."""
    tls: bool
    """Whether it speaks TLS, too, on a port of its own."""
    token: str | None
    """What the control pages ask other machines for."""
    allowed_hosts: Collection[str]
    """More host names under which it may be called."""


class Sandbox(World):
    """Both services on one origin, for as long as the ``async with`` block runs.

    Args:
        app_id: the AppId of the first app; more come with :meth:`add_app`.
        server_secret: its ServerSecret. By default one that all sandboxes have, and a random one where other machines can call.
        host: where to listen. Loopback only by default.
        port: which port; 0 takes a free one.
        history: how many calls are remembered, and how many callbacks.
        seed: of all randomness: faults, ids, nonces. None for ids that differ in every run.
        time: Unix seconds at which the clock stands, to be moved by ``clock.advance()`` alone; None for one that goes.
        tls: whether it speaks TLS, too, as the vendor does: on a port of its own, see :attr:`https_url`, with a certificate
            made at start, see :attr:`certificate`. Drives then get ``wss://`` addresses. Needs the extra ``token``.
        token: what requests under ``/_sandbox/`` must carry. By default none on loopback, and elsewhere one is made.
        allowed_hosts: further host names under which it may be called, such as a service's name in a compose file.
        settings: of the first app: ``quota``, ``rate_limit``, ``callback_url`` and more, see :class:`Settings`.

    Raises:
        TypeError: for an unknown setting.
        ValueError: for an `app_id`, a quota or a limit out of range, or a callback's address on another machine.
    """

    def __init__(
        self,
        *,
        app_id: int = DEFAULT_APP_ID,
        server_secret: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        history: int = 10_000,
        seed: int | None = None,
        time: float | None = None,
        tls: bool = False,
        token: str | None = None,
        allowed_hosts: Collection[str] = (),
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(history=history, seed=seed, time=time)
        self.token: str = token if token is not None else "" if is_loopback(host) else secrets.token_urlsafe(18)
        """What requests under ``/_sandbox/`` must carry, as ``Authorization: Bearer``; empty for none."""
        self._guard = Guard(host, allowed_hosts, self.token)
        self.listening: socket.socket | None = None
        """The socket that it listens on, while it runs."""
        self._tls = tls
        self._host = host
        self._port = port
        self._running = AsyncExitStack()
        self._url = ""
        self._https_url = ""
        if server_secret is None:  # who can sign calls can have the sandbox call a model's endpoint on this machine
            server_secret = DEFAULT_SERVER_SECRET if is_loopback(host) else secrets.token_hex(16)
        self.add_app(app_id, server_secret, **settings)

    @property
    def url(self) -> str:
        """The origin, such as ``http://127.0.0.1:40123``: the base URL of both services."""
        if not self._url:
            raise RuntimeError("the sandbox is not running: use it with 'async with Sandbox() as sandbox'")
        return self._url

    @property
    def https_url(self) -> str:
        """With `tls`: the origin of both services for clients that insist on HTTPS; otherwise empty."""
        return self._https_url

    @property
    def page_url(self) -> str:
        """Where its page is, for a browser; with the token, where there is one."""
        return f"{self.url}/_sandbox/{f'?token={self.token}' if self.token else ''}"

    @property
    def app_id(self) -> int:
        """The first app's AppId."""
        return self.app.app_id

    @property
    def server_secret(self) -> str:
        """The first app's ServerSecret."""
        return self.app.server_secret

    @property
    def callback_secret(self) -> str:
        """The first app's CallbackSecret, with which its callbacks are signed."""
        return self.app.callback_secret

    def client(self, *, app: App | None = None, **options: Unpack[ClientOptions]) -> Client:
        """A client of this sandbox, for the first app or the one given; `options` as for :class:`zego_aigc.Client`."""
        from zego_aigc.client import Client

        app = app or self.app
        options.setdefault("aiagent_url", self.url)
        options.setdefault("digitalhuman_url", self.url)
        return Client(app.app_id, app.server_secret, **options)

    def received(self, action: type[ActionT]) -> list[ActionT]:
        """The requests of an Action that reached the sandbox and were well formed, oldest first, refused ones included.

        Raises:
            TypeError: `action` is no class.
        """
        if not callable(action):
            raise TypeError(
                f"received() takes an Action's class, such as RegisterAgent, not {action!r}; "
                "sandbox.recording.select(name) finds calls by name"
            )
        return [call.request for call in self.recording.calls if isinstance(call.request, action)]

    def on_event(self, handler: Callable[[Event], Awaitable[object]], *, app: App | None = None) -> None:
        """Have a coroutine function called with each callback, in order: as from a router, without a server in between.

        ::

            async with Sandbox() as sandbox, sandbox.client() as client:
                sandbox.on_event(client.observe)  # now task.drive_finished() and agent.events() hear of it

        Args:
            handler: the coroutine function. It runs in the sandbox's event loop; what it raises is logged. ``await
                sandbox.settled()`` waits for it, and ``clock.advance()`` does not.
            app: whose callbacks; by default the first app's.
        """
        self.outbox.listen((app or self.app).app_id, handler)

    def emit(self, event: str | int, about: str | None = None, /, *, app: App | None = None, **data: JSON) -> Delivery:
        """Send a callback now.

        Args:
            event: an AI Agent event (``"ASRResult"``), or a Digital Human EventType (3 or ``"task"``, 4 or ``"drive"``).
            about: the AgentInstanceId or TaskId; by default the newest.
            app: whose callback it is; by default the first app's.
            data: what ``Data`` or ``Detail`` is to hold; the rest is filled in.

        Returns:
            The delivery; ``await sandbox.settled()`` waits for its first attempt.

        Raises:
            LookupError: if `about` is not given and nothing runs that the event could be about.
            RuntimeError: in another thread than the sandbox's: see :class:`~zego_aigc.sandbox.LiveSandbox`.
            ValueError: if `data` is no JSON.
        """
        self.clock.check_loop()
        return emit(app or self.app, event, about, data)

    def user_speaks(self, text: str, about: str | None = None, /, *, seconds: float = 1.5, app: App | None = None) -> None:
        """The user of an instance says something, as if heard over RTC; by default of the newest instance.

        In walkie-talkie mode it counts only between StartListening and StopListening.

        Args:
            text: what is said; empty for speech that is not understood.
            about: the AgentInstanceId.
            seconds: how long it takes to say, on the sandbox's clock.
            app: whose instance it is; the first app's unless given.

        Raises:
            LookupError: if no such instance is running.
            RuntimeError: in another thread than the sandbox's: see :class:`~zego_aigc.sandbox.LiveSandbox`.
        """
        self.clock.check_loop()
        owner = app or self.app
        user_speaks(owner, owner.pick_instance(about), text, seconds)

    if not TYPE_CHECKING:  # to a type checker, "with" stays the mistake that it is

        def __enter__(self):  # noqa: ANN204 - it returns nothing
            raise TypeError(
                "a Sandbox is asynchronous: use 'async with Sandbox() as sandbox', or 'with LiveSandbox() as live' elsewhere"
            )

        def __exit__(self, *_): ...  # noqa: ANN002, ANN204 - a with statement looks for it first

    async def __aenter__(self) -> Self:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError(
                "the sandbox runs on asyncio, not under trio; in suites of anyio's plugin, "
                "have a fixture anyio_backend return 'asyncio'"
            ) from None
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.outbox.close)
            stack.push_async_callback(self.models.close)
            await self.scope.open()
            stack.push_async_callback(self.scope.close)
            services = ServiceHandler(self, self._guard, ControlApi(self, self._guard).handle)
            # No lingering: what is left of a body that could not be read would be read again.
            server = web.Server(services.handle, request_factory=services.request, access_log=None, lingering_time=0)
            runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.1)
            stack.push_async_callback(runner.cleanup)
            accepting: list[socket.socket] = []
            stack.push_async_callback(_stop_accepting, accepting)
            stack.callback(services.close)
            stack.callback(self.clock.close)
            self.clock.bind(asyncio.get_running_loop())
            stack.callback(self.clock.bind, None)
            await runner.setup()
            self.listening = _listen(self._host, self._port)
            accepting.append(self.listening)
            await web.SockSite(runner, self.listening).start()
            self._set_url(_callable_url(*runner.addresses[0][:2]))
            if self._tls:
                context, certificate = self_signed(self._host)
                self.certificate: str = certificate
                accepting.append(_listen(self._host, 0))
                await web.SockSite(runner, accepting[-1], ssl_context=context).start()
                self._https_url = _callable_url(*runner.addresses[1][:2]).replace("http", "https", 1)
                self.set_ws_url(self._https_url.replace("https", "wss", 1))
            self._running = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop listening and forget every timer. What was received can still be looked at."""
        self._set_url("")
        await self._running.aclose()

    def _set_url(self, url: str) -> None:
        self._url = url
        self._https_url = ""
        self.set_ws_url(url.replace("http", "ws", 1))


async def _stop_accepting(listening: list[socket.socket]) -> None:
    """Accept no more connections, and let those that were accepted reach the server, which closes only those that it knows.

    asyncio drops a connection unclosed whose server is closed between the two.
    """
    with suppress(NotImplementedError):  # on Windows
        for each in listening:
            asyncio.get_running_loop().remove_reader(each)
    for _ in range(TURNS_TO_ACCEPT):
        await asyncio.sleep(0)


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(address, family=family, backlog=128)


def _callable_url(host: str, port: int) -> str:
    """The origin under which a listening address can be called from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - any interface is loopback's too
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(*, ready: Callable[[Sandbox], None] | None = None, **settings: Unpack[SandboxSettings]) -> None:
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
