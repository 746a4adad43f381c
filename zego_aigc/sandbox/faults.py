"""Faults, told as situations: on which calls, and what then goes wrong.

::

    sandbox.faults.on(CreateAgentInstance).times(1).cut_after_work()       # committed, and the answer is lost
    sandbox.faults.on(QueryAgents).after(2).times(3).refuse(410000001)     # the third to the fifth call fail
    sandbox.faults.everywhere().chance(0.1).latency(0.2, jitter=0.1)       # a bad network
    sandbox.faults.on(RegisterAgent).where(lambda request: request.agent_id == "a").answer(502, b"<html>")

Several may meet on one call: delays add up, and of what ends a call, the situation that was told first counts.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.sandbox.refusal import Refusal
from zego_aigc.schema.actions import ACTIONS

if TYPE_CHECKING:
    from zego_aigc.schema.actions import Action

__all__ = ["Effect", "Fault", "Faults", "Situation", "Verb"]

QUOTA_CODES = {
    "CreateAgentInstance": 410000011,
    "CreateDigitalHumanAgentInstance": 410001031,
    "CreateLiveDigitalHumanAgentInstance": 410001031,
    "CreateDigitalHumanStreamTask": 400000008,
}


class Verb(enum.Enum):
    """What goes wrong."""

    LATENCY = "latency"
    WRONG_CLOCK = "wrong_clock"
    ANSWER = "answer"
    REFUSE = "refuse"
    QUOTA_FULL = "quota_full"
    TOO_FAST = "too_fast"
    CUT_BEFORE_WORK = "cut_before_work"
    STALL = "stall"
    CUT_AFTER_WORK = "cut_after_work"
    STALL_AFTER_WORK = "stall_after_work"
    GARBAGE = "garbage"
    TRUNCATED = "truncated"
    OVERSIZE = "oversize"


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """A verb with what it needs."""

    verb: Verb
    seconds: float = 0.0
    jitter: float = 0.0
    status: int = 200
    code: int = 0
    message: str = ""
    body: bytes = b""
    headers: dict[str, str] = {}
    size: int = 0

    def refusal(self, action: str) -> Refusal:
        """What ``refuse`` and ``quota_full`` refuse a call of `action` with."""
        if self.verb is Verb.QUOTA_FULL:
            return Refusal(QUOTA_CODES[action], "the account holds as many as it may")
        return Refusal(self.code, self.message, status=self.status)


class Fault:
    """A situation with its effect, in force until it is used up or removed."""

    def __init__(self, situation: Situation, effect: Effect, remove: Callable[[Fault], None]) -> None:
        self.situation = situation
        self.effect = effect
        self.hits: int = 0
        """How many calls it has struck."""
        self._remove = remove

    def remove(self) -> None:
        """Take it out of force."""
        self._remove(self)

    def strikes(self, action: str, request: Callable[[], Action[Any] | None], random_: random.Random) -> bool:
        """Whether it befalls this call; counts the call."""
        struck = self.situation.matches(action, request, random_)
        self.hits += struck
        return struck

    def to_json(self) -> dict[str, Any]:
        """For the sandbox's page."""
        return {"On": str(self.situation), "Fault": self.effect.verb.value, "Hits": self.hits}

    def __repr__(self) -> str:
        return f"<Fault {self.situation} -> {self.effect.verb.value}, {self.hits} hits>"


class Situation:
    """On which calls something goes wrong; the last word says what."""

    def __init__(self, actions: frozenset[str] | None, add: Callable[[Situation, Effect], Fault]) -> None:
        self._actions = actions
        self._add = add
        self._seen = 0
        self._hits = 0
        self._skip = 0
        self._most: int | None = None
        self._every = 1
        self._chance = 1.0
        self._where: Callable[[Any], bool] | None = None

    # --- when ----------------------------------------------------------------------------------------------------

    def times(self, count: int) -> Situation:
        """At most so many times."""
        self._most = count
        return self

    def after(self, count: int) -> Situation:
        """Only once so many calls have passed unharmed."""
        self._skip = count
        return self

    def every(self, count: int) -> Situation:
        """Every so many calls: ``every(3)`` strikes the third, the sixth..."""
        if count < 1:
            raise ValueError(f"every() takes 1 or more, not {count}")
        self._every = count
        return self

    def chance(self, probability: float) -> Situation:
        """With a probability of 0 to 1, drawn from the faults' seeded randomness."""
        if not 0 <= probability <= 1:
            raise ValueError(f"chance() takes 0 to 1, not {probability}")
        self._chance = probability
        return self

    def where(self, predicate: Callable[[Any], bool]) -> Situation:
        """Only calls whose decoded request satisfies `predicate`."""
        self._where = predicate
        return self

    # --- what ----------------------------------------------------------------------------------------------------

    def latency(self, seconds: float, *, jitter: float = 0.0) -> Fault:
        """The call arrives late, by `seconds` and up to `jitter` more, on the sandbox's clock."""
        return self._then(Effect(verb=Verb.LATENCY, seconds=seconds, jitter=jitter))

    def wrong_clock(self, seconds: float) -> Fault:
        """The service's clock is off by `seconds`: Timestamps are judged by it, and the ``Date`` header shows it."""
        return self._then(Effect(verb=Verb.WRONG_CLOCK, seconds=seconds))

    def refuse(self, code: int, message: str = "", *, status: int = 200) -> Fault:
        """The call is refused with a code. Nothing is done."""
        return self._then(Effect(verb=Verb.REFUSE, code=code, message=message, status=status))

    def quota_full(self) -> Fault:
        """The account's quota is said to be full.

        Raises:
            ValueError: for Actions that no quota counts.
        """
        if self._actions is None or not self._actions <= QUOTA_CODES.keys():
            raise ValueError(f"a quota counts only {', '.join(QUOTA_CODES)}; name one of them with on()")
        return self._then(Effect(verb=Verb.QUOTA_FULL))

    def too_fast(self) -> Fault:
        """The call is refused as one over the rate limit, in the way of its service: see ``app.rate_refusals``."""
        return self._then(Effect(verb=Verb.TOO_FAST))

    def answer(self, status: int, body: bytes = b"", **headers: str) -> Fault:
        """A gateway answers in the service's place, before the work. ``retry_after="1"`` becomes a header."""
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        return self._then(Effect(verb=Verb.ANSWER, status=status, body=body, headers=named))

    def redirect(self, url: str, *, status: int = 307) -> Fault:
        """The call is sent elsewhere."""
        return self.answer(status, location=url)

    def cut_before_work(self) -> Fault:
        """The connection breaks; nothing was done."""
        return self._then(Effect(verb=Verb.CUT_BEFORE_WORK))

    def cut_after_work(self) -> Fault:
        """The work is done, and the connection breaks before the answer."""
        return self._then(Effect(verb=Verb.CUT_AFTER_WORK))

    def stall(self) -> Fault:
        """Nothing is done and no answer comes, while the connection stays open."""
        return self._then(Effect(verb=Verb.STALL))

    def stall_after_work(self) -> Fault:
        """The work is done and no answer comes, while the connection stays open."""
        return self._then(Effect(verb=Verb.STALL_AFTER_WORK))

    def garbage(self, body: bytes = b'<html>\x00\xff{"Code": 0') -> Fault:
        """The work is done, and the answer is unreadable."""
        return self._then(Effect(verb=Verb.GARBAGE, body=body))

    def truncated(self) -> Fault:
        """The work is done, and the connection breaks in the middle of the answer."""
        return self._then(Effect(verb=Verb.TRUNCATED))

    def oversize(self, size: int = 64 << 20) -> Fault:
        """The work is done, and the answer is `size` bytes long."""
        return self._then(Effect(verb=Verb.OVERSIZE, size=size))

    def _then(self, effect: Effect) -> Fault:
        return self._add(self, effect)

    # --- judging -------------------------------------------------------------------------------------------------

    @property
    def used_up(self) -> bool:
        """Whether it has struck as often as it may."""
        return self._most is not None and self._hits >= self._most

    def matches(self, action: str, request: Callable[[], Action[Any] | None], random_: random.Random) -> bool:
        """Whether this call is struck; counts the call."""
        if self.used_up or (self._actions is not None and action not in self._actions):
            return False
        if self._where is not None and ((decoded := request()) is None or not self._where(decoded)):
            return False
        self._seen += 1
        if self._seen <= self._skip or (self._seen - self._skip) % self._every:
            return False
        if self._chance < 1 and random_.random() >= self._chance:
            return False
        self._hits += 1
        return True

    def __str__(self) -> str:
        return "everywhere" if self._actions is None else f"on {', '.join(sorted(self._actions))}"


class Faults:
    """The faults that are in force.

    Args:
        seed: of the randomness behind :meth:`Situation.chance` and jitter.
    """

    def __init__(self, seed: int = 0) -> None:
        self._faults: list[Fault] = []
        self._random = random.Random(seed)  # noqa: S311 - a die, to be thrown the same again

    def on(self, *actions: type[Action[Any]] | str) -> Situation:
        """Calls of these Actions, given by class or by the vendor's name.

        Raises:
            ValueError: for a name that is no Action's, or no Action at all.
        """
        names = frozenset(action if isinstance(action, str) else action.__name__ for action in actions)
        if not names or not names <= ACTIONS.keys():
            unknown = ", ".join(sorted(names - ACTIONS.keys())) or "nothing"
            raise ValueError(f"on() takes Actions, which {unknown} is not; everywhere() means all calls")
        return Situation(names, self._add)

    def everywhere(self) -> Situation:
        """Every call."""
        return Situation(None, self._add)

    def seed(self, seed: int) -> None:
        """Throw the dice anew."""
        self._random.seed(seed)

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._faults.clear()

    def strike(self, action: str, request: Callable[[], Action[Any] | None]) -> list[Effect]:
        """What befalls a call; `request` decodes its body, None if that cannot be done."""
        if not self._faults:
            return []
        struck = [fault.effect for fault in self._faults if fault.strikes(action, request, self._random)]
        self._faults = [fault for fault in self._faults if not fault.situation.used_up]
        return struck

    def delay(self, effect: Effect) -> float:
        """How many seconds a latency takes this time."""
        return effect.seconds + effect.jitter * self._random.random()

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults)

    def __len__(self) -> int:
        return len(self._faults)

    def _add(self, situation: Situation, effect: Effect) -> Fault:
        fault = Fault(situation, effect, self._remove)
        self._faults.append(fault)
        return fault

    def _remove(self, fault: Fault) -> None:
        if fault in self._faults:
            self._faults.remove(fault)
