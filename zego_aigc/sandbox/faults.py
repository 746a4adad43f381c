"""Faults as rules: on which calls, and what then goes wrong.

::

    sandbox.faults.on(CreateAgentInstance).times(1).cut_after_work()       # committed, and the answer is lost
    sandbox.faults.on(QueryAgents).after(2).times(3).refuse(410000001)     # the third to the fifth call fail
    sandbox.faults.everywhere().chance(0.1).latency(0.2, jitter=0.1)       # a bad network
    sandbox.faults.on(RegisterAgent).where(lambda request: request.agent_id == "a").answer(502, b"<html>")

Several may meet on one call: delays add up, and of those that end a call, the rule that was added first counts.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.sandbox.refusal import Refusal
from zego_aigc.schema.actions import ACTIONS
from zego_aigc.schema.lifecycle import LIFECYCLES
from zego_aigc.schema.missing_names import missing_member

if TYPE_CHECKING:
    from zego_aigc.schema.actions import Action

__all__ = ["Fault", "FaultEffect", "FaultKind", "FaultRule", "Faults"]


class FaultKind(enum.Enum):
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


class FaultEffect(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of fault with its parameters."""

    kind: FaultKind
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
        if self.kind is FaultKind.QUOTA_FULL:
            return Refusal(LIFECYCLES[action].full_codes[0], "the account holds as many as it may")
        return Refusal(self.code, self.message, status=self.status)


class Fault:
    """A rule with its effect, in force until it is used up or removed."""

    def __init__(self, rule: FaultRule, effect: FaultEffect, remove: Callable[[Fault], None]) -> None:
        self.rule = rule
        self.effect = effect
        self.hits: int = 0
        """How many calls it has applied to."""
        self._remove = remove

    def remove(self) -> None:
        """Take it out of force."""
        self._remove(self)

    def applies(self, action: str, request: Callable[[], Action[Any] | None], random_: random.Random) -> bool:
        """Whether it applies to this call; counts the call."""
        matched = self.rule.matches(action, request, random_)
        self.hits += matched
        return matched

    def to_json(self) -> dict[str, Any]:
        """For the sandbox's page."""
        return {"On": str(self.rule), "Fault": self.effect.kind.value, "Hits": self.hits}

    def __repr__(self) -> str:
        return f"<Fault {self.rule} -> {self.effect.kind.value}, {self.hits} hits>"


class FaultRule:
    """On which calls something goes wrong; its last method says what."""

    def __init__(self, actions: frozenset[str] | None, add: Callable[[FaultRule, FaultEffect], Fault]) -> None:
        self._actions = actions
        self._add = add
        self._seen = 0
        self._hits = 0
        self._skip = 0
        self._times: int | None = None
        self._every = 1
        self._chance = 1.0
        self._where: Callable[[Any], bool] | None = None

    # --- when ----------------------------------------------------------------------------------------------------

    def times(self, count: int) -> FaultRule:
        """At most so many times."""
        self._times = count
        return self

    def after(self, count: int) -> FaultRule:
        """Only once so many calls have passed unharmed."""
        self._skip = count
        return self

    def every(self, count: int) -> FaultRule:
        """Every so many calls: ``every(3)`` applies to the third, the sixth...

        Raises:
            ValueError: `count` is less than 1.
        """
        if count < 1:
            raise ValueError(f"every() takes 1 or more, not {count}")
        self._every = count
        return self

    def chance(self, probability: float) -> FaultRule:
        """With a probability of 0 to 1, drawn from the faults' seeded randomness.

        Raises:
            ValueError: `probability` is out of that range.
        """
        if not 0 <= probability <= 1:
            raise ValueError(f"chance() takes 0 to 1, not {probability}")
        self._chance = probability
        return self

    def where(self, predicate: Callable[[Any], bool]) -> FaultRule:
        """Only calls whose decoded request satisfies `predicate`."""
        self._where = predicate
        return self

    # --- what ----------------------------------------------------------------------------------------------------

    def latency(self, seconds: float, *, jitter: float = 0.0) -> Fault:
        """The call arrives late, by `seconds` and up to `jitter` more, on the sandbox's clock."""
        return self._then(FaultEffect(kind=FaultKind.LATENCY, seconds=seconds, jitter=jitter))

    def wrong_clock(self, seconds: float) -> Fault:
        """The service's clock is off by `seconds`: Timestamps are judged by it, and the ``Date`` header shows it."""
        return self._then(FaultEffect(kind=FaultKind.WRONG_CLOCK, seconds=seconds))

    def refuse(self, code: int, message: str = "", *, status: int = 200) -> Fault:
        """The call is refused with a code, and nothing is done. A message and an HTTP status of one's own may go with it."""
        return self._then(FaultEffect(kind=FaultKind.REFUSE, code=code, message=message, status=status))

    def quota_full(self) -> Fault:
        """The account's quota counts as full.

        Raises:
            ValueError: for Actions that no quota counts.
        """
        counted = [action for action, life in LIFECYCLES.items() if life.quota is not None]
        if self._actions is None or not self._actions <= set(counted):
            raise ValueError(f"a quota counts only {', '.join(counted)}; name one of them with on()")
        return self._then(FaultEffect(kind=FaultKind.QUOTA_FULL))

    def too_fast(self) -> Fault:
        """The call is refused as one over the rate limit, in the way of its service: see ``app.rate_refusals``."""
        return self._then(FaultEffect(kind=FaultKind.TOO_FAST))

    def answer(self, status: int, body: bytes = b"", **headers: str) -> Fault:
        """A gateway answers in the service's place, before the work. ``retry_after="1"`` becomes a header."""
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        return self._then(FaultEffect(kind=FaultKind.ANSWER, status=status, body=body, headers=named))

    def redirect(self, url: str, *, status: int = 307) -> Fault:
        """The call is sent elsewhere."""
        return self.answer(status, location=url)

    def cut_before_work(self) -> Fault:
        """The connection breaks; nothing was done."""
        return self._then(FaultEffect(kind=FaultKind.CUT_BEFORE_WORK))

    def cut_after_work(self) -> Fault:
        """The work is done, and the connection breaks before the answer."""
        return self._then(FaultEffect(kind=FaultKind.CUT_AFTER_WORK))

    def stall(self) -> Fault:
        """Nothing is done and no answer comes, while the connection stays open."""
        return self._then(FaultEffect(kind=FaultKind.STALL))

    def stall_after_work(self) -> Fault:
        """The work is done and no answer comes, while the connection stays open."""
        return self._then(FaultEffect(kind=FaultKind.STALL_AFTER_WORK))

    def garbage(self, body: bytes = b'<html>\x00\xff{"Code": 0') -> Fault:
        """The work is done, and the answer is unreadable."""
        return self._then(FaultEffect(kind=FaultKind.GARBAGE, body=body))

    def truncated(self) -> Fault:
        """The work is done, and the connection breaks in the middle of the answer."""
        return self._then(FaultEffect(kind=FaultKind.TRUNCATED))

    def oversize(self, size: int = 64 << 20) -> Fault:
        """The work is done, and the answer is `size` bytes long."""
        return self._then(FaultEffect(kind=FaultKind.OVERSIZE, size=size))

    def _then(self, effect: FaultEffect) -> Fault:
        return self._add(self, effect)

    # --- matching -------------------------------------------------------------------------------------------------

    @property
    def used_up(self) -> bool:
        """Whether it has applied as often as it may."""
        return self._times is not None and self._hits >= self._times

    def matches(self, action: str, request: Callable[[], Action[Any] | None], random_: random.Random) -> bool:
        """Whether it applies to this call; counts the call."""
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
        seed: of the randomness behind :meth:`FaultRule.chance` and jitter.
    """

    def __init__(self, seed: int = 0) -> None:
        self._faults: list[Fault] = []
        self._random = random.Random(seed)  # noqa: S311 - repeatable by design, guards nothing

    if not TYPE_CHECKING:  # to a type checker, a fault of no Action stays the mistake that it is

        def __getattr__(self, name):  # noqa: ANN001, ANN204 - it returns nothing
            if hasattr(FaultRule, name):
                raise AttributeError(
                    f"say for which Actions: faults.on(RegisterAgent).{name}(...), or faults.everywhere().{name}(...)"
                )
            raise missing_member(type(self), name)

    def on(self, *actions: type[Action[Any]] | str) -> FaultRule:
        """Calls of these Actions, given by class or by the vendor's name.

        Raises:
            ValueError: for a name that is no Action's, or no Action at all.
        """
        names = frozenset(action if isinstance(action, str) else action.__name__ for action in actions)
        if not names or not names <= ACTIONS.keys():
            unknown = ", ".join(sorted(names - ACTIONS.keys())) or "nothing"
            raise ValueError(f"on() takes Actions, which {unknown} is not; everywhere() means all calls")
        return FaultRule(names, self._add)

    def everywhere(self) -> FaultRule:
        """Every call."""
        return FaultRule(None, self._add)

    def seed(self, seed: int) -> None:
        """Start the randomness again from a seed."""
        self._random.seed(seed)

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._faults.clear()

    def match(self, action: str, request: Callable[[], Action[Any] | None]) -> list[FaultEffect]:
        """The effects on a call; `request` decodes its body, None if that cannot be done."""
        if not self._faults:
            return []
        known = tuple(self._faults)  # another thread may add one meanwhile
        matched = [fault.effect for fault in known if fault.applies(action, request, self._random)]
        for fault in known:
            if fault.rule.used_up:
                self._remove(fault)
        return matched

    def delay(self, effect: FaultEffect) -> float:
        """How many seconds a latency takes this time."""
        return effect.seconds + effect.jitter * self._random.random()

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults)

    def __len__(self) -> int:
        return len(self._faults)

    def _add(self, rule: FaultRule, effect: FaultEffect) -> Fault:
        fault = Fault(rule, effect, self._remove)
        self._faults.append(fault)
        return fault

    def _remove(self, fault: Fault) -> None:
        if fault in self._faults:
            self._faults.remove(fault)
