"""Every fault, on every way in which an Action may be repeated, on the first attempt only and on all of them.

The two tables below were written by hand, from what the Actions mean. A cell says what the call ends in, how often the work
was done, and how many requests reached the service: ``done 1/2`` is a result after two requests, one of which was carried
out. ``-`` stands where the fault cannot happen.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import anyio
import pytest
from requests_made import live, register, stream, talking, voice
from unsteady_network import unsteady_network

from zego_aigc import Client, LocalLimiter, OutcomeUnknown, ZegoError, aiagent
from zego_aigc.calls.retry import RetryPolicy
from zego_aigc.sandbox import FaultRule, Pace, Sandbox
from zego_aigc.schema.actions import Action

pytestmark = pytest.mark.anyio

# READS query: QueryAgents. OVERWRITES update: UpdateAgent. ENDS delete: DeleteAgentInstance.
# ENDS unregister: UnregisterAgent. ONCE say: SendAgentInstanceTTS.
# CREATES voice: CreateAgentInstance, which cannot be looked up. CREATES agent: RegisterAgent, which can be, by its id.
# CREATES stream: CreateDigitalHumanStreamTask, which can be, by its room and stream.

ON_THE_FIRST_ATTEMPT = """
fault             query               update              delete              unregister          voice               agent               stream              say
late              done -/1            done 1/1            done 1/1            done 1/1            done 1/1            done 1/1            done 1/1            done 1/1
wrong_clock       Authentication -/2  Authentication 0/2  Authentication 0/2  Authentication 0/2  Authentication 0/2  Authentication 0/2  Authentication 0/2  Authentication 0/2
too_fast          done -/2            done 1/2            done 1/2            done 1/2            done 1/2            done 1/2            done 1/2            done 1/2
http_429          done -/2            done 1/2            done 1/2            done 1/2            done 1/2            done 1/2            done 1/2            done 1/2
no_capacity       done -/2            done 1/2            done 1/2            done 1/2            done 1/2            done 1/2            done 1/2            done 1/2
quota_full        -                   -                   -                   -                   QuotaExceeded 0/1   -                   QuotaExceeded 0/1   -
bad_parameter     BadParameter -/1    BadParameter 0/1    BadParameter 0/1    BadParameter 0/1    BadParameter 0/1    BadParameter 0/1    BadParameter 0/1    BadParameter 0/1
unheard_of        ApiError -/1        ApiError 0/1        ApiError 0/1        ApiError 0/1        ApiError 0/1        ApiError 0/1        ApiError 0/1        ApiError 0/1
unheard_of_500    done -/2            done 1/2            done 1/2            done 1/2            Unknown 0/1         done 1/2            done 1/2            Unknown 0/1
transient         done -/2            done 1/2            done 1/2            done 1/2            Unknown 0/1         done 1/2            done 1/2            Unknown 0/1
http_502          done -/2            done 1/2            done 1/2            done 1/2            Unknown 0/1         done 1/2            done 1/2            Unknown 0/1
http_503_later    done -/2            done 1/2            done 1/2            done 1/2            Unknown 0/1         done 1/2            done 1/2            Unknown 0/1
redirect          done -/2            done 1/2            done 1/2            done 1/2            Unknown 0/1         done 1/2            done 1/2            Unknown 0/1
cut_before_work   done -/2            done 1/2            done 1/2            done 1/2            Unknown 0/1         done 1/2            done 1/2            Unknown 0/1
stall             done -/2            done 1/2            done 1/2            done 1/2            Unknown 0/1         done 1/2            done 1/2            Unknown 0/1
cut_after_work    done -/2            done 1/2            done 1/2            done 1/2            Unknown 1/1         done 1/1            done 1/1            Unknown 1/1
stall_after_work  done -/2            done 1/2            done 1/2            done 1/2            Unknown 1/1         done 1/1            done 1/1            Unknown 1/1
garbage           done -/2            done 1/2            done 1/2            done 1/2            Unknown 1/1         done 1/1            done 1/1            Unknown 1/1
truncated         done -/2            done 1/2            done 1/2            done 1/2            Unknown 1/1         done 1/1            done 1/1            Unknown 1/1
oversize          done -/2            done 1/2            done 1/2            done 1/2            Unknown 1/1         done 1/1            done 1/1            Unknown 1/1
"""  # noqa: E501

# A service whose clock was wrong for one answer leads the one correction astray; one whose clock stays as it is does not.
# Attempts that are lost or find no connection are given up after the third here; being told "later" goes on to the deadline.

ON_EVERY_ATTEMPT = """
fault             query                   update                  delete                  unregister              voice                   agent                   stream                  say
late              done -/1                done 1/1                done 1/1                done 1/1                done 1/1                done 1/1                done 1/1                done 1/1
wrong_clock       done -/2                done 1/2                done 1/2                done 1/2                done 1/2                done 1/2                done 1/2                done 1/2
too_fast          RateLimited -/*         RateLimited 0/*         RateLimited 0/*         RateLimited 0/*         RateLimited 0/*         RateLimited 0/*         RateLimited 0/*         RateLimited 0/*
http_429          RateLimited -/*         RateLimited 0/*         RateLimited 0/*         RateLimited 0/*         RateLimited 0/*         RateLimited 0/*         RateLimited 0/*         RateLimited 0/*
no_capacity       ServiceUnavailable -/*  ServiceUnavailable 0/*  ServiceUnavailable 0/*  ServiceUnavailable 0/*  ServiceUnavailable 0/*  ServiceUnavailable 0/*  ServiceUnavailable 0/*  ServiceUnavailable 0/*
quota_full        -                       -                       -                       -                       QuotaExceeded 0/1       -                       QuotaExceeded 0/1       -
bad_parameter     BadParameter -/1        BadParameter 0/1        BadParameter 0/1        BadParameter 0/1        BadParameter 0/1        BadParameter 0/1        BadParameter 0/1        BadParameter 0/1
unheard_of        ApiError -/1            ApiError 0/1            ApiError 0/1            ApiError 0/1            ApiError 0/1            ApiError 0/1            ApiError 0/1            ApiError 0/1
unheard_of_500    ServiceUnavailable -/3  ServiceUnavailable 0/3  ServiceUnavailable 0/*  ServiceUnavailable 0/*  Unknown 0/1             Unknown 0/3             Unknown 0/3             Unknown 0/1
transient         ServiceUnavailable -/3  ServiceUnavailable 0/3  ServiceUnavailable 0/*  ServiceUnavailable 0/*  Unknown 0/1             Unknown 0/3             Unknown 0/3             Unknown 0/1
http_502          BadResponse -/3         BadResponse 0/3         BadResponse 0/*         BadResponse 0/*         Unknown 0/1             Unknown 0/3             Unknown 0/3             Unknown 0/1
http_503_later    BadResponse -/3         BadResponse 0/3         BadResponse 0/*         BadResponse 0/*         Unknown 0/1             Unknown 0/3             Unknown 0/3             Unknown 0/1
redirect          BadResponse -/3         BadResponse 0/3         BadResponse 0/*         BadResponse 0/*         Unknown 0/1             Unknown 0/3             Unknown 0/3             Unknown 0/1
cut_before_work   TransportError -/3      TransportError 0/3      TransportError 0/*      TransportError 0/*      Unknown 0/1             Unknown 0/3             Unknown 0/3             Unknown 0/1
stall             TimedOut -/3            TimedOut 0/3            TimedOut 0/*            TimedOut 0/*            Unknown 0/1             Unknown 0/3             Unknown 0/3             Unknown 0/1
cut_after_work    TransportError -/3      TransportError 1/3      TransportError 1/*      TransportError 1/*      Unknown 1/1             done 1/1                done 1/1                Unknown 1/1
stall_after_work  TimedOut -/3            TimedOut 1/3            TimedOut 1/*            TimedOut 1/*            Unknown 1/1             done 1/1                done 1/1                Unknown 1/1
garbage           BadResponse -/3         BadResponse 1/3         BadResponse 1/*         BadResponse 1/*         Unknown 1/1             done 1/1                done 1/1                Unknown 1/1
truncated         BadResponse -/3         BadResponse 1/3         BadResponse 1/*         BadResponse 1/*         Unknown 1/1             done 1/1                done 1/1                Unknown 1/1
oversize          BadResponse -/3         BadResponse 1/3         BadResponse 1/*         BadResponse 1/*         Unknown 1/1             done 1/1                done 1/1                Unknown 1/1
"""  # noqa: E501

HTML = b"<html><head><title>502</title></head><body><h1>Bad Gateway</h1></body></html>"

FAULTS: dict[str, Callable[[FaultRule], object]] = {
    "late": lambda calls: calls.latency(0.02),
    "wrong_clock": lambda calls: calls.wrong_clock(-4000),
    "too_fast": lambda calls: calls.too_fast(),
    "http_429": lambda calls: calls.answer(429, b"slow down", retry_after="0"),
    "no_capacity": lambda calls: calls.refuse(410000010),
    "quota_full": lambda calls: calls.quota_full(),
    "bad_parameter": lambda calls: calls.refuse(410000003, "RTC.RoomId: too odd"),
    "unheard_of": lambda calls: calls.refuse(419999999),
    "unheard_of_500": lambda calls: calls.refuse(419999999, status=500),
    "transient": lambda calls: calls.refuse(410000001),
    "http_502": lambda calls: calls.answer(502, HTML),
    "http_503_later": lambda calls: calls.answer(503, HTML, retry_after="0"),
    "redirect": lambda calls: calls.redirect("http://elsewhere.example/"),
    "cut_before_work": lambda calls: calls.cut_before_work(),
    "stall": lambda calls: calls.stall(),
    "cut_after_work": lambda calls: calls.cut_after_work(),
    "stall_after_work": lambda calls: calls.stall_after_work(),
    "garbage": lambda calls: calls.garbage(),
    "truncated": lambda calls: calls.truncated(),
    "oversize": lambda calls: calls.oversize(16 << 20),
}

POLICY = RetryPolicy(max_attempts=3, initial_backoff=0.005, max_backoff=0.05, attempt_timeout=2.0, lookup_delay=0.02)
DEADLINE = 30.0
"""Seconds: far above what three attempts without an answer take."""
SHORT_DEADLINE = 4.0
"""Seconds, for what waits for the deadline in any case: it leaves the last attempt one second at least."""


class Column(NamedTuple):
    """One request, and how often its work was done."""

    request: Callable[[str], Action[Any]]
    """For the id of the agent instance that lives."""
    done: Callable[[Sandbox, str], int | None]


COLUMNS = {
    "query": Column(lambda _: aiagent.QueryAgents(agent_ids=["guide"]), lambda *_: None),
    "update": Column(
        lambda _: aiagent.UpdateAgent(agent_id="guide", name="New"),
        lambda sandbox, _: int(sandbox.app.agents["guide"].name == "New"),
    ),
    "delete": Column(
        lambda instance: aiagent.DeleteAgentInstance(agent_instance_id=instance),
        lambda sandbox, instance: int(instance not in sandbox.app.instances),
    ),
    "unregister": Column(
        lambda _: aiagent.UnregisterAgent(agent_id="spare"),
        lambda sandbox, _: int("spare" not in sandbox.app.agents),
    ),
    "voice": Column(lambda _: voice("new"), lambda sandbox, _: len(sandbox.app.instances) - 1),
    "agent": Column(lambda _: register("new"), lambda sandbox, _: int("new" in sandbox.app.agents)),
    "stream": Column(lambda _: stream("new"), lambda sandbox, _: len(sandbox.app.tasks)),
    "say": Column(
        lambda instance: aiagent.SendAgentInstanceTTS(agent_instance_id=instance, text="Hello!"),
        lambda sandbox, instance: sandbox.app.instances[instance].conversation.round,
    ),
}


def rows(table: str) -> list[tuple[str, dict[str, str]]]:
    lines = table.strip().splitlines()
    names = lines[0].split()[1:]
    read = []
    for line in lines[1:]:
        words = line.split()
        rest = iter(words[1:])
        cells = ["-" if word == "-" else f"{word} {next(rest)}" for word in rest]
        read.append((words[0], dict(zip(names, cells, strict=True))))
    return read


async def ending(column: Column, fault: Callable[[FaultRule], object], *, times: int | None, timeout: float) -> str:
    """What a cell says, found out."""
    async with Sandbox(rate_limit=None, quota=None, pace=Pace(stream_start=0)) as sandbox:
        options: dict[str, Any] = {"limiter": LocalLimiter(limit=10_000), "retry": POLICY}
        async with sandbox.client(**options) as client:
            await client.call(register("guide"))
            await client.call(register("spare"))
            instance = (await client.call(voice("old"))).agent_instance_id
            request = column.request(instance)
            before = sent(sandbox, request)
            situation = sandbox.faults.on(type(request))
            fault(situation if times is None else situation.times(times))
            said = await call(client, request, timeout)
            done = column.done(sandbox, instance)
            return f"{said} {'-' if done is None else done}/{sent(sandbox, request) - before}"


async def call(client: Client, request: Action[Any], timeout: float) -> str:
    with anyio.fail_after(60):
        try:
            await client.call(request, timeout=timeout)
        except OutcomeUnknown as error:
            return "Unknown" if error.action is request and error.__cause__ is not None else f"Unknown, but {error!r}"
        except ZegoError as error:
            return type(error).__name__.replace("AuthenticationError", "Authentication")
    return "done"


def sent(sandbox: Sandbox, request: Action[Any]) -> int:
    return sum(each.action == type(request).__name__ for each in sandbox.recording.calls)


@pytest.mark.parametrize(("fault", "expected"), [pytest.param(*row, id=row[0]) for row in rows(ON_THE_FIRST_ATTEMPT)])
async def test_a_fault_on_the_first_attempt_ends_as_the_table_says(fault: str, expected: dict[str, str]) -> None:
    await compare(fault, expected, times=1)


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "expected"), [pytest.param(*row, id=row[0]) for row in rows(ON_EVERY_ATTEMPT)])
async def test_a_fault_on_every_attempt_ends_as_the_table_says(fault: str, expected: dict[str, str]) -> None:
    await compare(fault, expected, times=None)


async def compare(fault: str, expected: dict[str, str], *, times: int | None) -> None:
    found = dict.fromkeys(expected, "-")

    async def find(name: str) -> None:
        # What goes on to the deadline, and what is sent only once and may never be answered.
        waits = expected[name].endswith("/*") or expected[name] in {"Unknown 0/1", "Unknown 1/1"}
        timeout = SHORT_DEADLINE if waits else DEADLINE
        found[name] = await ending(COLUMNS[name], FAULTS[fault], times=times, timeout=timeout)

    async with anyio.create_task_group() as group:
        for name, cell in expected.items():
            if cell != "-":
                group.start_soon(find, name)
    for name, cell in expected.items():
        if cell.endswith("/*"):
            found[name] = f"{found[name].rpartition('/')[0]}/*"
    assert found == expected


async def test_the_tables_name_every_fault_that_the_sandbox_knows() -> None:
    # What the sandbox can do that is no verb of its own: an answer of a gateway, a redirect, a refusal with any code.
    shown = {name for name in dir(FaultRule) if not name.startswith("_")} - {
        "after",
        "chance",
        "every",
        "matches",
        "times",
        "used_up",
        "where",
    }
    covered = {"latency", "wrong_clock", "answer", "redirect", "refuse", "quota_full", "too_fast"}
    assert shown - covered <= FAULTS.keys()
    assert covered <= shown
    assert [name for name, _ in rows(ON_THE_FIRST_ATTEMPT)] == list(FAULTS) == [name for name, _ in rows(ON_EVERY_ATTEMPT)]


# --- the network is gone for 3 s as a block ends

GONE_AS_THE_BLOCK_ENDS = """
left        voice  talking  live  stream
leaves      0      0        0     0
fails       0      0        0     0
cancelled   0      0        0     0
"""

MADE: dict[str, Callable[[], Action[Any]]] = {"voice": voice, "talking": talking, "live": live, "stream": stream}


async def leave(client: Client, create: Action[Any], how: str, gone: Callable[[], object]) -> None:
    """Enter a block, and leave it just as the network goes."""
    with anyio.CancelScope() as scope, suppress(ZeroDivisionError):
        async with client.handle(create):
            gone()
            if how == "fails":
                raise ZeroDivisionError
            if how == "cancelled":
                scope.cancel()
                await anyio.sleep(1)


async def left_behind(create: Action[Any], how: str) -> int:
    """How many live after a block that was left as the network was gone for 3 s."""
    async with (
        Sandbox(rate_limit=None, pace=Pace(stream_start=0, stream_stop=0)) as sandbox,
        unsteady_network(sandbox.url) as network,
        anyio.create_task_group() as group,
        sandbox.client(aiagent_url=network.url, digitalhuman_url=network.url) as client,
    ):
        await client.call(register())
        await leave(client, create, how, lambda: group.start_soon(network.gone_for, 3.0))
        left = len(sandbox.app.instances) + sum(task.running for task in sandbox.app.tasks.values())
    return left  # noqa: RET504 - a task group may swallow what is raised in it, for all that mypy knows


@pytest.mark.slow
async def test_a_network_that_is_gone_for_3_s_as_a_block_ends_leaves_nothing_behind() -> None:
    expected = {how: {kind: int(cell) for kind, cell in zip(MADE, cells, strict=True)} for how, *cells in table()}
    found: dict[str, dict[str, int]] = {how: {} for how in expected}

    async def find(how: str, kind: str) -> None:
        found[how][kind] = await left_behind(MADE[kind](), how)

    async with anyio.create_task_group() as group:
        for how, cells in expected.items():
            for kind in cells:
                group.start_soon(find, how, kind)
    assert found == expected


def table() -> list[list[str]]:
    return [line.split() for line in GONE_AS_THE_BLOCK_ENDS.strip().splitlines()[1:]]
