"""What the clients of a process share: connections, the limiter, the retry budget, one signer for each app."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakValueDictionary

import aiohttp
import yarl

from zego_aigc.errors import ConfigurationError, TimedOut, ZegoError
from zego_aigc.limits.limiter import FullLimiter, Limiter, full_limiter
from zego_aigc.limits.local_limiter import LocalLimiter
from zego_aigc.limits.retry_budget import RetryBudget
from zego_aigc.transport import http
from zego_aigc.transport.clock import ServerClock
from zego_aigc.transport.deadlines import Deadline, Deadlines, DrainedDeadline
from zego_aigc.transport.shielding import wait_shielded
from zego_aigc.transport.signed_request import HEADERS
from zego_aigc.transport.signing import Signer

if TYPE_CHECKING:
    import ssl

    from zego_aigc.transport.fastpath import DirectPost
    from zego_aigc.transport.signed_request import SignedRequest

__all__ = ["SessionPool"]

logger: logging.Logger = logging.getLogger("zego_aigc")

T = TypeVar("T")

CONNECT_TIMEOUT = 8.0
"""Seconds that connecting (TCP and TLS) may take."""


class SessionPool:
    """Connections, limiter and retry budget for any number of clients.

    A client makes a pool of its own unless it is given one. Share a pool among the clients of several apps to share
    their connections; share it among clients of one app so that they keep the limit of calls together.

    It may be built outside an event loop; the first call binds it to the running one. Close it with :meth:`aclose` or
    ``async with``.

    Args:
        limiter: decides when a call may be sent; a :class:`~zego_aigc.LocalLimiter` unless given. It needs no more than
            :meth:`zego_aigc.Limiter.acquire`.
        max_connections: connections at a time.
        keepalive: seconds that an idle connection is kept.
        careful_keepalive: seconds after which an idle connection is not used for calls that must not be repeated
            (``CREATES`` and ``ONCE``), since the service may be closing it at that very moment.
        proxy: URL of an HTTP proxy.
        ssl: a TLS context, for a private certificate authority. Certificates are always verified.
        session: an aiohttp session to use instead of own ones. It is not closed, and its own connector decides how long
            idle connections are kept.

    Raises:
        ConfigurationError: `proxy` is not the URL of an HTTP proxy.
    """

    closed: bool = False
    """Whether :meth:`aclose` was called."""

    def __init__(
        self,
        *,
        limiter: Limiter | None = None,
        max_connections: int = 100,
        keepalive: float = 15.0,
        careful_keepalive: float = 4.0,
        proxy: str | None = None,
        ssl: ssl.SSLContext | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None  # first of all: __del__ asks for it, whatever is raised below
        self.limiter: FullLimiter = full_limiter(limiter) if limiter is not None else LocalLimiter()
        self.budget: RetryBudget = RetryBudget()
        if session is not None and not hasattr(session, "closed"):  # of requests or httpx, say
            raise ConfigurationError(f"session must be an aiohttp.ClientSession, not {type(session).__name__}")
        self._max_connections = max_connections
        self._keepalive = {False: keepalive, True: careful_keepalive}
        self._ssl = ssl
        self._borrowed = session
        self._direct_post = _direct_post() if session is None and proxy is None else None
        self.past_session: bool = self._direct_post is not None
        """Whether requests go past aiohttp's session; see :mod:`zego_aigc.transport.fastpath`."""
        self._proxy: yarl.URL | None = None if proxy is None else _checked_proxy(proxy)
        self._headers: dict[str, str] | None = None if session is None else HEADERS  # own sessions have them
        self._signers: WeakValueDictionary[tuple[int, str], Signer] = WeakValueDictionary()  # gone with their clients
        self._clocks: dict[str, ServerClock] = {}
        self._sessions: dict[bool, aiohttp.ClientSession] = {}  # by whether the call must not be repeated
        self._posters: dict[tuple[yarl.URL, bool], http.Poster] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.deadlines: Deadlines
        """Those of what is under way, once the pool is bound to an event loop."""

    def signer(self, app_id: int, server_secret: str) -> Signer:
        """The one signer of an app."""
        key = app_id, server_secret
        signer = self._signers.get(key)
        if signer is None:
            signer = self._signers[key] = Signer(app_id, server_secret)
        return signer

    def clock(self, host: str) -> ServerClock:
        """The one clock of a host."""
        return self._clocks.setdefault(host, ServerClock())

    def bind(self) -> asyncio.AbstractEventLoop:
        """Tie the pool to the running event loop, at its first use.

        Raises:
            ConfigurationError: no asyncio loop runs, the pool is closed, or it belongs to another loop.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError(
                "zego_aigc runs on asyncio, since aiohttp is its transport: call it from a coroutine under asyncio.run() "
                "or anyio.run(..., backend='asyncio'), not under trio"
            ) from None
        if loop is self._loop and not self.closed:
            return loop
        if self.closed:
            raise ConfigurationError("the client is closed: make a new one, or close it only when the last call is over")
        if self._loop is not None:
            raise ConfigurationError(
                "the client belongs to another event loop: make it anew for each loop, inside of what asyncio.run() runs"
            )
        if self._borrowed is not None and self._borrowed.closed:
            raise ConfigurationError("the aiohttp session that was given is closed: keep it open while the client is used")
        if self._borrowed is not None and getattr(self._borrowed, "_loop", loop) is not loop:
            raise ConfigurationError(
                "the aiohttp session that was given belongs to another event loop: make it on the loop that uses the client"
            )
        self._loop = loop
        self.deadlines = Deadlines(loop)
        for careful, keepalive in self._keepalive.items():
            if self._borrowed is not None:
                self._sessions[careful] = self._borrowed
                continue
            connector = aiohttp.TCPConnector(
                limit=self._max_connections, keepalive_timeout=keepalive, ssl=self._ssl if self._ssl is not None else True
            )
            self._sessions[careful] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=HEADERS,
                # The call's own deadline bounds everything; a host that does not even connect is worth another try before.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
            )
        return loop

    def post(self, url: yarl.URL, request: SignedRequest, *, careful: bool) -> Coroutine[Any, Any, http.Answer]:
        """Send a request; see :func:`zego_aigc.transport.http.post`. The pool must be bound.

        Args:
            url: without the query, which the request has.
            request: what to send.
            careful: whether to avoid connections that have idled for so long that the service may be closing them.
        """
        poster = self._posters.get((url, careful))
        if poster is None:
            poster = self._posters[url, careful] = self._poster(url, careful=careful)
        return http.post(poster, request)

    def _poster(self, url: yarl.URL, *, careful: bool) -> http.Poster:
        session = self._sessions[careful]
        if self._direct_post is not None:
            return self._direct_post(session, url)
        return http.SessionPost(session, url, self._proxy, self._headers)

    async def websocket(
        self, address: str, *, ssl: bool | ssl.SSLContext | aiohttp.Fingerprint = True
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket, with the pool's proxy.

        Args:
            address: where.
            ssl: how its certificate is checked; True for the pool's way.
        """
        self.bind()
        return await self._sessions[False].ws_connect(address, heartbeat=20.0, proxy=self._proxy, ssl=ssl)

    async def warmup(self, urls: Iterable[yarl.URL], connections: int, within: float) -> None:
        """Open connections to each host, so that the first calls find them.

        Raises:
            ConnectFailed: a host cannot be reached.
            TimedOut: it takes longer than `within` seconds.
        """
        self.bind()
        touches = [
            self.spawn(http.touch(session, url, proxy=self._proxy))
            for url in urls
            for session in {*self._sessions.values()}
            for _ in range(connections)
        ]
        try:
            async with asyncio.timeout(within):
                await asyncio.gather(*touches)
        except TimeoutError as error:
            if isinstance(error, ZegoError):
                raise
            raise TimedOut(f"connecting took longer than {within:g} s", waited_for="connect") from None
        finally:
            for touch in touches:
                touch.cancel()
            await asyncio.gather(*touches, return_exceptions=True)

    async def date(self, url: yarl.URL, within: float) -> str | None:
        """The ``Date`` of a host, by a request that counts as no call; None if it cannot be had in so many seconds."""
        self.bind()
        try:
            async with asyncio.timeout(within):
                return await http.touch(self._sessions[False], url, proxy=self._proxy)
        except (TimeoutError, ZegoError):
            return None

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine in the pool's scope: :meth:`aclose` waits for it, or cancels it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self, *, drain: float = 5.0) -> None:
        """Close the connections, after up to `drain` seconds for creates that are under way.

        Calls that wait for the limiter are refused, and so are those that come to the point of being sent. Closing twice does
        nothing.
        """
        if self.closed:
            return
        self.closed = True
        loop, closer = asyncio.get_running_loop(), asyncio.current_task()
        # Creates get `drain` seconds, in tasks of their own or in their callers'. But not the task that closes the pool: a
        # before_send may do that in the middle of a call.
        creates: dict[asyncio.Future[Any], Deadline] = {}
        for deadline in self._under_way(closer):
            if isinstance(deadline, DrainedDeadline):
                deadline.stopped = loop.create_future()
                creates[deadline.stopped] = deadline
            elif deadline.at_close == "expire":
                self.deadlines.expire(deadline)
        tasks = {task for task in self._tasks if task is not closer}
        # In a task of its own, so that the connections are closed however often the caller is cancelled meanwhile.
        closing = asyncio.ensure_future(self._close(closer, drain, tasks, creates))
        cancelled = await wait_shielded(closing, drain + 10.0)
        if cancelled is not None:
            raise cancelled
        if closing.done():
            closing.result()

    def _under_way(self, closer: asyncio.Task[Any] | None) -> list[Deadline]:
        """The deadlines of other tasks' calls."""
        if self._loop is not asyncio.get_running_loop():
            return []
        return [deadline for deadline in self.deadlines if deadline.task is not closer]

    async def _close(
        self,
        closer: asyncio.Task[Any] | None,
        drain: float,
        tasks: set[asyncio.Task[Any]],
        creates: dict[asyncio.Future[Any], Deadline],
    ) -> None:
        running: set[asyncio.Future[Any]] = {*tasks, *creates}
        if running:
            _, running = await asyncio.wait(running, timeout=drain)
        for one in running:
            if one in creates:
                self.deadlines.expire(creates[one])
            else:
                one.cancel()
        if running:
            await asyncio.wait(running, timeout=5.0)
        if self._borrowed is None:
            for session in self._sessions.values():
                await session.close()
            # aiohttp ends what waits for the head of an answer, but not what waits for the rest of its body.
            for deadline in self._under_way(closer):
                self.deadlines.expire(deadline)

    async def __aenter__(self) -> Self:
        self.bind()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A pool that was never closed holds nothing but idle connections: they go, without complaints about sessions
        # that the user never saw.
        if self.closed or self._loop is None or self._borrowed is not None:
            return
        for session in self._sessions.values():
            if (connector := session.connector) is not None and (self._loop.is_running() or self._loop.is_closed()):
                next(connector.close().__await__(), None)  # closes at once, and would then wait for the sockets
            session.detach()

    def __repr__(self) -> str:
        return f"SessionPool(limiter={self.limiter!r}, closed={self.closed})"


def _direct_post() -> type[DirectPost] | None:
    """What :mod:`zego_aigc.transport.fastpath` offers, if it may be used."""
    try:
        from zego_aigc.transport.fastpath import DirectPost, why_not
    except ImportError as error:  # it was deleted, or aiohttp has not what it builds on
        why: str | None = str(error)
    else:
        if (why := why_not()) is None:
            return DirectPost
    logger.info("requests are sent through aiohttp's session, at up to twice the CPU a call: %s", why)
    return None


def _checked_proxy(proxy: str) -> yarl.URL:
    try:
        url = yarl.URL(proxy)
    except (TypeError, ValueError):
        url = yarl.URL()
    if url.scheme not in {"http", "https"} or not url.host:
        # The value is not repeated: it may hold a password.
        raise ConfigurationError("proxy must be the URL of an HTTP proxy, such as http://proxy.example:3128")
    return url
