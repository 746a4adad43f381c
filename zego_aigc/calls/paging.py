"""Lists that page themselves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Generic, NoReturn, ParamSpec, Self, TypeVar

from zego_aigc.aiagent import ListAgents, RegisteredAgent
from zego_aigc.digitalhuman import DigitalHumanInfo, GetDigitalHumanList, GetTimbreList, Timbre
from zego_aigc.errors import ConfigurationError

if TYPE_CHECKING:
    from zego_aigc.calls.caller import Caller

__all__ = ["Listing", "agents", "digital_humans", "timbres"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")


class Listing(AsyncIterator[T_co], Generic[T_co]):
    """What a list yields, page after page: an asynchronous iterator that says so to whoever takes it for a list."""

    def __init__(self, pages: AsyncGenerator[T_co, None]) -> None:
        self._pages = pages

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[T_co]:
        return self._pages.__anext__()

    async def aclose(self) -> None:
        """End it before its end."""
        await self._pages.aclose()

    if not TYPE_CHECKING:  # to a type checker, these stay the mistakes that they are

        def _not_a_list(self, *_: object) -> NoReturn:
            raise ConfigurationError(
                "a list comes page by page: write 'async for each in ...', '[each async for each in ...]' for all of it, "
                "or 'await anext(...)' for the first"
            )

        __iter__ = __await__ = __getitem__ = __len__ = __enter__ = __aenter__ = _not_a_list


def _listing(pages: Callable[P, AsyncGenerator[T, None]]) -> Callable[P, Listing[T]]:
    @wraps(pages)
    def listing(*args: P.args, **kwargs: P.kwargs) -> Listing[T]:
        return Listing(pages(*args, **kwargs))

    return listing


@_listing
async def agents(caller: Caller, page: int | None) -> AsyncGenerator[RegisteredAgent, None]:
    """Every registered agent, by cursor."""
    cursor = ""
    while True:
        found = await caller.call(ListAgents(limit=page, cursor=cursor or None))
        for agent in found.agents:
            yield agent
        # An unchanged cursor would ask for the same page for ever.
        if not found.cursor or found.cursor == cursor:
            return
        cursor = found.cursor


@_listing
async def digital_humans(caller: Caller, fetch_mode: int | None, page: int | None) -> AsyncGenerator[DigitalHumanInfo, None]:
    """Every digital human, by offset."""
    offset, total = 0, 1
    while offset < total:
        found = await caller.call(GetDigitalHumanList(fetch_mode=fetch_mode, offset=offset, limit=page))
        for digital_human in found.digital_humans:
            yield digital_human
        offset, total = offset + len(found.digital_humans), found.total if found.digital_humans else 0


@_listing
async def timbres(caller: Caller, digital_human_id: str | None, page: int | None) -> AsyncGenerator[Timbre, None]:
    """Every timbre, by offset."""
    offset, total = 0, 1
    while offset < total:
        found = await caller.call(GetTimbreList(digital_human_id=digital_human_id, offset=offset, limit=page))
        for timbre in found.timbres:
            yield timbre
        offset, total = offset + len(found.timbres), found.total if found.timbres else 0
