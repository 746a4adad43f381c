"""One process among those that share a limit through Redis: its permits, its callers in line, and what it has to report."""

from __future__ import annotations

import asyncio
import math
import os
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from zego_aigc.limits.late_answers import MAX_BALANCE, LateAnswers
from zego_aigc.limits.local_limiter import CATCH_UP, PEOPLE_STAY, LocalLimiter
from zego_aigc.limits.pacing import WITHHELD_SHARE, WITHHELD_WINDOWS
from zego_aigc.limits.round_trips import RoundTrips
from zego_aigc.limits.sliding_window import SLACK, UNPROVEN
from zego_aigc.limits.throughput import Throughput
from zego_aigc.limits.wait_queue import BACKGROUND_SHARE
from zego_aigc.redis._granting import ProcessLine, wait_for_grant
from zego_aigc.redis._limiter_scripts import SETTLE, SETTLE_KEYS, TAKE, TAKE_KEYS
from zego_aigc.redis._script_runner import ScriptRunner
from zego_aigc.redis._update_queue import UpdateQueue

if TYPE_CHECKING:
    from zego_aigc.limits.limiter import FullPermit

__all__ = ["LimiterLane", "LimiterMember"]

_LOOK = 0.1
"""Seconds after which a waiting process looks again at the latest: tokens can be released early, and it shows that it lives."""
_PRESENCE = 1.0
"""Seconds without a look after which a process in the queue is taken for dead."""
_CHANGEOVER = 1.0
"""Seconds that processes may take to notice that another Redis server has taken over, and to report to it what they hold."""
_IDLE = 300.0
"""Seconds after which an Action that is not used is forgotten in this process."""


class LimiterMember:
    """One process among those that share the limit: its identity, its connection, and what it has to report."""

    def __init__(
        self,
        runner: ScriptRunner,
        *,
        prefix: str,
        limit: int,
        window: float,
        guard: float,
        lease: float,
        outage_limit: int | None,
        timeout: float,
    ) -> None:
        self.pid: int = os.getpid()
        self.identity: str = os.urandom(8).hex()
        self.lanes: dict[tuple[int, str], LimiterLane] = {}
        self.local: LocalLimiter | None = None if outage_limit is None else LocalLimiter(outage_limit, window, guard)
        self._runner = runner
        self._prefix = prefix
        self._limit = limit
        self._window = window
        self._guard = guard
        self._lease = lease
        self._timeout = timeout
        self._quiet = window * (1 + SLACK) + guard
        self._count = 0
        self._sweep_at = -math.inf
        self._updates: UpdateQueue[LimiterLane, _Update] = UpdateQueue(runner, self._settle)
        # Weak, so that a permit which nothing refers to any more is not renewed for ever.
        self._held: WeakValueDictionary[str, _RedisPermit] = WeakValueDictionary()
        # More often than the lease asks for: a server that has taken over must know what is held before it gives anything out.
        self._renew_every = min(lease / 3, self._quiet / 2)
        self._renewal: asyncio.TimerHandle | None = None
        runner.check_pool()

    def lane(self, app_id: int, action: str) -> LimiterLane:
        """An Action's lane. Those that are not used any more go, now and then."""
        now = time.monotonic()
        if now >= self._sweep_at:
            self._sweep_at = now + _IDLE
            self.lanes = {key: lane for key, lane in self.lanes.items() if lane.waiting or now < lane.used_at + _IDLE}
        lane = self.lanes.get((app_id, action))
        if lane is None:
            lane = self.lanes[app_id, action] = LimiterLane(
                self._prefix,
                app_id,
                action,
                self.identity,
                Throughput(self._limit, self._window),
                LateAnswers(self._limit, self._window),
                self._guard,
            )
        lane.used_at = now
        return lane

    async def take(self, lane: LimiterLane, line: ProcessLine, *, background: bool) -> FullPermit:
        """Wait for a token of Redis; or for one of this process alone, while Redis is gone."""
        permit = self._new_permit(lane)
        args = (
            self._limit,
            _us(self._lease + self._quiet),
            _us(self._quiet),
            _us(_PRESENCE),
            self._keep_ms(),
            line.who,
            permit.id,
            int(background),
            _us(self._window / self._limit),
            _us(PEOPLE_STAY),
            BACKGROUND_SHARE,
            CATCH_UP,
            _us(_CHANGEOVER),
        )
        runner = self._runner

        async def prepare() -> None:
            if runner.is_down:
                await self._updates.flush()  # what left meanwhile is reported before more is asked for

        async def ask() -> float | None:
            line.queued = True
            granted, wait = await runner.run(TAKE, lane.take_keys, args, abandoned=lambda: self._abandoned(permit, line))
            return None if granted else wait / 1e6

        def goes_on_alone() -> bool:
            return self.local is not None and time.monotonic() >= runner.heard_at + self._quiet

        if await wait_for_grant(runner, ask, prepare=prepare, while_down=goes_on_alone, withdraw=permit.release, look=_LOOK):
            line.queued = False
            self._hold(permit)
            return permit
        assert self.local is not None
        alone = await self.local.acquire(lane.app_id, lane.action, background=background)
        return _OutagePermit(self._new_permit(lane), alone)

    def update(self, lane: LimiterLane, what: str, identity: str, more: float = 0.0, *, at: float | None = None) -> None:
        """Send Redis an update, in the background."""
        self._updates.put(lane, (what, identity, time.monotonic() if at is None else at, more))

    def settled(self, permit: _RedisPermit) -> None:
        """A permit's request has left, or will not: its token needs no lease any more."""
        self._held.pop(permit.id, None)

    async def aclose(self) -> None:
        """Report what became of the last requests, and close a connection that is our own."""
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
        await self._runner.idle()  # what was asked for callers that have gone
        await self._updates.aclose(self._timeout)
        await self._runner.aclose()

    def _new_permit(self, lane: LimiterLane) -> _RedisPermit:
        self._count += 1
        return _RedisPermit(self, lane, f"{self.identity}-{self._count}")

    def _abandoned(self, permit: _RedisPermit, line: ProcessLine) -> None:
        """The caller was cancelled while Redis was asked, which has answered by now, with a token or a place in line."""
        permit.release()
        if not line.waiting:
            self.update(permit.lane, "leaving", line.who)

    def _hold(self, permit: _RedisPermit) -> None:
        self._held[permit.id] = permit
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().call_later(self._renew_every, self._renew)

    def _renew(self) -> None:
        self._renewal = None
        for permit in list(self._held.values()):
            self.update(permit.lane, "holding", permit.id)
        if self._held:
            self._renewal = asyncio.get_running_loop().call_later(self._renew_every, self._renew)

    async def _settle(self, lane: LimiterLane, updates: list[_Update]) -> None:
        now = time.monotonic()
        args: list[Any] = [
            self._limit,
            _us(self._window),
            _us(self._guard),
            _us(SLACK * self._window),
            _us(self._lease + self._quiet),
            self._keep_ms(),
            _us(MAX_BALANCE * self._limit * self._window),
            WITHHELD_SHARE,
            WITHHELD_WINDOWS,
        ]
        for what, identity, at, more in updates:
            args += [what, identity, _us(now - at), _us(more)]
        anew, widened, withheld = await self._runner.run(SETTLE, lane.settle_keys, args)
        lane.note_pace(int(anew), int(widened) / 1e6, int(withheld))

    def _keep_ms(self) -> int:
        """How long keys are kept that nothing touches: until everything in them has lapsed."""
        return int(1000 * (2 * self._lease + self._quiet)) + 60_000


_Update = tuple[str, str, float, float]
"""What happened, to whom, when by ``time.monotonic``, and seconds that belong to it."""


class LimiterLane:
    """One AppId and Action."""

    __slots__ = (
        "_anew",
        "_given_guard",
        "action",
        "app_id",
        "complaints",
        "guard",
        "late_answers",
        "lines",
        "settle_keys",
        "take_keys",
        "throughput",
        "trips",
        "used_at",
        "withheld",
    )

    def __init__(
        self,
        prefix: str,
        app_id: int,
        action: str,
        identity: str,
        throughput: Throughput,
        late_answers: LateAnswers,
        guard: float,
    ) -> None:
        self.app_id = app_id
        self.action = action
        # The braces keep an AppId's keys on one node of a cluster.
        base = f"{prefix}:{{{app_id}}}"
        self.take_keys = [f"{base}:{name}" if name == "epoch" else f"{base}:{action}:{name}" for name in TAKE_KEYS]
        self.settle_keys = [f"{base}:{action}:{name}" for name in SETTLE_KEYS]
        self.lines: tuple[ProcessLine, ProcessLine] = (
            ProcessLine(f"{identity}:f"),
            ProcessLine(f"{identity}:b"),
        )  # by whether it is the background
        self.trips = RoundTrips()
        self.throughput = throughput
        self.late_answers = late_answers
        self.used_at = 0.0
        self.complaints = 0
        self._given_guard = guard
        self.guard = guard  # with what complaints have added, and
        self.withheld = 0  # how many tokens are left to others, when Redis last answered
        self._anew: int | None = None

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return self.lines[False].waiting + self.lines[True].waiting

    def note_pace(self, anew: int, widened: float, withheld: int) -> None:
        """What Redis says about complaints; round trips are learned anew when that was decided, by whichever process."""
        if self._anew is not None and anew > self._anew:
            self.trips.forget()
        self._anew, self.guard, self.withheld = anew, self._given_guard + widened, withheld


class _RedisPermit:
    __slots__ = ("__weakref__", "_answered_at", "_departed_at", "_is_over", "_member", "id", "lane")

    def __init__(self, member: LimiterMember, lane: LimiterLane, identity: str) -> None:
        self._member = member
        self._departed_at: float | None = None
        self._answered_at: float | None = None
        self._is_over = False
        self.lane = lane
        self.id = identity

    def departed(self, *, unproven: bool = False) -> None:
        if self._is_over or self._departed_at is not None:
            return
        self._departed_at = now = time.monotonic()
        lane = self.lane
        if lane.trips.is_stale(now):
            lane.trips.forget()
        lane.throughput.total += 1
        lane.throughput.turn(now)
        self._member.settled(self)
        self._member.update(lane, "departed", self.id, UNPROVEN if unproven else 0.0, at=now)

    def answered(self) -> None:
        if not self._is_over and self._departed_at is not None and self._answered_at is None:
            self._answered_at = now = time.monotonic()
            self._member.update(self.lane, "answered", self.id, at=now)

    def served(self, host: str, *, first: bool = False) -> None:
        if self._is_over or self._departed_at is None:
            return
        self._is_over = True
        answered_at = time.monotonic() if self._answered_at is None else self._answered_at
        trips = self.lane.trips
        if not first:
            trips.learn(answered_at, host, answered_at - self._departed_at)
        lane = self.lane
        arrived = max(self._departed_at, answered_at - trips.known)
        late = arrived - (self._departed_at + lane.guard)
        if late <= 0:
            lane.late_answers.punctual += 1
            income: float | None = 0.0
        else:
            income = lane.late_answers.income(late, lane.guard) if trips.known else None
        # None: the guard counts, and not the answer; see the script.
        self._member.update(lane, "served", self.id, 0.0 if income is None or not trips.known else 1e-6 + income, at=arrived)

    def release(self) -> None:
        if not self._is_over and self._departed_at is None:
            self._is_over = True
            self._member.settled(self)
            self._member.update(self.lane, "released", self.id)


class _OutagePermit:
    """A permit of this process alone, given while Redis is gone. What becomes of it is reported to Redis when it is back."""

    __slots__ = ("_local", "_shared")

    def __init__(self, shared: _RedisPermit, local: FullPermit) -> None:
        self._shared = shared
        self._local = local

    def departed(self, *, unproven: bool = False) -> None:
        self._local.departed(unproven=unproven)
        self._shared.departed(unproven=unproven)

    def answered(self) -> None:
        self._local.answered()
        self._shared.answered()

    def served(self, host: str, *, first: bool = False) -> None:
        self._local.served(host, first=first)
        self._shared.served(host, first=first)

    def release(self) -> None:
        self._local.release()
        self._shared.release()


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
