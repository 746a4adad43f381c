"""The budget of live instances: its arithmetic, and waiting for a place on a loop whose time is simulated."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from simulated_time import SimulatedLoop

from zego_aigc.errors import ConfigurationError, QuotaExceeded
from zego_aigc.limits.capacity import CapacityLedger, Slot, SlotState, pause
from zego_aigc.limits.local_quota import LocalQuota, LocalReservation
from zego_aigc.limits.quota import Usage

NEVER = float("inf")


# --- the arithmetic


def test_pauses_between_tries_double_up_to_fifteen_seconds() -> None:
    assert [pause(refusals) for refusals in range(1, 8)] == [1, 2, 4, 8, 15, 15, 15]
    assert pause(10_000) == 15


def test_there_are_as_many_places_as_the_budget_says() -> None:
    places = CapacityLedger(2)
    first, second = places.take(0.0), places.take(0.0)
    assert first
    assert second
    assert places.take(0.0) is None
    assert places.next_time(0.0) is None
    places.release(first, 1.0)
    assert places.take(1.0)


def test_no_budget_is_no_limit() -> None:
    places = CapacityLedger(None)
    assert all(places.take(0.0) for _ in range(1000))


def test_an_unknown_creation_keeps_its_place_until_it_expires() -> None:
    places = CapacityLedger(1)
    place = places.take(0.0)
    assert place
    places.unknown(place, 120.0)
    assert places.take(119.9) is None
    assert places.next_time(100.0) == 120.0
    assert places.take(120.0)
    assert place.state is SlotState.FREE


def test_an_unknown_creation_that_proves_to_live_counts_for_good() -> None:
    places = CapacityLedger(1)
    place = places.take(0.0)
    assert place
    places.unknown(place, 120.0)
    places.confirm(place, "i", 60.0, NEVER)
    assert places.take(1e6) is None
    assert places.ended("i", 1e6)
    assert places.take(1e6)


def test_an_instance_that_turns_up_after_its_place_expired_overdraws_the_budget() -> None:
    places = CapacityLedger(1)
    late = places.take(0.0)
    assert late
    places.unknown(late, 120.0)
    other = places.take(120.0)
    assert other
    places.confirm(late, "late", 121.0, NEVER)
    assert places.usage(121.0).used == 2
    places.release(other, 122.0)
    assert places.take(122.0) is None


def test_a_server_that_is_full_is_tried_once_at_a_time_after_growing_pauses() -> None:
    places, now, pauses = CapacityLedger(10), 0.0, []
    place = places.take(now)
    assert place
    for _ in range(6):
        places.full(now)
        places.release(place, now)
        due = places.next_time(now)
        assert due is not None
        assert places.take(due - 0.001) is None
        pauses.append(due - now)
        now = due
        place = places.take(now)
        assert place
        assert places.take(now) is None, "one try at a time"
        assert places.next_time(now) is None
    assert pauses == [1, 2, 4, 8, 15, 15]


def test_each_success_lets_twice_as_many_try_until_all_may() -> None:
    places, widths = CapacityLedger(100), []
    places.full(0.0)
    now = 1.0
    while places.usage(now).full:
        under_way: list[Slot] = []
        while (place := places.take(now)) is not None:
            under_way.append(place)
        widths.append(len(under_way))
        places.confirm(under_way[0], f"i{now}", now, NEVER)
        for place in under_way[1:]:
            places.release(place, now)
        now += 0.1
    assert widths == [1, 2, 4, 8, 16, 32]


def test_without_a_limit_success_opens_a_full_server_again_too() -> None:
    places = CapacityLedger(None)
    places.full(0.0)
    for number in range(6):
        assert places.usage(1.0).full
        place = places.take(1.0)
        assert place
        places.confirm(place, str(number), 1.0, NEVER)
    assert not places.usage(1.0).full


def test_refusals_of_one_crowd_count_once() -> None:
    places = CapacityLedger(10)
    crowd = [places.take(0.0) for _ in range(10)]
    for place in crowd:
        assert place
        places.full(0.1)
        places.release(place, 0.1)
    assert places.next_time(0.1) == pytest.approx(1.1)


def test_the_end_of_an_instance_of_ours_is_reason_to_try_at_once() -> None:
    places = CapacityLedger(10)
    places.adopt("mine", 0.0, NEVER)
    for _ in range(5):
        places.full(places.next_time(0.0) or 0.0)
    assert places.take(1.0) is None
    places.ended("mine", 1.0)
    assert places.take(1.0)
    assert places.take(1.0) is None


def test_an_end_that_is_heard_of_before_the_beginning_counts() -> None:
    places = CapacityLedger(1)
    place = places.take(0.0)
    assert place
    assert not places.ended("i", 0.5)
    places.confirm(place, "i", 0.6, NEVER)
    assert places.take(0.6)


def test_an_instance_counts_once_whoever_reports_it() -> None:
    places = CapacityLedger(3)
    place = places.take(0.0)
    assert place
    adopted = places.adopt("i", 0.0, NEVER)
    assert places.adopt("i", 0.0, NEVER) is adopted
    places.confirm(place, "i", 0.0, NEVER)
    assert places.usage(0.0).used == 1
    assert places.ended("i", 0.0)
    assert places.usage(0.0).used == 0


def test_expiries_that_no_longer_matter_are_not_kept() -> None:
    places = CapacityLedger(1)
    for number in range(10_000):
        place = places.take(0.0)
        assert place
        places.confirm(place, str(number), 0.0, 86400.0)
        places.ended(str(number), 0.0)
    assert len(places._expiring) < 100


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="budget"):
        LocalQuota(agents=-1)


class Books(RuleBasedStateMachine):
    """Any course of events, against a list of what holds a place."""

    LIMIT = 4

    def __init__(self) -> None:
        super().__init__()
        self.places = CapacityLedger(self.LIMIT)
        self.now = 0.0
        self.holding: dict[Slot, float] = {}  # until when
        self.making: list[Slot] = []
        self.names = 0

    def holders(self) -> int:
        return len(self.making) + sum(until > self.now for until in self.holding.values())

    @rule()
    def take(self) -> None:
        holders = self.holders()
        if (place := self.places.take(self.now)) is None:
            assert holders >= self.LIMIT or self.places.usage(self.now).full
        else:
            assert holders < self.LIMIT
            self.making.append(place)

    @precondition(lambda self: self.making)
    @rule(what=st.sampled_from(["made", "short", "gone", "full", "unknown"]))
    def settle(self, what: str) -> None:
        place: Slot = self.making.pop(0)
        if what in ("made", "short"):
            self.names += 1
            until = NEVER if what == "made" else self.now + 30
            self.places.confirm(place, str(self.names), self.now, until)
            self.holding[place] = until
        elif what == "unknown":
            self.places.unknown(place, self.now + 60)
            self.holding[place] = self.now + 60
        else:
            if what == "full":
                self.places.full(self.now)
            self.places.release(place, self.now)

    @precondition(lambda self: self.holding)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(list(self.holding)))
        del self.holding[place]
        self.places.release(place, self.now)
        self.places.release(place, self.now)

    @rule(seconds=st.sampled_from([0.1, 1.0, 15.0, 30.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_books_agree(self) -> None:
        usage = self.places.usage(self.now)
        assert usage.used == self.holders()
        assert usage.making == len(self.making)

    def teardown(self) -> None:
        for open_place in [*self.making, *self.holding]:
            self.places.release(open_place, self.now)
        self.now += 100.0
        for number in range(2 * self.LIMIT):  # successes open a full server
            place = self.places.take(self.now)
            assert place
            self.places.confirm(place, f"last {number}", self.now, NEVER)
            self.places.release(place, self.now)
        assert all(self.places.take(self.now) for _ in range(self.LIMIT)), "no place lost"
        assert self.places.take(self.now) is None


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# --- waiting


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    loop = SimulatedLoop()
    yield loop
    loop.close()


def callers(loop: SimulatedLoop, quota: LocalQuota, count: int) -> list[asyncio.Task[LocalReservation]]:
    tasks = [loop.create_task(quota.acquire("streams")) for _ in range(count)]
    loop.settle()
    return tasks


def done(tasks: list[asyncio.Task[LocalReservation]]) -> list[bool]:
    return [task.done() for task in tasks]


def dismiss(loop: SimulatedLoop, tasks: list[asyncio.Task[LocalReservation]]) -> None:
    for task in tasks:
        task.cancel()
    loop.settle()


def test_callers_get_places_in_the_order_of_their_coming(loop: SimulatedLoop) -> None:
    quota = LocalQuota(streams=2, clock=loop.time)
    tasks = callers(loop, quota, 5)
    assert done(tasks) == [True, True, False, False, False]
    assert quota.waiting("streams") == 3
    tasks[1].result().live("t1")
    tasks[0].result().release()
    loop.settle()
    assert done(tasks) == [True, True, True, False, False]
    assert quota.ended("t1")
    loop.settle()
    assert done(tasks) == [True, True, True, True, False]
    assert not quota.ended("t1")
    dismiss(loop, tasks[4:])


def test_kinds_have_budgets_of_their_own(loop: SimulatedLoop) -> None:
    quota = LocalQuota(agents=1, digital_humans=1, streams=None, clock=loop.time)
    for kind in ("agents", "digital_humans", "streams", "streams"):
        loop.run_until_complete(quota.acquire(kind, wait=False))
    with pytest.raises(QuotaExceeded):
        loop.run_until_complete(quota.acquire("agents", wait=False))


def test_failing_fast_says_what_holds_the_places_and_that_nothing_was_sent(loop: SimulatedLoop) -> None:
    quota = LocalQuota(digital_humans=2, clock=loop.time)
    loop.run_until_complete(quota.acquire("digital_humans")).live("a")
    loop.run_until_complete(quota.acquire("digital_humans")).unknown(expires_in=60)
    with pytest.raises(QuotaExceeded) as caught:
        loop.run_until_complete(quota.acquire("digital_humans", wait=False))
    error = caught.value
    assert (error.code, error.name, error.attempts) == (410001031, "DigitalHumanConcurrencyLimit", 0)
    for part in ("budget of 2 is used up", "1 live", "0 being made", "1 unknown", "Nothing was sent"):
        assert part in str(error)
    assert str(copy.copy(error)) == str(pickle.loads(pickle.dumps(error))) == str(error)


def test_failing_fast_does_not_jump_the_line(loop: SimulatedLoop) -> None:
    quota = LocalQuota(streams=1, clock=loop.time)
    tasks = callers(loop, quota, 2)
    quota.full("streams")
    tasks[0].result().release()
    with pytest.raises(QuotaExceeded, match="probed with growing pauses"):
        loop.run_until_complete(quota.acquire("streams", wait=False))
    loop.advance(1.0)
    assert tasks[1].done()


def test_a_caller_cancelled_in_line_takes_no_place(loop: SimulatedLoop) -> None:
    quota = LocalQuota(streams=1, clock=loop.time)
    tasks = callers(loop, quota, 3)
    tasks[1].cancel()
    loop.settle()
    tasks[0].result().release()
    loop.settle()
    assert tasks[2].result().state == "making"


def test_a_caller_cancelled_in_the_tick_of_its_turn_hands_the_place_on(loop: SimulatedLoop) -> None:
    quota = LocalQuota(streams=1, clock=loop.time)
    tasks = callers(loop, quota, 3)
    tasks[0].result().release()
    tasks[1].cancel()
    loop.settle()
    assert tasks[1].cancelled()
    assert tasks[2].result().state == "making"
    assert quota.usage("streams").used == 1


def test_an_unknown_place_is_handed_on_when_it_expires(loop: SimulatedLoop) -> None:
    quota = LocalQuota(streams=1, clock=loop.time)
    tasks = callers(loop, quota, 2)
    hold = tasks[0].result()
    hold.unknown(expires_in=120.0)
    loop.advance(119.0)
    assert not tasks[1].done()
    assert repr(hold) == "<LocalReservation streams unknown>"
    loop.advance(1.001)
    assert tasks[1].done()
    assert repr(hold) == "<LocalReservation streams gone>"


def test_a_stream_whose_time_is_up_gives_its_place_back(loop: SimulatedLoop) -> None:
    quota = LocalQuota(streams=1, clock=loop.time)
    tasks = callers(loop, quota, 2)
    tasks[0].result().live("t", expires_in=10.0)
    loop.advance(10.001)
    assert tasks[1].done()


def test_a_full_server_is_probed_by_one_caller_at_a_time(loop: SimulatedLoop) -> None:
    quota = LocalQuota(clock=loop.time)
    room = 3  # others use the account: the server takes three
    times: list[float] = []

    async def create(number: int) -> None:
        nonlocal room
        while True:
            hold = await quota.acquire("streams")
            await asyncio.sleep(0.01)
            times.append(loop.now)
            if room:
                room -= 1
                hold.live(str(number))
                return
            hold.full()

    creations = [loop.create_task(create(number)) for number in range(10)]
    loop.advance(60.0)
    assert sum(task.done() for task in creations) == 3
    assert [when - times[0] for when in times[10:]] == pytest.approx([1, 3, 7, 15, 30, 45], abs=0.1)
    room = 7
    loop.advance(15.1)
    assert all(task.done() for task in creations)
    assert quota.usage("streams").live == 10


def test_the_end_of_an_instance_brings_the_next_try_forward(loop: SimulatedLoop) -> None:
    quota = LocalQuota(clock=loop.time)
    quota.adopt("streams", "mine")
    for _ in range(5):
        quota.full("streams")
        loop.advance(16.0)
    quota.full("streams")
    tasks = callers(loop, quota, 2)
    loop.advance(1.0)
    assert done(tasks) == [False, False]
    quota.ended("mine")
    loop.settle()
    assert done(tasks) == [True, False]
    dismiss(loop, tasks[1:])


def test_instances_of_an_earlier_process_are_counted(loop: SimulatedLoop) -> None:
    quota = LocalQuota(streams=2, clock=loop.time)
    for name in ("a", "b", "c"):
        quota.adopt("streams", name)
    tasks = callers(loop, quota, 1)
    quota.ended("a")
    loop.settle()
    assert done(tasks) == [False]
    quota.ended("b")
    loop.settle()
    assert done(tasks) == [True]


def test_settling_a_hold_twice_changes_nothing(loop: SimulatedLoop) -> None:
    quota = LocalQuota(streams=2, clock=loop.time)
    hold = loop.run_until_complete(quota.acquire("streams"))
    other = loop.run_until_complete(quota.acquire("streams"))
    hold.release()
    hold.release()
    hold.full()
    assert quota.usage("streams") == Usage(limit=2, making=1, live=0, unknown=0, full=False)
    assert repr(hold) == "<LocalReservation streams gone>"
    other.live("t")
    assert repr(other) == "<LocalReservation streams live t>"
    assert other.instance_id == "t"
    other.unknown(expires_in=1.0)
    assert (other.state, other.instance_id) == ("unknown", "t")  # it could not be ended, say
    assert quota.ended("t")
    assert other.state == "gone"


def test_the_books_outlive_a_loop() -> None:
    quota = LocalQuota(streams=1)

    async def make() -> None:
        (await quota.acquire("streams")).live("t")

    asyncio.run(make())
    with pytest.raises(QuotaExceeded):
        asyncio.run(quota.acquire("streams", wait=False))


def test_a_paused_loop_with_callers_in_line_is_not_robbed_of_them(loop: SimulatedLoop) -> None:
    quota = LocalQuota(streams=0, clock=loop.time)
    tasks = callers(loop, quota, 1)
    with pytest.raises(ConfigurationError, match="still wait for this quota"):
        asyncio.run(quota.acquire("streams"))
    dismiss(loop, tasks)


def test_a_visitor_gets_a_place_before_a_fleet(loop: SimulatedLoop) -> None:
    quota = LocalQuota(streams=1, clock=loop.time)
    served: list[str] = []

    async def make(name: str, background: bool) -> LocalReservation:
        reservation = await quota.acquire("streams", background=background)
        served.append(name)
        return reservation

    first = loop.run_until_complete(make("first", background=False))
    fleet = [loop.create_task(make("fleet", background=True)) for _ in range(3)]
    loop.settle()
    visitor = loop.create_task(make("visitor", background=False))
    loop.settle()
    first.release()
    loop.settle()
    assert served == ["first", "visitor"]
    visitor.result().release()
    loop.settle()
    assert served == ["first", "visitor", "fleet"]
    for task in fleet[1:]:
        task.cancel()
    loop.settle()


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="no such kind: 'robots'"):
        asyncio.run(LocalQuota().acquire("robots"))  # type: ignore[arg-type]  # what a caller without a type checker may write


def test_it_says_what_it_is() -> None:
    assert repr(LocalQuota(streams=None)) == "LocalQuota(agents=10, digital_humans=10, streams=None)"
