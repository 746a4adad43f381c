"""The client: a typed ``await`` for every Action of both services."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeVar, Unpack, cast

import msgspec
import yarl

from zego_aigc import environment
from zego_aigc._client_handles import ClientHandles
from zego_aigc.aiagent import (
    RegisterAgent,
    RegisteredAgent,
    UpdateAgent,
)
from zego_aigc.calls import lookup, paging
from zego_aigc.calls.client_options import ClientOptions, check_options
from zego_aigc.calls.creations import Creations
from zego_aigc.calls.endpoint import Endpoint, Endpoints
from zego_aigc.calls.hooks import AttemptEvent, CallEvent, Hooks
from zego_aigc.calls.lifetimes import Inventory, Lifetimes
from zego_aigc.calls.orphans import Orphan, report_orphan
from zego_aigc.calls.register import Register, Sweeper
from zego_aigc.calls.request import RawAction, not_an_action
from zego_aigc.calls.response import Response
from zego_aigc.calls.retry import RetryPolicy
from zego_aigc.calls.route import Route
from zego_aigc.calls.unknown import unknown_advice
from zego_aigc.digitalhuman import DigitalHumanInfo, Timbre
from zego_aigc.errors import AlreadyExists, ConfigurationError, InvalidRequest, OutcomeUnknown, Problem, ZegoError
from zego_aigc.schema.actions import ACTIONS, Action, Repeat, Service
from zego_aigc.schema.construction import note_mistake
from zego_aigc.schema.lifecycle import LIFECYCLES, Recovery
from zego_aigc.schema.missing_names import missing_member
from zego_aigc.schema.naming import did_you_mean
from zego_aigc.schema.redaction import scrub
from zego_aigc.transport.pool import SessionPool

if TYPE_CHECKING:
    import aiohttp

    from zego_aigc.callbacks.events import Event
    from zego_aigc.limits.limiter import Limiter
    from zego_aigc.limits.quota import Quota
    from zego_aigc.schema.lifecycle import Names
    from zego_aigc.storage.registry import LiveRecord, Registry
    from zego_aigc.transport.audio import DriveSSL

__all__ = ["AttemptEvent", "CallEvent", "Client", "Orphan", "Response", "RetryPolicy"]

T = TypeVar("T")
ActionT = TypeVar("ActionT", bound=Action[Any])

AIAGENT_URL = "https://aigc-aiagent-api.zegotech.cn/"
DIGITALHUMAN_URL = "https://aigc-digitalhuman-api.zegotech.cn/"

REGIONS = {
    "sha": "Shanghai",
    "hkg": "Hong Kong",
    "fra": "Frankfurt",
    "lax": "California",
    "bom": "Mumbai",
    "sgp": "Singapore",
}
"""Regional hosts of AI Agent. Digital Human has none that is published."""


class Client(ClientHandles):
    """Calls the AI Agent and Digital Human services of one ZEGOCLOUD project.

    One client serves a whole process: it may be built outside an event loop, any number of tasks may share it, and it is
    closed with ``async with`` or :meth:`aclose`. It stays with one host for each service, since nothing says that an
    instance made through one can be used through another.

    Vendor's page: https://www.zegocloud.com/docs/aiagent-server/calling-the-server-api

    Args:
        app_id: the project's AppId.
        server_secret: the project's ServerSecret.
        callback_secret: the project's CallbackSecret, for :mod:`zego_aigc.callbacks`.
        region: AI Agent's regional host: ``sha``, ``hkg``, ``fra``, ``lax``, ``bom`` or ``sgp``. The vendor chooses
            unless given.
        aiagent_url: base URL of AI Agent, instead of a region.
        digitalhuman_url: base URL of Digital Human; the vendor gives projects overseas one on request.
        limiter: decides when a call may be sent: at most 10 calls a second for each Action unless given.
        quota: budget of live instances, which handles and :func:`zego_aigc.provision` keep to.
        timeout: deadline of a whole call in seconds, waiting for the limiter and retries included.
        proxy: URL of an HTTP proxy.
        session: an aiohttp session to use; it stays open.
        pool: a :class:`~zego_aigc.SessionPool` to share; it stays open. `limiter`, `proxy` and `session` are then the pool's.
        on_orphan: called with what a cancelled create has made or may have made, beside the warning in the log.
        on_attempt: called after each attempt with an ``AttemptEvent``.
        on_result: called after each call with a ``CallEvent``.
        registry: notes what is live, so that what a killed process made is ended by another: a
            :class:`~zego_aigc.SQLiteRegistry` or a :class:`zego_aigc.redis.RedisRegistry`.
        live_per_owner: how many live instances each `owner` may have, where there is a registry.
        retry: how long the client waits between and beside attempts, and how often it tries.
        drive_ssl: how the certificate of the WebSocket of ``task.open_audio()`` is checked, and of nothing else: True as
            usual, an ``ssl.SSLContext`` or ``aiohttp.Fingerprint``, or False for no check.

    Raises:
        ConfigurationError: something is missing, malformed or contradictory; the message says what.
    """

    def __init__(
        self,
        app_id: int,
        server_secret: str,
        *,
        callback_secret: str | None = None,
        region: str | None = None,
        aiagent_url: str | None = None,
        digitalhuman_url: str | None = None,
        limiter: Limiter | None = None,
        quota: Quota | None = None,
        timeout: float = 30.0,
        proxy: str | None = None,
        session: aiohttp.ClientSession | None = None,
        pool: SessionPool | None = None,
        on_orphan: Callable[[Orphan], object] | None = None,
        on_attempt: Callable[[AttemptEvent], object] | None = None,
        on_result: Callable[[CallEvent], object] | None = None,
        retry: RetryPolicy | None = None,
        registry: Registry | None = None,
        live_per_owner: int | None = None,
        drive_ssl: DriveSSL = True,
    ) -> None:
        if pool is not None and (limiter is not None or proxy is not None or session is not None):
            raise ConfigurationError("limiter, proxy and session belong to the pool: give them to SessionPool(...)")
        if region is not None and aiagent_url is not None:
            raise ConfigurationError("give either region or aiagent_url, not both: each names the host of AI Agent")
        check_options(pool=pool, quota=quota, registry=registry, retry=retry)
        self._owns_pool = pool is None
        self.pool: SessionPool = pool if pool is not None else SessionPool(limiter=limiter, proxy=proxy, session=session)
        """Connections, limiter and retry budget."""
        try:
            signer = self.pool.signer(app_id, server_secret)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        self.app_id = app_id
        """The project's AppId."""
        self.callback_secret = callback_secret
        """The secret of callbacks, if it was given: for a ``CallbackRouter``."""
        self.quota = quota
        """The budget of live instances, if there is one."""
        # Nothing below refers back to the client: one that is dropped without aclose() is freed at once, and
        # SessionPool.__del__ runs before aiohttp's own finalizers, which would warn.
        hooks = Hooks(self.pool, on_attempt, on_result)
        policy = retry or RetryPolicy()
        creations = Creations(functools.partial(report_orphan, self.pool, on_orphan))
        self._finder = lookup.Finder()
        look_ups = lookup.look_ups(self._finder)

        def scrubbed(text: str, action: Any) -> str:
            return scrub(text, action.body if isinstance(action, RawAction) else action, server_secret, callback_secret or "")

        def endpoint(url: yarl.URL) -> Endpoint:
            clock = self.pool.clock(str(url.origin()))
            route = Route(
                pool=self.pool,
                signer=signer,
                clock=clock,
                url=url,
                host=url.host or "",
                scrub=scrubbed,
                hooks=hooks,
                policy=policy,
            )
            return Endpoint(route, timeout, look_ups, creations)

        self._endpoints = Endpoints(
            {
                Service.AI_AGENT: endpoint(_base_url("aiagent_url", aiagent_url or _regional_url(region))),
                Service.DIGITAL_HUMAN: endpoint(_base_url("digitalhuman_url", digitalhuman_url or DIGITALHUMAN_URL)),
            }
        )
        account = f"{app_id}@{' '.join(sorted({str(self._endpoints[each].route.url.origin()) for each in Service}))}"
        if live_per_owner is not None and registry is None:
            raise ConfigurationError(
                "live_per_owner needs a registry, which knows what is live: Client(registry=SQLiteRegistry('live.db'), ...)"
            )
        register = None if registry is None else Register(registry, account, per_owner=live_per_owner)
        self._lifetimes = Lifetimes(self._endpoints, policy, Inventory(quota, creations), register, drive_ssl)

    @classmethod
    def from_env(cls, *, env_file: str | os.PathLike[str] | None = None, **options: Unpack[ClientOptions]) -> Client:
        """A client for ``ZEGO_APP_ID`` and ``ZEGO_SERVER_SECRET``.

        ``ZEGO_CALLBACK_SECRET``, ``ZEGO_REGION``, ``ZEGO_AIAGENT_URL`` and ``ZEGO_DIGITALHUMAN_URL`` are taken too where
        they are set. `options` go to :class:`Client` and win.

        Args:
            env_file: a ``.env`` file that has variables, too; those that are set in the environment win. It takes the extra
                ``dotenv``.
            options: as for :class:`Client`.

        Raises:
            ConfigurationError: naming the variables that are missing or malformed, or `env_file` cannot be read.
        """
        environ = os.environ if env_file is None else {**environment.read_env_file(env_file), **os.environ}
        app_id, server_secret = environment.account(environ)
        if unknown := [name for name in options if name not in ClientOptions.__optional_keys__]:
            known = did_you_mean(unknown[0], ClientOptions.__optional_keys__)
            raise TypeError(f"a Client takes no {unknown[0]}{known}")
        found = cast("ClientOptions", environment.options(environ, options))
        found.update(options)
        try:
            return cls(app_id, server_secret, **found)
        except ConfigurationError as error:
            raise ConfigurationError(environment.with_variable(str(error), options)) from None

    @property
    def hosts(self) -> dict[str, str]:
        """The base URL of each service, by the service's name."""
        return {service.value: str(self._endpoints[service].route.url) for service in Service}

    # --- calls

    async def call(
        self,
        action: Action[T],
        *,
        timeout: float | None = None,
        before_send: Callable[[int], Awaitable[None]] | None = None,
        deadline_from: Literal["call", "grant"] = "call",
        background: bool = False,
        owner: str | None = None,
    ) -> T:
        """Send an Action and return its typed result; ``None`` where the vendor returns no data.

        Args:
            action: the request. It is checked first: an invalid one touches neither the network nor the limiter.
            timeout: deadline of the whole call in seconds, instead of the client's.
            before_send: awaited with the number of the attempt (from 1) once the limiter has granted it and before its
                first byte leaves: the place to note an intent durably. What it raises ends the call. A create with a
                `before_send` keeps books of its own and is not noted in the registry.
            deadline_from: ``"grant"`` lets the deadline start when the limiter grants the first attempt, for callers that
                queue more than a deadline's worth of calls.
            background: whether calls of the same Action may go first at the limiter: for work that no person waits for. While
                it waits, at least one call in ten is of the background.
            owner: for whom something is made, where there is a registry.

        Raises:
            InvalidRequest: the request breaks documented rules; nothing was sent.
            TooManyLive: the owner has as many live instances as it may have; nothing was sent.
            RegistryError: the registry cannot be used; nothing was sent, or what was made has been ended.
            ApiError: the service refused; the subclass and ``code`` say why.
            ConnectFailed: no connection; nothing was sent.
            TimedOut: the deadline passed, and either nothing was sent or a repeat is harmless.
            BadResponse: the answer is not the service's, and a repeat is harmless.
            TransportError: the connection broke, and a repeat is harmless.
            OutcomeUnknown: the work may have been done, and a repeat could do it twice.
            ConfigurationError: the client is closed, or used from another event loop.
        """
        lifetimes = self._lifetimes
        if lifetimes.register is not None and action.lifecycle is not None and before_send is None:
            return await lifetimes.create(
                action,
                lifetimes.inventory.creations,
                timeout=timeout,
                deadline_from=deadline_from,
                background=background,
                owner=owner,
            )
        # Not Endpoint.call(), which would be one coroutine frame more for each of the thousands that may be queued.
        return (
            await lifetimes.caller.of(action)
            .prepare(action, timeout=timeout, before_send=before_send, deadline_from=deadline_from, background=background)
            .run()
        )

    async def call_with_response(
        self,
        action: Action[T],
        *,
        timeout: float | None = None,
        before_send: Callable[[int], Awaitable[None]] | None = None,
        deadline_from: Literal["call", "grant"] = "call",
        background: bool = False,
    ) -> Response[T]:
        """Send an Action, and return its result with RequestId, headers, number of attempts, seconds taken and raw ``Data``.

        Arguments and errors are those of :meth:`call`. What it creates is not noted in the client's registry.
        """
        return await self._endpoints.of(action).call_with_response(
            action, timeout=timeout, before_send=before_send, deadline_from=deadline_from, background=background
        )

    async def call_raw(
        self,
        name: str,
        body: Mapping[str, Any],
        *,
        service: Service | None = None,
        repeat: Repeat = Repeat.ONCE,
        timeout: float | None = None,
    ) -> Any:
        """Send an Action that the library may never have heard of, with a body in wire form, unchecked.

        Args:
            name: the vendor's Action name.
            body: the JSON object to send.
            service: which service answers it; may be left out for an Action that the library knows.
            repeat: how a lost answer may be handled; the safe choice unless given. ``CREATES`` cannot be looked up here.
            timeout: deadline of the whole call in seconds.

        Returns:
            The answer's ``Data`` as plain JSON; None where there is none.

        Raises:
            ZegoError: as :meth:`call` does.
        """
        if not (isinstance(name, str) and name.isascii() and name.isalnum()):  # pyright: ignore[reportUnnecessaryIsInstance] - an Action comes, too
            raise ConfigurationError(
                f"{name!r} cannot be the name of an Action, which consists of letters and digits: write "
                "client.call_raw('ListAgents', {...}), or client.call(ListAgents(...)) for an Action of this library"
            )
        if not isinstance(body, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - an Action comes, too
            raise ConfigurationError(
                f"a body is a map in the vendor's form, such as {{'AgentId': 'a'}}, not a {type(body).__name__}: "
                "what client.call() takes goes there, or .to_wire() makes a map of it"
            )
        if service is None:
            if name not in ACTIONS:
                raise ConfigurationError(
                    f"{name} is not an Action that this library knows{did_you_mean(name, ACTIONS)} "
                    "For a newer one, say which service answers it: service=Service.AI_AGENT or Service.DIGITAL_HUMAN"
                )
            service = ACTIONS[name].service
        try:
            encoded = msgspec.json.encode(body)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequest([Problem("", "encoding", f"cannot be written as JSON: {error}")], action=name) from error
        return await self._endpoints[service].prepare_raw(name, body, encoded, repeat, timeout).run()

    async def look_up(self, action: Action[T], *, not_before: float | None = None) -> T | None:
        """Find what a create whose outcome is unknown has made.

        Args:
            action: a :class:`~zego_aigc.digitalhuman.CreateDigitalHumanStreamTask`.
            not_before: Unix time in seconds of the first attempt by this machine's clock: an older task on the same room and
                stream is somebody else's.

        Returns:
            What :meth:`call` would have returned, or None if it was not made. For a RegisterAgent, which returns None either
            way, ask :meth:`is_registered`.

        Raises:
            OutcomeUnknown: the vendor has no look-up for this Action.
            ConfigurationError: it is a RegisterAgent.
            ZegoError: the look-up itself failed.
        """
        if not isinstance(action, Action):  # pyright: ignore[reportUnnecessaryIsInstance] - a class or a name comes, too
            raise not_an_action(action)
        name, life = type(action).__name__, action.lifecycle
        if life is not None and life.recovery is Recovery.COMPARE:
            raise ConfigurationError(f"{name} returns None whether it was carried out or not: ask client.is_registered()")
        if life is None or life.recovery is not Recovery.FIND:
            advice = unknown_advice(action)
            raise OutcomeUnknown(f"the vendor has no look-up for {name}. {advice}", action=action, advice=advice)
        made_id = await self.find(name, life.names(action), not_before=not_before)
        return None if made_id is None else type(action).result(**{life.id_field: made_id})

    async def find(self, action: str, names: Names, *, not_before: float | None = None) -> str | None:
        """The id of what a create has made, as :meth:`look_up` finds it; None if nothing.

        Args:
            action: the create's name, such as ``"CreateDigitalHumanStreamTask"``.
            names: the ids that it was given, as its lifecycle's ``names()`` returns them.
            not_before: as for :meth:`look_up`.

        Raises:
            ZegoError: the look-up failed.
        """
        age = float("inf") if not_before is None else time.time() - not_before
        life, endpoint = LIFECYCLES[action], self._endpoints[ACTIONS[action].service]
        return await self._finder.find(endpoint, life, names, sent=time.monotonic() - age)

    async def is_registered(self, action: Action[None]) -> bool | None:
        """Whether the agent under the Action's id is registered just as the Action says; None if there is no such agent."""
        return await lookup.is_as_sent(self._endpoints.of(action), action)

    async def ensure_agent(self, register: RegisterAgent) -> bool:
        """Have an agent registered just as the Action says: register it, or update it where it differs.

        Several processes may do so at the same time, with the same Action. What the service masks (an API key, for instance) is
        taken for unchanged: update an agent by :class:`~zego_aigc.aiagent.UpdateAgent` after such a change.

        Returns:
            Whether anything was changed.

        Raises:
            InvalidRequest: the request breaks documented rules, or its name is longer than an update takes.
            ZegoError: as :meth:`call` does.
        """
        registered = await self.is_registered(register)
        if registered is None:
            try:
                await self.call(register)
            except AlreadyExists:  # another process was faster
                registered = await self.is_registered(register)
            else:
                return True
        if registered:
            return False
        await self.call(
            UpdateAgent(
                agent_id=register.agent_id,
                name=register.name,
                llm=register.llm,
                tts=register.tts,
                asr=register.asr,
                extra=register.extra,
            )
        )
        return True

    async def warmup(self, *, connections: int = 1, timeout: float = 10.0) -> None:
        """Open connections to both services ahead of the first call.

        Args:
            connections: how many for each service and kind of call.
            timeout: seconds.

        Raises:
            ConnectFailed: a host cannot be reached.
            TimedOut: it takes longer than `timeout`.
        """
        await self.pool.warmup({endpoint.route.url for endpoint in self._endpoints.values()}, connections, timeout)

    # --- what lives; for what makes it, see ClientHandles

    async def end(self, identity: str, action: Action[None]) -> ZegoError | None:
        """Delete or stop something, whatever happens to the caller meanwhile; what is gone already counts as ended.

        What cannot be ended is tried once more by :meth:`aclose`.

        Args:
            identity: the AgentInstanceId or TaskId.
            action: what ends it.

        Returns:
            Why it could not be ended, or None.
        """
        return await self._lifetimes.end_by_id(identity, action)

    async def observe(self, event: Event) -> None:
        """Take note of a callback: what it says of an instance, a stream task or a drive.

        It lets ``agent.joined()``, ``agent.events()`` and ``audio.finished()`` know, frees the place in the
        :class:`~zego_aigc.Quota` of what has ended by itself, spares :meth:`aclose` ending it, and reports to ``on_orphan`` the
        id of an agent instance whose creation by a handle ended in an unknown outcome. Register it with a router::

            router.on(Event)(client.observe)
        """
        await self._lifetimes.observe(event)

    # --- the registry

    async def live(self) -> Sequence[LiveRecord]:
        """What the registry knows to be live, or not known to have ended, of all processes, oldest first.

        Raises:
            ConfigurationError: the client has no registry.
            RegistryError: it cannot be read.
        """
        return await self._registered().live()

    async def sweep(self) -> Sequence[LiveRecord]:
        """End what dead processes left, now. A client with a registry does so by itself, three times a lease.

        A process is dead when it has shown no sign of life for a lease, as seen from here: a client that has just been made
        has to look on for that long first.

        Returns:
            the records of what was ended.

        Raises:
            ConfigurationError: the client has no registry.
            RegistryError: it cannot be used.
        """
        return await self._registered().sweep()

    def _registered(self) -> Sweeper:
        if self._lifetimes.sweeper is None:
            raise ConfigurationError("the client has no registry: make it with Client(registry=SQLiteRegistry('live.db'))")
        self.pool.bind()
        return self._lifetimes.sweeper

    # --- closing

    async def aclose(self, *, drain: float = 5.0, live: Literal["end", "leave"] = "end") -> list[str]:
        """Close the client. A pool that was given stays open.

        Handles that are open are ended, and so are those that are being made, once they are; what could not be ended is tried
        once more, callers that wait for a place in the quota are refused, and calls that make things get as long to come to an
        end.

        Args:
            drain: seconds that each may take, beside the time that the limiter's queue takes.
            live: what to do with what this process has in the registry: ``"end"`` it, or ``"leave"`` it to the process that
                follows, which may attach to it for a minute; then it is ended.

        Returns:
            The AgentInstanceIds and TaskIds of what could not be ended: it bills until it ends by itself.
        """
        cancelled = await self._lifetimes.finish(drain, end=live == "end")
        if self._owns_pool:
            await self.pool.aclose(drain=drain)
        if cancelled is not None:
            raise cancelled
        return self._lifetimes.unended

    # --- lists

    def list_agents(self, *, page: int | None = None) -> AsyncIterator[RegisteredAgent]:
        """Every registered agent: ``async for agent in client.list_agents()``. `page` is how many come at a time, 1 to 10."""
        return paging.agents(self._endpoints, page)

    def list_digital_humans(self, *, fetch_mode: int | None = None, page: int | None = None) -> AsyncIterator[DigitalHumanInfo]:
        """Every digital human of the project: all, or with `fetch_mode` 2 the public and with 3 the private ones."""
        return paging.digital_humans(self._endpoints, fetch_mode, page)

    def list_timbres(self, digital_human_id: str | None = None, *, page: int | None = None) -> AsyncIterator[Timbre]:
        """Every public timbre, or those that are bound to a digital human."""
        return paging.timbres(self._endpoints, digital_human_id, page)

    async def __aenter__(self) -> Self:
        self.pool.bind()
        if self._lifetimes.sweeper is not None:
            await self._lifetimes.sweeper.start()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        note_mistake(error)
        await self.aclose()

    if not TYPE_CHECKING:  # to a type checker, what is not there stays the mistake that it is

        def __getattr__(self, name: str) -> NoReturn:
            raise missing_member(type(self), name, actions=ACTIONS)

        def __enter__(self) -> NoReturn:
            raise TypeError("a Client is asynchronous: use 'async with Client(...) as client'")

        def __exit__(self, *_: object) -> None: ...  # a with statement looks for it first

    def __repr__(self) -> str:
        return f"Client(app_id={self.app_id}, hosts={self.hosts})"


def _regional_url(region: str | None) -> str:
    if region is None:
        return AIAGENT_URL
    if region.lower() not in REGIONS:
        known = ", ".join(f"{short} ({place})" for short, place in REGIONS.items())
        raise ConfigurationError(f"region {region!r} is not known; there are {known}")
    return f"https://aigc-aiagent-api-{region.lower()}.zegotech.cn/"


def _base_url(name: str, value: str) -> yarl.URL:
    try:
        url = yarl.URL(value)
    except ValueError:
        url = yarl.URL()
    if url.scheme not in {"http", "https"} or not url.host or url.query_string or url.fragment or url.user:
        # The value is not repeated: it may hold a password.
        raise ConfigurationError(
            f"{name} must be an http or https URL of a host, such as {AIAGENT_URL}: without credentials, query and fragment"
        )
    return url.with_path(url.path)  # "https://host" and "https://host/" are one
