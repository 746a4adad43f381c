"""What a client's creates made or may have made, as far as answers and callbacks say."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from zego_aigc.aiagent import CreatedAgentInstance
from zego_aigc.calls.orphans import Orphan

if TYPE_CHECKING:
    from zego_aigc.schema.actions import Action
    from zego_aigc.schema.lifecycle import Lifecycle

__all__ = ["Birth", "Creation", "Creations", "result_of"]

MAX_REMEMBERED = 10_000
"""Ids that are remembered although what they name may have ended: its callbacks may come late."""

MAX_UNKNOWN = 1_000
"""Unknown outcomes that are remembered; the oldest are forgotten first."""

MAX_UNCLAIMED = 1_000
"""Callbacks that are kept until it is clear which create they belong to."""


class HasNames(Protocol):
    """The names in a request, or in a record of one."""

    @property
    def room_id(self) -> str | None: ...
    @property
    def agent_id(self) -> str | None: ...
    @property
    def agent_user_id(self) -> str | None: ...
    @property
    def stream_id(self) -> str | None: ...


class Birth(msgspec.Struct, frozen=True):
    """What a callback says of something that lives. What it does not say is None or empty."""

    made_id: str
    """The AgentInstanceId or TaskId."""
    room_id: str | None = None
    agent_id: str | None = None
    agent_user_id: str | None = None
    stream_id: str | None = None

    def may_be_of(self, names: HasNames) -> bool:
        """Whether it may speak of what was made under these names: it contradicts none of them."""
        said = self.room_id, self.agent_id or names.agent_id, self.stream_id or names.stream_id
        if not self.room_id or said != (names.room_id, names.agent_id, names.stream_id):
            return False
        # The client pages call the room's user of a digital human ai_agent_<AgentInstanceId>, whatever was asked for.
        return not self.agent_user_id or self.agent_user_id in {names.agent_user_id, f"ai_agent_{self.made_id}"}


class Creation:
    """One create, from before its first byte until it is known what it made.

    A call reports here; see :class:`zego_aigc.calls.create_guard.Creation`. Handles derive from it.
    """

    __slots__ = ("_creations", "action", "expires_at", "lifecycle")

    expires_at: float
    """When what it may have made has ended by itself (monotonic), once its outcome is unknown."""

    def __init__(self, creations: Creations, action: Any, lifecycle: Lifecycle | None) -> None:
        self.action: Any = action
        """The struct, or the :class:`~zego_aigc.calls.request.RawAction`."""
        self.lifecycle: Lifecycle | None = lifecycle
        """How what it makes lives, if that is known."""
        self._creations = creations

    def made(self, result: Any) -> None:
        """It was carried out, and that was its result."""
        life = self.lifecycle
        if life is None or life.quota is None:  # callbacks speak only of what counts against a quota
            self._creations.settle(self)
        else:
            self._creations.settle(self, life.id_of(self.action, result))

    def not_made(self) -> None:
        """It was not carried out."""
        self._creations.settle(self)

    def unknown(self) -> None:
        """It may or may not have been carried out."""
        self.expires_at = self._creations.clock() + self.lives_unseen
        self._creations.lose(self)

    def orphaned(self, orphan: Orphan) -> None:
        """Its caller was cancelled, and will not hear what it made or may have made."""
        if orphan.certain:
            self.made(orphan.result)
        else:
            self.unknown()
        self._creations.report(orphan)

    def found(self, result: Any) -> None:
        """A callback shows that it was carried out although its outcome was unknown. Of the result only the id is known."""
        self._creations.report(Orphan(self.action, result, certain=True), why="was not answered")

    def may_have_made(self, birth: Birth) -> bool:
        """Whether a callback may speak of what it made."""
        return self.lifecycle is not None and birth.may_be_of(self.lifecycle.names(self.action))

    @property
    def lives_unseen(self) -> float:
        """Seconds after which what it may have made has ended by itself."""
        life = self.lifecycle
        return math.inf if life is None else life.idle_time(self.action) or life.longest_life(self.action)


class Creations:
    """Joins callbacks to creates whose answer was lost.

    A callback comes within a second, a lost answer is given up after many: so creates are candidates from before their first
    byte, and a callback that may belong to one that is under way is kept until that is answered. What is known to belong to
    another create (a handle's, a later call's) is never taken for what a lost one made.

    Args:
        report: called with an :class:`Orphan` for what no code of the caller's will end.
        clock: seconds, never running backwards.
    """

    def __init__(self, report: Callable[..., object], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock: Callable[[], float] = clock
        self.report: Callable[..., object] = report
        self._under_way: set[Creation] = set()
        self._unknown: dict[Creation, None] = {}  # in the order in which they became so
        self._known: OrderedDict[str, None] = OrderedDict()
        self._unclaimed: OrderedDict[str, Birth] = OrderedDict()

    def begin(self, action: Any) -> Creation:
        """A create by a bare call is about to be sent."""
        creation = Creation(self, action, action.lifecycle)
        self._under_way.add(creation)
        return creation

    def add(self, creation: Creation) -> None:
        """A create is about to be sent: from now on callbacks may belong to it."""
        self._under_way.add(creation)

    def settle(self, creation: Creation, made_id: str | None = None) -> None:
        """A create is over: it has made this, or nothing that callbacks speak of."""
        self._under_way.discard(creation)
        if made_id is not None:
            self.know(made_id)
        if self._unclaimed:
            self._match()

    def lose(self, creation: Creation) -> None:
        """A create is over, and may have made something."""
        self._under_way.discard(creation)
        if creation.lifecycle is not None and creation.lifecycle.quota is not None:
            self._unknown[creation] = None
            if len(self._unknown) > MAX_UNKNOWN:
                self._unknown.pop(next(iter(self._unknown)))
        if self._unclaimed:
            self._match()

    def know(self, made_id: str) -> None:
        """It is known whose that is."""
        if self._unclaimed:
            self._unclaimed.pop(made_id, None)
        self._known[made_id] = None
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    def observe(self, birth: Birth) -> None:
        """A callback shows that something lives."""
        if birth.made_id in self._known:
            return
        self._unclaimed[birth.made_id] = birth
        if len(self._unclaimed) > MAX_UNCLAIMED:
            self._unclaimed.popitem(last=False)
        self._match()

    def ended(self, made_id: str) -> None:
        """Something has ended: it is not to be found any more."""
        self._unclaimed.pop(made_id, None)

    def _match(self) -> None:
        now = self.clock()
        for creation in [creation for creation in self._unknown if creation.expires_at <= now]:
            del self._unknown[creation]
        for made_id, birth in list(self._unclaimed.items()):
            if any(creation.may_have_made(birth) for creation in self._under_way):
                continue  # its answer will tell
            lost = [creation for creation in self._unknown if creation.may_have_made(birth)]
            if len(lost) == 1:
                del self._unknown[lost[0]]
                self.know(made_id)
                lost[0].found(result_of(lost[0].action.__class__, made_id))


def result_of(made_by: type[Action[Any]], made_id: str) -> Any:
    """What is known of the result of a create if only the id of what it made is."""
    life = made_by.lifecycle
    assert life is not None
    result: Any = made_by.result
    # The result of a digital human's create has a configuration, too.
    kind: Any = CreatedAgentInstance if issubclass(result, CreatedAgentInstance) else result
    return kind(**{life.id_field: made_id})
