"""The limit's arithmetic, against any schedule that hypothesis thinks of.

Times are multiples of 1/1024 s, which floats add exactly, so that boundaries are hit exactly and often. Beside the guard
there is a slack of half a hundredth of the window.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zego_aigc.limits.late_answers import LateAnswers
from zego_aigc.limits.sliding_window import Window

TICK = 1 / 1024
ticks = st.integers(0, 1300).map(lambda count: count * TICK)
limits = st.integers(1, 12)
guards = st.sampled_from([0.0, 1 * TICK, 51 * TICK, 0.25])


class Sent:
    """A request that left, and the span of time in which it arrives at the server."""

    def __init__(self, left: float, guard: float, *, unproven: bool, latest: float) -> None:
        self.left = left
        self.by = left + guard + (0.5 if unproven else 0.0)
        self.mark = latest  # what the window made of it
        self.answered = False


def drive(window: Window, steps: list[tuple[str, float]]) -> list[Sent]:
    """Carry out steps as far as they are possible; returns the requests in the order in which they left."""
    now, held, guard = 0.0, 0, window.guard
    sent: list[Sent] = []
    for step, wait in steps:
        now += wait
        if step == "take":
            held += window.take(now)
        elif step in ("depart", "depart unproven") and held:
            held -= 1
            unproven = step == "depart unproven"
            latest = window.departed(now, unproven=unproven)
            sent.append(Sent(now, guard, unproven=unproven, latest=latest))
        elif step == "answer" and (unanswered := [request for request in sent if not request.answered]):
            request = unanswered[round(wait / TICK) % len(unanswered)]
            request.answered = True
            request.by = min(request.by, now)
            request.mark = window.answered(request.mark, now)
        elif step == "release" and held:
            held -= 1
            window.release()
        elif step == "complain":
            window.too_fast(now)
        assert window.held == held <= window.limit
    return sent


def steps(*names: str) -> st.SearchStrategy[list[tuple[str, float]]]:
    return st.lists(st.tuples(st.sampled_from(names), st.one_of(st.just(0.0), st.just(TICK), ticks)), max_size=150)


plain_steps = steps("take", "take", "depart", "release")
all_steps = steps("take", "take", "depart", "depart unproven", "release", "answer", "complain")


@given(limits, guards, steps("take", "take", "depart", "depart unproven", "release", "complain"))
def test_any_limit_plus_one_departures_span_more_than_window_and_guard(
    limit: int, guard: float, schedule: list[tuple[str, float]]
) -> None:
    departures = [request.left for request in drive(Window(limit, 1.0, guard), schedule)]
    assert all(later - earlier > 1.0 + guard for earlier, later in zip(departures, departures[limit:], strict=False))


@given(limits, guards, all_steps, st.data())
def test_a_server_behind_varying_delay_never_counts_more_than_the_limit(
    limit: int, guard: float, schedule: list[tuple[str, float]], data: st.DataObject
) -> None:
    arrivals = sorted(
        request.left + data.draw(st.integers(0, round((request.by - request.left) / TICK))) * TICK
        for request in drive(Window(limit, 1.0, guard), schedule)
    )
    for now in arrivals:  # the strictest reading: both ends of the server's window belong to it
        assert sum(now - 1.0 <= arrival <= now for arrival in arrivals) <= limit


@given(limits, guards, steps("take", "take", "depart", "release"), ticks, st.data())
def test_a_delay_that_is_common_to_all_requests_changes_nothing(
    limit: int, guard: float, schedule: list[tuple[str, float]], base: float, data: st.DataObject
) -> None:
    varying = st.integers(0, round(guard / TICK)).map(lambda count: count * TICK)
    sent = drive(Window(limit, 1.0, guard), schedule)
    arrivals = sorted(request.left + base + data.draw(varying) for request in sent)
    for now in arrivals:
        assert sum(now - 1.0 <= arrival <= now for arrival in arrivals) <= limit


@given(limits, guards, all_steps)
def test_no_token_is_ever_lost(limit: int, guard: float, schedule: list[tuple[str, float]]) -> None:
    window = Window(limit, 1.0, guard)
    drive(window, schedule)
    for _ in range(window.held):
        window.release()
    later = 1e6
    assert [window.take(later) for _ in range(limit + 1)] == [True] * limit + [False]


@given(limits, guards, all_steps, ticks)
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
    assert departures[-1] - departures[0] == pytest.approx(11 * 1.055)


def test_a_token_that_is_held_long_comes_back_a_span_after_its_request_left() -> None:
    window = Window(1, 1.0, 0.25)
    assert window.take(0.0)
    assert window.next_free(0.0) is None
    assert not window.take(100.0)
    window.departed(100.0)
    due = 100.0 + 0.25 + 0.005 + 1.0
    assert not window.take(due)
    assert window.take(math.nextafter(due, math.inf))


def test_an_answer_brings_the_token_back_a_window_and_the_slack_later() -> None:
    window = Window(1, 1.0, 0.25)
    assert window.take(0.0)
    mark = window.departed(0.0)
    assert window.answered(mark, 0.125) < mark
    assert not window.take(0.125 + 1.005)
    assert window.take(0.125 + 1.006)


def test_an_answer_after_the_guard_tells_nothing_new() -> None:
    window = Window(1, 1.0, 0.25)
    assert window.take(0.0)
    mark = window.departed(0.0)
    assert window.answered(mark, 0.25) == mark
    assert not window.take(1.255)
    assert window.take(1.256)


def take_all(window: Window, now: float) -> int:
    """Take the tokens that there are, and let their requests leave and be answered."""
    count = 0
    while window.take(now):
        window.answered(window.departed(now), now)
        count += 1
    return count


def test_where_others_use_the_account_tokens_are_left_to_them_and_come_back_one_by_one() -> None:
    window = Window(10, 1.0, 0.25)
    window.too_fast(0.0)
    assert window.withheld(0.0) == 3
    assert take_all(window, 0.0) == 7
    assert [take_all(window, now) for now in (1.5, 3.0, 4.5, 6.0, 7.5, 10.5, 15.5)] == [7, 7, 7, 8, 8, 9, 10]
    window.too_fast(20.0)
    assert take_all(window, 21.0) == 7
    window.too_fast(22.0)
    assert window.withheld(22.0) == 6, "three of ten, and three of seven"


def test_one_token_stays_in_use_however_often_the_server_complains() -> None:
    window = Window(10, 1.0, 0.25)
    for now in range(0, 40, 2):
        window.too_fast(float(now))
        assert 1 <= take_all(window, now + 1.9) <= 7


def test_an_answer_says_when_its_request_arrived_less_the_smallest_round_trip() -> None:
    window, now = Window(1, 1.0, 0.25), 0.0
    for _ in range(400):  # until the samples count in full
        now = serve(window, now, 0.5)
    assert window.round_trip == 0.5
    now += 2.0
    assert window.take(now)
    mark = window.departed(now)
    window.served(window.answered(mark, now + 0.625), now, now + 0.625, "host")
    # 0.125 s late, so it may have arrived as much later; the slack, and what even hundreds of samples leave open.
    assert not window.take(now + 1.0 + 0.125)
    assert window.take(now + 1.0 + 0.125 + 0.025)


def serve(window: Window, now: float, round_trip: float, **options: Any) -> float:
    """One request from its token to its answer; when it was answered, or its token was released, if that is later."""
    due = window.next_free(now)
    assert due is not None
    assert window.take(due)
    mark = window.answered(window.departed(due), due + round_trip)
    window.served(mark, due, due + round_trip, "host", **options)
    return due + round_trip


def test_few_samples_and_the_first_on_a_connection_say_nothing() -> None:
    window = Window(1, 1.0, 0.25)
    now = serve(window, 0.0, 0.125)
    due = window.next_free(now)
    assert due == pytest.approx(0.125 + 1.005), "one sample is as good as none"
    for _ in range(100):
        now = serve(window, now, 0.125, first=True)
    assert window.next_free(now) == pytest.approx(now + 1.005)


def test_a_smaller_round_trip_holds_back_tokens_that_were_to_come_back_by_the_one_before() -> None:
    window, now = Window(2, 1.0, 0.25), 0.0
    for _ in range(400):
        now = serve(window, now, 0.5)
    assert window.take(now + 2)
    slow = window.departed(now + 2)
    window.served(window.answered(slow, now + 2.5), now + 2, now + 2.5, "host")
    before = window.next_free(now + 2.5)
    assert before == now + 2.5, "the other token is free"
    assert window.take(now + 2.5)
    due = window.next_free(now + 2.5)
    assert due == pytest.approx(now + 3.0, abs=0.02)
    fast = window.departed(now + 2.5)
    window.served(window.answered(fast, now + 2.625), now + 2.5, now + 2.625, "host")
    due = window.next_free(now + 2.625)
    assert due is not None
    assert now + 3.0 + 0.375 <= due <= now + 3.505


def test_an_idle_window_forgets_what_it_learned() -> None:
    window, now = Window(1, 1.0, 0.25), 0.0
    for _ in range(20):
        now = serve(window, now, 0.125)
    assert not window.is_idle(now + 10)
    assert window.is_idle(now + 100)
    assert window.take(now + 100)
    window.departed(now + 100)
    assert window.round_trip is None


def test_the_first_request_of_a_connection_that_has_proved_nothing_may_take_half_a_second_more() -> None:
    window = Window(2, 1.0, 0.25)
    assert window.take(0.0)
    assert window.take(0.0)
    window.departed(0.0, unproven=True)
    window.departed(0.25)
    assert window.take(1.51), "the second one's token overtakes"
    assert not window.take(1.755)
    assert window.take(1.756)


def test_an_answer_ends_the_doubt_about_a_connection() -> None:
    window = Window(1, 1.0, 0.25)
    assert window.take(0.0)
    window.answered(window.departed(0.0, unproven=True), 0.375)
    assert not window.take(1.380)
    assert window.take(1.381)


def test_a_released_token_is_free_at_once() -> None:
    window = Window(1)
    assert window.take(0.0)
    window.release()
    assert window.take(0.0)


def delayed(window: Window, now: float) -> float:
    """A request whose answer comes later than the guard allows, though its token was to be released by the guard."""
    due = window.next_free(now)
    assert due is not None
    assert window.take(due)
    window.served(window.answered(window.departed(due), due + 0.9), due, due + 0.9, "host", first=True)
    return due + 0.9


def test_the_guard_doubles_when_the_server_complains_of_what_it_let_go_up_to_half_a_window() -> None:
    window, guards_seen, now = Window(10, 1.0, 0.05), [0.05], 0.0
    for _ in range(6):
        now = delayed(window, now) + 1.2
        window.too_fast(now)
        guards_seen.append(window.guard)
    assert guards_seen[:5] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.5])
    assert max(guards_seen) == 0.5


def test_complaints_about_one_crowd_count_once() -> None:
    window = Window(10, 1.0, 0.05)
    now = delayed(window, 0.0)
    for _ in range(10):
        window.too_fast(now)
    assert window.guard == pytest.approx(0.1)
    assert window.complaints == 10


def test_the_guard_is_not_what_a_complaint_is_about_where_it_let_nothing_go() -> None:
    window = Window(10, 1.0, 0.05)
    window.too_fast(3.0)
    assert (window.guard, window.withheld(3.0)) == (0.05, 3)


def test_a_learned_round_trip_is_learned_anew_after_a_complaint_before_the_pace_falls() -> None:
    window, now = Window(10, 1.0, 0.05), 0.0
    for _ in range(100):
        now = serve(window, now, 0.04)
    window.too_fast(now)
    assert (window.round_trip, window.guard, window.withheld(now)) == (None, 0.05, 0)
    for _ in range(20):
        now = serve(window, now + 0.1, 0.04)
    window.too_fast(now)
    assert window.withheld(now) == 3, "it did not help: others use the account"


def test_the_guard_shrinks_back_while_the_server_is_content() -> None:
    window, seen = Window(10, 1.0, 0.05), []
    now = delayed(window, 0.0) + 1.2
    window.too_fast(now)
    for _ in range(4):
        now += 2
        window.too_fast(now)
    for second in range(200):
        assert window.take(now + second)
        window.departed(now + second)
        seen.append(window.guard)
    assert seen[0] > 0.05
    assert all(later <= earlier for earlier, later in pairwise(seen))
    assert seen[-1] == 0.05


def test_after_a_long_time_nothing_is_added_any_more() -> None:
    window = Window(10, 1.0, 0.05)
    window.too_fast(0.0)
    assert window.take(1e6)
    window.departed(1e6)
    assert (window.guard, window.withheld(1e6)) == (0.05, 0)


def test_a_guard_beyond_half_a_window_stays_as_it_was_given() -> None:
    window = Window(10, 1.0, 0.8)
    window.too_fast(delayed(window, 0.0))
    assert window.guard == 0.8


def test_the_share_of_the_limit_that_is_used_is_known() -> None:
    window = Window(10, 1.0, 0.05)
    assert window.throughput.share(0.0) == 0.0
    for number in range(300):  # five a second
        assert window.take(number / 5)
        window.departed(number / 5)
    assert window.throughput.share(60.0) == pytest.approx(0.5, abs=0.02)
    assert window.throughput.share(1000.0) == 0.0


@given(limits, guards, all_steps, ticks)
def test_a_successor_keeps_the_promise_of_the_window_before_it(
    limit: int, guard: float, schedule: list[tuple[str, float]], wait: float
) -> None:
    window = Window(limit, 1.0, guard)
    before = [request.by for request in drive(window, schedule)]
    now = sum(pause for _, pause in schedule) + wait
    successor = window.successor(now)
    before += [now + guard] * window.held  # may have left as late as now
    after: list[float] = []
    while len(after) < 2 * limit:
        due = successor.next_free(now)
        assert due is not None
        now = due
        assert successor.take(now)
        successor.departed(now)
        after.append(now)
    for start in after:  # at worst, all that came before arrive as late as they may, and these at once
        assert sum(start - 1.0 <= arrival <= start for arrival in before + after) <= limit


@pytest.mark.parametrize(
    "numbers", [(0, 1.0, 0.05), (10, 0.0, 0.05), (10, -1.0, 0.05), (10, math.inf, 0.0), (10, 1.0, -0.1), (10, 1.0, math.nan)]
)
def test_numbers_that_make_no_sense_are_refused(numbers: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Window(*numbers)


def believed(answers: LateAnswers, late: list[float], *, punctual: int = 0) -> float:
    """How many seconds tokens stay out longer, where so many punctual answers come before each late one."""
    total = 0.0
    for seconds in late:
        answers.punctual += punctual
        total += seconds * answers.withdraw(seconds, 0.05)
    return total


def test_late_answers_are_believed_where_they_are_few() -> None:
    assert believed(LateAnswers(10, 1.0), [0.3] * 10) == pytest.approx(3.0), "a stall, after long calm"
    assert believed(LateAnswers(10, 1.0), [0.2] * 1000, punctual=9) == pytest.approx(200), "one slow packet in ten"
    assert believed(LateAnswers(10, 1.0), [0.03] * 1000, punctual=9) == pytest.approx(30)


def test_late_answers_of_a_service_that_takes_its_time_cost_a_quarter_of_a_percent_of_the_pace() -> None:
    answers = LateAnswers(10, 1.0)
    believed(answers, [0.6] * 100)
    assert believed(answers, [0.6] * 10_000) <= 0.0025 * 10_000 + 0.6


def test_answers_that_are_late_by_less_than_another_guard_cost_nothing_where_they_are_many() -> None:
    answers = LateAnswers(10, 1.0)
    believed(answers, [0.03] * 100, punctual=1)
    assert believed(answers, [0.03] * 1000, punctual=1) == 0.0
    assert answers.withdraw(0.2, 0.05), "but one that is later than that"
