"""Order within a subject: the pure part of handing events out."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from zego_aigc.callbacks._order import Reorder


def drained(order: Reorder[Any], now: float) -> list[Any]:
    handed: list[Any] = []
    while (event := order.pop(now)) is not None:
        handed.append(event)
    return handed


def test_an_event_waits_for_earlier_ones_and_then_goes() -> None:
    order: Reorder[str] = Reorder(0.1)
    order.push("b", 20, 0.0)
    assert order.next_due() == 0.1
    assert order.pop(0.099) is None
    order.push("a", 10, 0.05)
    assert drained(order, 0.1) == ["a", "b"]
    assert order.next_due() is None


def test_an_event_that_follows_the_last_one_directly_does_not_wait() -> None:
    order: Reorder[str] = Reorder(0.1)
    order.push("a", 1, 0.0)
    assert drained(order, 0.1) == ["a"]
    order.push("b", 2, 0.2)
    assert drained(order, 0.2) == ["b"]
    order.push("d", 4, 0.3)
    order.push("c", 3, 0.35)
    assert drained(order, 0.35) == ["c", "d"]


def test_an_event_that_comes_too_late_is_handed_out_when_it_comes() -> None:
    order: Reorder[str] = Reorder(0.1)
    order.push("b", 20, 0.0)
    assert drained(order, 0.1) == ["b"]
    order.push("a", 10, 0.2)
    assert drained(order, 0.2) == ["a"]


def test_an_event_without_a_number_is_handed_out_when_it_comes() -> None:
    order: Reorder[str] = Reorder(0.1)
    order.push("b", 20, 0.0)
    order.push("x", None, 0.0)
    assert drained(order, 0.0) == ["x"]
    assert drained(order, 0.1) == ["b"]


def test_without_a_wait_events_are_handed_out_as_they_come() -> None:
    order: Reorder[int] = Reorder(0)
    for number in (3, 1, 2):
        order.push(number, number, 0.0)
    assert drained(order, 0.0) == [3, 1, 2]


def test_a_second_copy_is_not_taken_be_the_first_waiting_or_handed_out() -> None:
    order: Reorder[str] = Reorder(0.1)
    assert order.push("a", 1, 0.0)
    assert not order.push("a again", 1, 0.0)
    assert drained(order, 0.1) == ["a"]
    assert not order.push("a again", 1, 0.2)
    assert drained(order, 1.0) == []


def test_two_kinds_of_events_may_share_a_number() -> None:
    order: Reorder[str] = Reorder(0.1)
    assert order.push("a", 1, 0.0, kind="A")
    assert order.push("b", 1, 0.0, kind="B")
    assert drained(order, 0.1) == ["a", "b"]


@given(st.permutations(range(12)), st.integers(1, 10**6), st.integers(-(2**62), 2**62))
def test_whatever_comes_within_the_wait_is_handed_out_in_order(arrivals: list[int], gap: int, first: int) -> None:
    order: Reorder[int] = Reorder(1.0)
    handed: list[int] = []
    for tick, number in enumerate(arrivals):
        order.push(number, first + gap * number, tick / 100)
        handed += drained(order, tick / 100)
    handed += drained(order, 10.0)
    assert handed == sorted(arrivals)


@given(
    st.lists(st.tuples(st.none() | st.integers(0, 30), st.floats(0, 1), st.booleans()), max_size=60),
    st.sampled_from([0.0, 0.1, 0.5]),
)
def test_nothing_is_lost_made_twice_or_kept_beyond_its_wait(steps: list[tuple[int | None, float, bool]], wait: float) -> None:
    order: Reorder[tuple[int, int | None]] = Reorder(wait)
    taken: dict[tuple[int, int | None], float] = {}
    handed: list[tuple[int, int | None]] = []
    now = 0.0
    for index, (number, pause, look) in enumerate(steps):
        now += pause
        if order.push((index, number), number, now):
            taken[index, number] = now
        if look:
            got = drained(order, now)
            handed += got
            assert all(now - taken[event] < wait for event in set(taken) - set(handed))
    handed += drained(order, now + wait)
    assert len(order) == 0
    assert sorted(handed, key=str) == sorted(taken, key=str)
    numbered = [number for _, number in taken if number is not None]
    assert len(numbered) == len(set(numbered))


def test_only_the_latest_numbers_are_remembered() -> None:
    order: Reorder[int] = Reorder(0)
    for number in range(10_000):
        order.push(number, number, 0.0)
        order.pop(0.0)
    assert len(order._keys) == len(order._recent) <= 65
    assert not order._arrivals
