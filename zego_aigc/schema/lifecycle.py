"""What an Action begins: what lives after it, for how long, how it is found again, and what ends it. Pure.

An Action that makes something declares it once, as its class variable ``lifecycle``. Quotas, handles, look-ups of lost creates,
provisioning, teardown and the sandbox read it from there: none of them knows an Action by its name.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import msgspec

from zego_aigc.schema.naming import wire

__all__ = [
    "LIFECYCLES",
    "Lifecycle",
    "Listing",
    "Names",
    "QuotaKind",
    "Recovery",
    "StatusQuery",
    "makers_of",
    "names_in",
]

QuotaKind = Literal["agents", "digital_humans", "streams"]
"""What a budget of live instances counts: voice instances, digital human instances (live ones too), stream tasks."""


class Recovery(enum.Enum):
    """How to find out what a create whose answer was lost has made, and what a refusal as taken means then."""

    if not TYPE_CHECKING:  # which would have it declared as Enum's is
        __hash__ = object.__hash__  # Enum's is written in Python, and calls of creates ask for it

    COMPARE = enum.auto()
    """The service shows what it keeps under the id that the request chose: ours if that is what was sent. Taken on a first
    attempt, it is somebody else's, and may be kept or updated."""
    FIND = enum.auto()
    """The service lists what lives: ours if it is on the request's room and stream and no older than its first attempt."""
    RESEND = enum.auto()
    """The service cannot be asked, but refuses a resend as taken while what the first attempt made lives. That proves that
    it lives; its id comes only by a callback."""
    WAIT = enum.auto()
    """Only a callback or time can tell. A resend is not refused: it kicks what the first attempt made, or makes another."""


class Names(NamedTuple):
    """The names in a request that must be unique, or that refer to something."""

    agent_id: str | None = None
    stream_id: str | None = None
    """The stream that is published."""
    agent_user_id: str | None = None
    user_id: str | None = None
    """The real user."""
    room_id: str | None = None


class Listing(msgspec.Struct, frozen=True):
    """An Action whose result lists what lives."""

    query: type[Any]
    items: str
    """Where the list stands in its result."""
    ids: str | None = None
    """The field that takes the ids to ask about; None if the Action lists everything."""
    batch: int = 10
    """How many ids it takes."""

    def ask(self, ids: Sequence[str] = ()) -> Any:
        """The request."""
        return self.query(**{self.ids: list(ids)}) if self.ids else self.query()

    def of(self, result: Any) -> Sequence[Any]:
        """What it lists."""
        items: Sequence[Any] = getattr(result, self.items)
        return items


class StatusQuery(msgspec.Struct, frozen=True):
    """An Action that asks about one by its id; its result has a ``status``."""

    query: type[Any]
    starting: tuple[str, ...] = ()
    """The statuses of what is on its way up, where that takes a while that can be waited for."""
    running: tuple[str, ...] = ()
    """The statuses of what is up. Empty if whatever can be asked about lives."""

    def lives(self, status: str) -> bool:
        """Whether that is the status of something that lives."""
        return not self.running or status in self.running or status in self.starting


class Lifecycle(msgspec.Struct, frozen=True, kw_only=True):
    """How what an Action makes lives and ends. Paths are attribute paths in the request, such as ``rtc.room_id``."""

    makes: str
    """What it is, in words. Which kind of handle serves it follows from this."""
    id_field: str
    """The field that identifies it: in the result, or in the request; and in the Actions that end it and ask about it."""
    id_in_request: bool = False
    """Whether the request chooses the id. Otherwise the result gives it."""
    ended_by: type[Any]
    """The Action that ends it."""
    removal_phase: int = 0
    """What has a lower number is removed first: instances before the agents that they use."""

    quota: QuotaKind | None = None
    """The budget that it counts against; None if there may be as many as one likes."""
    full_codes: tuple[int, ...] = ()
    """The return codes that say that the budget is used up. The first is the documented one."""

    max_idle_time: int | None = None
    """The seconds after which it ends by itself while nobody uses it, where the request sets none; None if it stays."""
    max_idle_time_path: str = "max_idle_time"
    ttl: int | None = None
    """The seconds after which it ends in any case, where the request sets none; None if there is no such end."""
    ttl_path: str = "ttl"

    recovery: Recovery
    listing: Listing | None = None
    """What lists it."""
    status: StatusQuery | None = None
    """What asks about one."""
    updated_by: type[Any] | None = None
    """The Action that makes one that exists what the request says; it has the same fields."""

    paths: Names = Names()
    """Where the request's names stand."""
    unique: tuple[str, ...] = ()
    """Which of the names no two may share. The first one names an entry of a fleet."""

    @property
    def lane(self) -> str:
        """What is ended by the same Action shares that Action's rate limit, and so a lane of the teardown."""
        return self.ended_by.__name__

    def end(self, made_id: str) -> Any:
        """The request that ends one."""
        return self.ended_by(**{self.id_field: made_id})

    def ask(self, made_id: str) -> Any:
        """The request that asks about one; there must be a :attr:`status` query."""
        assert self.status is not None
        return self.status.query(**{self.id_field: made_id})

    def id_of(self, action: Any, result: Any) -> str:
        """The id of what was made."""
        made_id: str = getattr(action if self.id_in_request else result, self.id_field)
        return made_id

    def idle_time(self, action: Any) -> int | None:
        """After how many seconds without use it ends by itself; None if it stays."""
        return None if self.max_idle_time is None else _at(action, self.max_idle_time_path) or self.max_idle_time

    def longest_life(self, action: Any) -> float:
        """After how many seconds it ends in any case."""
        return math.inf if self.ttl is None else _at(action, self.ttl_path) or self.ttl

    def names(self, action: Any) -> Names:
        """The names in a request."""
        return Names._make([_at(action, path) if path else None for path in self.paths])

    def name_in_wire(self, body: Any) -> Any:
        """In a body in wire form that need not be valid: what stands where the first unique name should."""
        value: Any = body
        for key in self.wire_path(self.unique[0]).split(".") if self.unique else ():
            value = cast("Mapping[str, Any]", value).get(key) if isinstance(value, Mapping) else None
        return value

    def wire_path(self, name: str) -> str:
        """Where one of :class:`Names` stands, as a path in wire form."""
        path: str = getattr(self.paths, name) or name
        return ".".join(map(wire, path.split(".")))


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


LIFECYCLES: dict[str, Lifecycle] = {}
"""The lifecycle of every Action that makes something, by the Action's name."""


def makers_of(kind: QuotaKind | str) -> Iterator[tuple[str, Lifecycle]]:
    """The Actions that draw on a budget, with what they declare."""
    return ((name, life) for name, life in LIFECYCLES.items() if life.quota == kind)


def names_in(action: Any) -> Names:
    """The names in a request, whichever Action it is. What makes nothing may still refer to an agent and to a user."""
    life: Lifecycle | None = action.lifecycle
    if life is not None:
        return life.names(action)
    return Names(agent_id=getattr(action, "agent_id", None), user_id=getattr(action, "user_id", None))
