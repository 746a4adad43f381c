"""The limit's arithmetic, against any schedule that hypothesis thinks of.

Times are multiples of 1/1024 s, which floats add exactly, so that boundaries are hit exactly and often.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zego_aigc._window import Window

TICK = 1 / 1024
ticks = st.integers(0, 1300).map(lambda count: count * TICK)
limits = st.integers(1, 12)
guards = st.sampled_from([0.0, 1 * TICK, 51 * TICK, 0.25])


def drive(window: Window, steps: list[tuple[str, float]]) -> list[float]:
    """Carry out steps as far as they are possible; returns when requests departed."""
    now, held, departures = 0.0, 0, []
    for step, wait in steps:
        now += wait
        if step == "take":
            held += window.take(now)
        elif step == "depart" and held:
            held -= 1
            window.departed(now)
            departures.append(now)
        elif step == "release" and held:
            held -= 1
            window.release()
        elif step == "complain":
            window.too_fast(now)
        assert window.held == held <= window.limit
    return departures


def steps(*names: str) -> st.SearchStrategy[list[tuple[str, float]]]:
    return st.lists(st.tuples(st.sampled_from(names), st.one_of(st.just(0.0), st.just(TICK), ticks)), max_size=150)


plain_steps = steps("take", "take", "depart", "release")


@given(limits, guards, plain_steps)
def test_any_limit_plus_one_departures_span_more_than_window_and_guard(
    limit: int, guard: float, schedule: list[tuple[str, float]]
) -> None:
    departures = drive(Window(limit, 1.0, guard), schedule)
    assert all(later - earlier > 1.0 + guard for earlier, later in zip(departures, departures[limit:], strict=False))


@given(limits, guards, plain_steps, st.data())
def test_a_server_behind_varying_delay_never_counts_more_than_the_limit(
    limit: int, guard: float, schedule: list[tuple[str, float]], data: st.DataObject
) -> None:
    base = data.draw(ticks, "delay that is common to all")
    varying = st.integers(0, round(guard / TICK)).map(lambda count: count * TICK)
    arrivals = sorted(left + base + data.draw(varying) for left in drive(Window(limit, 1.0, guard), schedule))
    for now in arrivals:  # the strictest reading: both ends of the server's window belong to it
        assert sum(now - 1.0 <= arrival <= now for arrival in arrivals) <= limit


@given(limits, guards, steps("take", "take", "depart", "release", "complain"))
def test_no_complaint_of_the_server_weakens_the_promise(limit: int, guard: float, schedule: list[tuple[str, float]]) -> None:
    departures = drive(Window(limit, 1.0, guard), schedule)
    assert all(later - earlier > 1.0 + guard for earlier, later in zip(departures, departures[limit:], strict=False))


@given(limits, guards, steps("take", "take", "depart", "release", "complain"))
def test_no_token_is_ever_lost(limit: int, guard: float, schedule: list[tuple[str, float]]) -> None:
    window = Window(limit, 1.0, guard)
    drive(window, schedule)
    for _ in range(window.held):
        window.release()
    later = 1e6
    assert [window.take(later) for _ in range(limit + 1)] == [True] * limit + [False]


@given(limits, guards, plain_steps, ticks)
def test_next_free_is_the_very_first_moment_at_which_a_token_can_be_taken(
    limit: int, guard: float, schedule: list[tuple[str, float]], wait: float
) -> None:
    window = Window(limit, 1.0, guard)
    drive(window, schedule)
    now = sum(pause for _, pause in schedule) + wait
    due = window.next_free(now)
    if due is None:
        assert window.held == limit
        assert not window.take(1e6)
        return
    assert due >= now
    if due > now:
        assert not window.take(math.nextafter(due, -math.inf))
    assert window.take(due)


@given(limits, guards, plain_steps, ticks, st.integers(0, 40))
def test_the_estimate_is_what_a_newcomer_waits_when_nobody_dawdles(
    limit: int, guard: float, schedule: list[tuple[str, float]], wait: float, ahead: int
) -> None:
    window = Window(limit, 1.0, guard)
    drive(window, schedule)
    start = now = sum(pause for _, pause in schedule) + wait
    promised = window.estimate(now, ahead)
    for _ in range(window.held):
        window.departed(now)
    for _ in range(ahead + 1):
        due = window.next_free(now)
        assert due is not None
        now = due
        assert window.take(now)
        window.departed(now)
    assert now - start == pytest.approx(promised, abs=1e-9)


def test_the_pace_is_one_limit_per_window_and_guard() -> None:
    window, now, departures = Window(10, 1.0, 0.05), 5.0, []
    for _ in range(120):
        due = window.next_free(now)
        assert due is not None
        now = due
        assert window.take(now)
        window.departed(now)
        departures.append(now)
    assert departures[-1] - departures[0] == pytest.approx(11 * 1.05)


def test_a_token_that_is_held_long_comes_back_a_span_after_its_request_left() -> None:
    window = Window(1, 1.0, 0.25)
    assert window.take(0.0)
    assert window.next_free(0.0) is None
    assert not window.take(100.0)
    window.departed(100.0)
    assert not window.take(101.25)
    assert window.take(math.nextafter(101.25, math.inf))


def test_a_released_token_is_free_at_once() -> None:
    window = Window(1)
    assert window.take(0.0)
    window.release()
    assert window.take(0.0)


def test_the_guard_doubles_when_the_server_complains_up_to_half_a_window() -> None:
    window, guards_seen = Window(10, 1.0, 0.05), [0.05]
    for second in range(0, 20, 2):
        window.too_fast(float(second))
        guards_seen.append(window.guard)
    assert guards_seen[:5] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.5])
    assert max(guards_seen) == 0.5


def test_complaints_about_one_crowd_count_once() -> None:
    window = Window(10, 1.0, 0.05)
    for _ in range(10):
        window.too_fast(3.0)
    assert window.guard == pytest.approx(0.1)


def test_a_guard_of_nothing_can_grow() -> None:
    window = Window(10, 2.0, 0.0)
    window.too_fast(0.0)
    assert window.guard == pytest.approx(0.1)


def test_a_guard_beyond_half_a_window_stays_as_it_was_given() -> None:
    window = Window(10, 1.0, 0.8)
    window.too_fast(0.0)
    assert window.guard == 0.8


def test_a_grown_guard_holds_back_tokens_that_are_already_out() -> None:
    window = Window(1, 1.0, 0.25)
    assert window.take(0.0)
    window.departed(0.0)
    window.too_fast(0.5)
    assert window.guard == 0.5
    assert not window.take(1.5)
    assert window.take(1.6)


def test_the_guard_shrinks_back_while_the_server_is_content() -> None:
    window, seen = Window(10, 1.0, 0.05), []
    for second in (0.0, 2.0, 4.0, 6.0):
        window.too_fast(second)
    for second in range(6, 100):
        assert window.take(float(second))
        window.departed(float(second))
        seen.append(window.guard)
    assert seen[0] == 0.5
    assert all(later <= earlier for earlier, later in pairwise(seen))
    assert seen[10] == pytest.approx(0.05 + 0.45 / 2)
    assert seen[-1] == 0.05


def test_after_a_long_pause_the_guard_is_what_it_was_given() -> None:
    window = Window(10, 1.0, 0.05)
    window.too_fast(0.0)
    assert window.take(1e6)
    window.departed(1e6)
    assert window.guard == 0.05


@given(limits, guards, steps("take", "take", "depart", "release", "complain"), ticks)
def test_an_heir_keeps_the_promise_of_the_window_before_it(
    limit: int, guard: float, schedule: list[tuple[str, float]], wait: float
) -> None:
    window = Window(limit, 1.0, guard)
    before = drive(window, schedule)
    now = sum(pause for _, pause in schedule) + wait
    heir = window.inherited(now)
    before += [now] * window.held  # may have left as late as now
    after: list[float] = []
    while len(after) < 2 * limit:
        due = heir.next_free(now)
        assert due is not None
        now = due
        assert heir.take(now)
        heir.departed(now)
        after.append(now)
    departures = before + after
    assert all(later - earlier > 1.0 + guard for earlier, later in zip(departures, departures[limit:], strict=False))


@pytest.mark.parametrize(
    "numbers", [(0, 1.0, 0.05), (10, 0.0, 0.05), (10, -1.0, 0.05), (10, math.inf, 0.0), (10, 1.0, -0.1), (10, 1.0, math.nan)]
)
def test_numbers_that_make_no_sense_are_refused(numbers: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Window(*numbers)
