"""The part of the client that makes what lives: a method for each way, with its types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from zego_aigc.aiagent import (
    CreateAgentInstance,
    CreatedAgentInstance,
    CreatedDigitalHumanAgentInstance,
    CreateDigitalHumanAgentInstance,
    CreateLiveDigitalHumanAgentInstance,
)
from zego_aigc.calls.request import required_fields
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask
from zego_aigc.errors import ConfigurationError
from zego_aigc.schema.actions import Action
from zego_aigc.schema.construction import slips

if TYPE_CHECKING:
    from zego_aigc.aiagent._keywords import (
        AgentInstanceFields,
        DigitalHumanAgentInstanceFields,
        LiveDigitalHumanAgentInstanceFields,
    )
    from zego_aigc.calls.lifetimes import Lifetimes
    from zego_aigc.digitalhuman._keywords import StreamTaskFields
    from zego_aigc.handles import AgentInstance, Handle, LiveAgentInstance, StreamTaskHandle

__all__ = ["ClientHandles"]

T = TypeVar("T")
ActionT = TypeVar("ActionT", bound=Action[Any])


class ClientHandles:
    """The methods of :class:`zego_aigc.Client` that make handles. These are loaded when the first one is made."""

    _lifetimes: Lifetimes

    def handle(self, create: Action[T], *, fallback: Action[Any] | None = None, owner: str | None = None) -> Handle[T]:
        """Something that lives as long as the ``async with`` block, whichever Action makes it.

        Args:
            create: what to make.
            fallback: what to make in its place if there is none to be had; see :meth:`start`.
            owner: for whom it is made, where there is a registry.

        Raises:
            ConfigurationError: the Action makes nothing that could be ended.
        """
        handle: Handle[T] = self._handle(create, fallback, owner)
        return handle

    def _handle(self, create: Action[Any], fallback: Action[Any] | None, owner: str | None) -> Any:
        from zego_aigc.handles import handle_of

        return handle_of(self._lifetimes, create, fallback, owner)

    @overload
    async def start(
        self,
        create: CreateAgentInstance,
        *,
        fallback: CreateAgentInstance | None = None,
        timeout: float | None = None,
        owner: str | None = None,
    ) -> AgentInstance[CreatedAgentInstance]: ...
    @overload
    async def start(
        self,
        create: CreateDigitalHumanAgentInstance,
        *,
        fallback: None = None,
        timeout: float | None = None,
        owner: str | None = None,
    ) -> AgentInstance[CreatedDigitalHumanAgentInstance]: ...
    @overload
    async def start(
        self,
        create: CreateDigitalHumanAgentInstance,
        *,
        fallback: CreateAgentInstance,
        timeout: float | None = None,
        owner: str | None = None,
    ) -> AgentInstance[CreatedAgentInstance]: ...
    @overload
    async def start(
        self,
        create: CreateLiveDigitalHumanAgentInstance,
        *,
        fallback: None = None,
        timeout: float | None = None,
        owner: str | None = None,
    ) -> LiveAgentInstance: ...
    @overload
    async def start(
        self,
        create: CreateDigitalHumanStreamTask,
        *,
        fallback: None = None,
        timeout: float | None = None,
        owner: str | None = None,
    ) -> StreamTaskHandle: ...
    @overload
    async def start(
        self, create: Action[T], *, fallback: None = None, timeout: float | None = None, owner: str | None = None
    ) -> Handle[T]: ...
    async def start(
        self,
        create: Action[Any],
        *,
        fallback: Action[Any] | None = None,
        timeout: float | None = None,
        owner: str | None = None,
    ) -> Handle[Any]:
        """Make something that outlives the code that made it: until ``await handle.end()``, or :meth:`aclose`.

        ::

            agent = await client.start(CreateDigitalHumanAgentInstance(...), fallback=CreateAgentInstance(...))
            ...                                     # later, perhaps in another request: client.attach(agent.id)
            await agent.end()

        Args:
            create: what to make.
            fallback: what to make in its place if there is none to be had (``QuotaExceeded``), such as a voice agent where
                every digital human is in use; ``handle.fell_back`` says which it is. Then no place in the quota is waited for.
            timeout: deadline of each in seconds, instead of the client's. Waiting for a place in the quota is part of it.
            owner: for whom it is made, where there is a registry.

        Raises:
            QuotaExceeded: there is none to be had.
            ConfigurationError: the Action makes nothing that could be ended.
            ZegoError: as :meth:`call` does.
        """
        handle: Handle[Any] = self._handle(create, fallback, owner)
        await handle.start(timeout=timeout)
        return handle

    @overload
    def attach(self, made_id: str, made_by: None = None) -> AgentInstance[CreatedAgentInstance]: ...
    @overload
    def attach(self, made_id: str, made_by: type[CreateDigitalHumanStreamTask]) -> StreamTaskHandle: ...
    @overload
    def attach(self, made_id: str, made_by: type[CreateLiveDigitalHumanAgentInstance]) -> LiveAgentInstance: ...
    @overload
    def attach(self, made_id: str, made_by: type[Action[T]]) -> Handle[T]: ...
    def attach(self, made_id: str, made_by: type[Action[Any]] | None = None) -> Handle[Any]:
        """A handle for something that lives already, whichever request or process made it.

        Where there is a registry that knows it, it belongs to this process from now on, and has a place in this client's quota,
        which may be overdrawn by it. Otherwise it stays its maker's and has no place here; the handle ends it only when it is
        told to, with ``await handle.end()`` or at the end of an ``async with`` block.

        Args:
            made_id: the AgentInstanceId or TaskId. Nothing is asked: whether it lives shows with the first call.
            made_by: the Action that made it, for the right verbs and types. Unless given, a TaskId is known by its form, and
                anything else is an agent instance.
        """
        from zego_aigc.handles import attached

        return attached(self._lifetimes, made_id, made_by)

    @overload
    def agent(self, create: CreateAgentInstance, *, owner: str | None = None) -> AgentInstance[CreatedAgentInstance]: ...
    @overload
    def agent(
        self, *, owner: str | None = None, **fields: Unpack[AgentInstanceFields]
    ) -> AgentInstance[CreatedAgentInstance]: ...
    def agent(
        self, create: CreateAgentInstance | None = None, *, owner: str | None = None, **fields: Any
    ) -> AgentInstance[CreatedAgentInstance]:
        """A voice agent that lives as long as the ``async with`` block. Entering the block raises what :meth:`call` raises.

        Args:
            create: what to make.
            owner: for whom it is made, where there is a registry.
            fields: those of :class:`~zego_aigc.aiagent.CreateAgentInstance`, in place of `create`.
        """
        handle: AgentInstance[CreatedAgentInstance] = self._handle(_one_of(CreateAgentInstance, create, fields), None, owner)
        return handle

    @overload
    def digital_human_agent(
        self, create: CreateDigitalHumanAgentInstance, *, fallback: None = None, owner: str | None = None
    ) -> AgentInstance[CreatedDigitalHumanAgentInstance]: ...
    @overload
    def digital_human_agent(
        self, create: CreateDigitalHumanAgentInstance, *, fallback: CreateAgentInstance, owner: str | None = None
    ) -> AgentInstance[CreatedAgentInstance]: ...
    @overload
    def digital_human_agent(
        self, *, owner: str | None = None, **fields: Unpack[DigitalHumanAgentInstanceFields]
    ) -> AgentInstance[CreatedDigitalHumanAgentInstance]: ...
    def digital_human_agent(
        self,
        create: CreateDigitalHumanAgentInstance | None = None,
        *,
        fallback: CreateAgentInstance | None = None,
        owner: str | None = None,
        **fields: Any,
    ) -> AgentInstance[Any]:
        """An agent with a digital human's face that lives as long as the ``async with`` block.

        Entering the block raises what :meth:`call` raises.

        Args:
            create: what to make.
            fallback: a voice agent to make where no digital human is to be had; see :meth:`start`.
            owner: for whom it is made, where there is a registry.
            fields: those of :class:`~zego_aigc.aiagent.CreateDigitalHumanAgentInstance`, in place of `create`.
        """
        what = _one_of(CreateDigitalHumanAgentInstance, create, fields)
        handle: AgentInstance[Any] = self._handle(what, fallback, owner)
        return handle

    @overload
    def live_digital_human_agent(
        self, create: CreateLiveDigitalHumanAgentInstance, *, owner: str | None = None
    ) -> LiveAgentInstance: ...
    @overload
    def live_digital_human_agent(
        self, *, owner: str | None = None, **fields: Unpack[LiveDigitalHumanAgentInstanceFields]
    ) -> LiveAgentInstance: ...
    def live_digital_human_agent(
        self, create: CreateLiveDigitalHumanAgentInstance | None = None, *, owner: str | None = None, **fields: Any
    ) -> LiveAgentInstance:
        """A live digital human that lives as long as the ``async with`` block.

        Entering the block raises what :meth:`call` raises.

        Args:
            create: what to make.
            owner: for whom it is made, where there is a registry.
            fields: those of :class:`~zego_aigc.aiagent.CreateLiveDigitalHumanAgentInstance`, in place of `create`.
        """
        what = _one_of(CreateLiveDigitalHumanAgentInstance, create, fields)
        handle: LiveAgentInstance = self._handle(what, None, owner)
        return handle

    @overload
    def stream_task(self, create: CreateDigitalHumanStreamTask, *, owner: str | None = None) -> StreamTaskHandle: ...
    @overload
    def stream_task(self, *, owner: str | None = None, **fields: Unpack[StreamTaskFields]) -> StreamTaskHandle: ...
    def stream_task(
        self, create: CreateDigitalHumanStreamTask | None = None, *, owner: str | None = None, **fields: Any
    ) -> StreamTaskHandle:
        """A digital human's video stream that lives as long as the ``async with`` block.

        Entering the block raises what :meth:`call` raises. The stream comes a moment later: ``await task.streaming()``.

        Args:
            create: what to make.
            owner: for whom it is made, where there is a registry.
            fields: those of :class:`~zego_aigc.digitalhuman.CreateDigitalHumanStreamTask`, in place of `create`.
        """
        handle: StreamTaskHandle = self._handle(_one_of(CreateDigitalHumanStreamTask, create, fields), None, owner)
        return handle


def _one_of(kind: type[ActionT], create: ActionT | None, fields: Mapping[str, Any]) -> ActionT:
    """What a handle makes, given as a struct or by its fields."""
    name = kind.__name__
    if create is None:
        try:
            return kind(**fields)
        except TypeError:
            found = "; ".join(slips(kind, fields))
            raise TypeError(f"{name}(...) cannot be made: {found}" if found else f"{name} cannot be made of {fields}") from None
    if fields:
        raise ConfigurationError(f"give either a {name} or its fields ({', '.join(fields)}), not both")
    if not isinstance(create, kind):  # pyright: ignore[reportUnnecessaryIsInstance] - what no type checker has seen comes, too
        if not isinstance(create, Action):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                f"a handle is made of a {name}, or of its fields by name ({required_fields(kind)}), and not of a "
                f"{type(create).__name__}; {name}.from_wire(body) makes one of a map"
            )
        raise ConfigurationError(
            f"this handle is for a {name}, not for a {type(create).__name__}: client.handle(create) takes any Action that "
            "makes something, and client.agent(), digital_human_agent(), live_digital_human_agent() and stream_task() one each"
        )
    return create
