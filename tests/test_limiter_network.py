"""How the limiter fares over networks of all kinds: a simulation of the whole way, in which time costs nothing."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_network import ACTION, APP, Delay, Network, jitter, network, route_change, spikes, stalls, steady

SEEDS = [1, 2, 3]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("out", "at_least"),
    [
        pytest.param(steady(0.03), 0.99, id="steady"),
        pytest.param(jitter(0.03, 0.005), 0.985, id="5 ms of jitter each way"),
        pytest.param(jitter(0.03, 0.02), 0.965, id="20 ms of jitter each way"),
        pytest.param(jitter(0.03, 0.05), 0.95, id="50 ms of jitter each way"),
    ],
)
def test_a_saturated_queue_comes_close_to_the_limit_and_never_over_it(out: Delay, at_least: float, seed: int) -> None:
    with network(out, out, seed=seed) as way:
        way.saturate(400)
        assert way.worst() == 10
        assert way.pace() >= at_least


def test_a_guard_alone_leaves_a_twentieth_of_the_limit_unused() -> None:
    with network(steady(0.03), steady(0.03), served=False) as way:
        way.saturate(60)
        assert way.worst() == 10
        assert 0.94 <= way.pace() <= 0.95


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("varying", "at_least"), [(0.025, 0.94), (0.05, 0.925)])
def test_single_slow_packets_are_no_reason_to_go_over_and_cost_little(varying: float, at_least: float, seed: int) -> None:
    out = spikes(jitter(0.03, varying), 0.05, 0.1, 0.3)
    with network(out, out, seed=seed) as way:
        way.saturate(200)
        assert way.pace() >= at_least
        assert way.worst() == 10


@pytest.mark.parametrize("clients", [2, 3])
@pytest.mark.parametrize("out", [steady(0.03), jitter(0.03, 0.025)], ids=["steady", "varying"])
def test_limiters_that_do_not_know_of_each_other_use_most_of_the_limit_and_share_it(clients: int, out: Delay) -> None:
    with network(out, out) as first:
        ways = [first, *(Network(first.loop, out, out, seed=seed, service=first.service) for seed in range(2, clients + 1))]

        async def caller(way: Network) -> None:
            while True:
                await way.call()

        tasks = [first.loop.create_task(caller(way)) for way in ways for _ in range(20)]
        first.loop.advance(20)
        before = [way.granted for way in ways]
        first.loop.advance(100)
        first.end(tasks)
        shares = [(way.granted - earlier) / 1000 for way, earlier in zip(ways, before, strict=True)]
        assert sum(shares) >= 0.7
        assert min(shares) >= 0.5 * max(shares)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("seconds", [0.06, 0.1, 0.15, 0.3])
def test_a_machine_that_stalls_for_longer_than_the_guard_now_and_then_is_no_reason_to_go_over(
    seconds: float, seed: int
) -> None:
    out = stalls(jitter(0.03, 0.002), 17.3, seconds)
    with network(out, jitter(0.03, 0.002), seed=seed) as way:
        way.saturate(240)
        assert way.worst() == 10
        assert way.pace() >= 0.98


@pytest.mark.parametrize("seed", SEEDS)
def test_a_service_that_takes_its_time_changes_nothing(seed: int) -> None:
    with network(jitter(0.03, 0.01), jitter(0.8, 1.2), seed=seed) as way:
        way.saturate(120)
        assert way.worst() == 10
        assert way.pace() >= 0.94


@pytest.mark.parametrize("seed", SEEDS)
def test_a_route_that_becomes_slower_costs_pace_for_a_while_and_never_goes_over(seed: int) -> None:
    out = route_change(jitter(0.01, 0.005), jitter(0.06, 0.005), 1060.0)
    with network(out, out, seed=seed) as way:
        way.saturate(240)
        assert way.worst() == 10
        assert way.pace(since=180) >= 0.98, "the route before is forgotten"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_route_that_becomes_faster_goes_over_by_what_fits_into_the_difference_for_one_window(seed: int) -> None:
    faster = 0.03
    out = route_change(jitter(0.06, 0.002), jitter(0.06 - faster, 0.002), 1060.0)
    with network(out, out, seed=seed) as way:
        way.saturate(120)
        over = [
            arrival
            for arrival in way.arrivals
            if sum(arrival - 1.0 <= other <= arrival for other in way.arrivals if other <= arrival) > 10
        ]
        assert all(1060.0 <= arrival <= 1062.2 for arrival in over)
        assert way.pace(since=70) >= 0.98


@pytest.mark.parametrize("seed", SEEDS)
def test_a_loop_that_stalls_never_goes_over(seed: int) -> None:
    chance = random.Random(seed)
    with network(jitter(0.03, 0.05), jitter(0.03, 0.05), seed=seed) as way:

        async def stall() -> None:
            while True:
                await asyncio.sleep(chance.uniform(0.5, 3.0))
                way.loop.now += chance.uniform(0.2, 2.0)

        stalling = way.loop.create_task(stall())
        way.saturate(180)
        way.end([stalling])
        assert way.worst() == 10


@settings(max_examples=40, deadline=None)
@given(
    least=st.floats(0.001, 0.3),
    out=st.floats(0, 0.05),
    work=st.floats(0, 1.5),
    back=st.floats(0, 0.5),
    callers=st.integers(1, 40),
    pauses=st.lists(st.floats(0, 70), max_size=3),
    seed=st.integers(0, 1000),
)
def test_no_schedule_goes_over_while_delay_varies_by_no_more_than_the_guard(
    least: float, out: float, work: float, back: float, callers: int, pauses: list[float], seed: int
) -> None:
    with network(jitter(least, out), jitter(least, work + back), seed=seed) as way:
        for pause in [0.0, *pauses]:
            way.loop.advance(pause)
            way.saturate(8, callers=callers)
        assert way.worst() <= 10


def foreground_waits(way: Network, seconds: float) -> list[float]:
    """How long foreground calls wait that come once a second at random, beside a saturated background."""
    chance = random.Random(7)
    waits: list[tuple[float, float]] = []

    async def person() -> None:
        came = way.loop.now
        waits.append((came, await way.call()))

    async def people() -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(chance.expovariate(1.0))
                group.create_task(person())

    coming = way.loop.create_task(people())
    way.saturate(seconds, callers=1000, background=True)
    way.end([coming])
    first = waits[0][0]
    return sorted(wait for came, wait in waits if came >= first + 1.1)


@pytest.mark.parametrize("seed", SEEDS)
def test_beside_a_fleet_a_person_waits_for_a_token_and_not_for_a_window(seed: int) -> None:
    with network(jitter(0.03, 0.005), jitter(0.03, 0.005), seed=seed) as way:
        waits = foreground_waits(way, 180)
        assert waits[int(0.95 * len(waits))] <= 0.2
        assert waits[-1] <= 0.5
        assert way.pace() >= 0.95
        assert way.worst() == 10


def test_a_fleet_alone_spends_all_it_has_at_once() -> None:
    with network(steady(0.03), steady(0.03)) as way:
        way.saturate(60, background=True)
        assert way.pace() >= 0.99
        assert way.arrivals[9] - way.arrivals[0] < 0.01


def test_a_crowd_of_people_leaves_the_fleet_one_call_in_ten() -> None:
    with network(steady(0.03), steady(0.03)) as way:
        served = {True: 0, False: 0}

        async def caller(background: bool) -> None:
            while True:
                await way.call(background=background)
                served[background] += 1

        tasks = [way.loop.create_task(caller(background)) for background in (True, False) for _ in range(50)]
        way.loop.advance(60)
        way.end(tasks)
        assert served[True] / sum(served.values()) == pytest.approx(0.1, abs=0.02)
        assert way.worst() == 10


def test_what_the_limiter_knows_can_be_asked() -> None:
    with network(jitter(0.03, 0.005), jitter(0.03, 0.005)) as way:
        way.saturate(60)
        stats = way.limiter.stats(APP, ACTION)
        assert stats.sent == len(way.arrivals)
        assert stats.round_trip is not None
        assert 0.06 <= stats.round_trip <= 0.07
        assert stats.share == pytest.approx(way.pace(), abs=0.03)
        assert (stats.guard, stats.withheld, stats.complaints, stats.waiting, stats.waiting_background) == (0.05, 0, 0, 0, 0)
