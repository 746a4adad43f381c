"""Provisioning and teardown when something fails under them: the journal, the network, the service, the clock."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from provision_fixtures import *  # noqa: F403 - fixtures
from provision_fixtures import FAST, PATIENT, copied, ids, killed_in_flight, removed, rows, run, shift, together, until
from requests_made import llm, register, stream, talking, voice

from zego_aigc import Action, Client, LocalLimiter, LocalQuota, Permit
from zego_aigc.aiagent import CreateAgentInstance, QueryAgents, RegisterAgent
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, QueryDigitalHumanStreamTasks
from zego_aigc.errors import QuotaExceeded
from zego_aigc.provisioning import Entry, JournalLost, Outcome, provision, teardown
from zego_aigc.provisioning.lock import is_locked
from zego_aigc.sandbox import Sandbox

pytestmark = pytest.mark.anyio


@pytest.fixture
async def slow(sandbox: Sandbox) -> AsyncIterator[Client]:
    """A client that makes a hundred calls a second."""
    async with sandbox.client(limiter=LocalLimiter(10, 0.1, 0.0), timeout=60.0, retry=PATIENT) as made:
        yield made


# --- the journal


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
@pytest.mark.parametrize("replaced", [False, True])
async def test_a_journal_that_is_removed_stops_the_run_and_all_that_was_made_is_listed(
    sandbox: Sandbox, slow: Client, journal: Path, *, replaced: bool
) -> None:
    seen: list[Outcome] = []
    with pytest.raises(JournalLost, match="was removed or replaced") as caught:  # noqa: PT012 - what comes before is kept
        async with provision(slow, [stream(str(n)) for n in range(1000)], journal=journal) as running:
            async for outcome in running:
                seen.append(outcome)
                if len(seen) == 20:
                    os.unlink(journal)  # noqa: PTH108
                    if replaced:
                        os.close(os.open(journal, os.O_CREAT))
    assert len(seen) < 900, "it was noticed long before the run would have ended"
    assert {made_id for _, made_id in caught.value.made} == set(sandbox.app.tasks)
    assert ids(seen) <= set(sandbox.app.tasks)
    assert all(key.startswith("CreateDigitalHumanStreamTask:stream-") for key, _ in caught.value.made)


FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from zego_aigc.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
async def test_a_disk_that_fills_up_ends_the_run_with_1_and_every_id_is_in_the_journal_or_printed(
    sandbox: Sandbox, journal: Path, tmp_path: Path
) -> None:
    fleet = tmp_path / "fleet.jsonl"
    entries = [{"Action": "CreateDigitalHumanStreamTask", "Body": stream(str(n)).to_wire()} for n in range(80)]
    fleet.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    environment = {
        # Where branches are measured, what they are written to would be full, too.
        **{name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
        "PYTHONDONTWRITEBYTECODE": "1",  # or the interpreter leaves half a compiled module to whoever imports it next
        "ZEGO_APP_ID": str(sandbox.app_id),
        "ZEGO_SERVER_SECRET": sandbox.server_secret,
        "ZEGO_AIAGENT_URL": sandbox.url,
        "ZEGO_DIGITALHUMAN_URL": sandbox.url,
    }
    command = ["provision", str(fleet), "--journal", str(journal), "--plain", "--rate", "100"]
    # Plan, attempts and outcomes take forty thousand bytes each if each is one commit, and more if it is several.
    full = await anyio.run_process(
        [sys.executable, "-c", FULL_DISK, "90000", *command], env=environment, check=False, stderr=subprocess.STDOUT
    )
    out = full.stdout.decode()
    assert full.returncode == 1, out
    assert "cannot be used" in out
    assert "Traceback" not in out
    known = {row["made_id"] for row in rows(journal).values()} | {word for line in out.splitlines() for word in line.split()}
    in_doubt = sum(row["status"] == "sent" for row in rows(journal).values())
    assert len(set(sandbox.app.tasks) - known) <= in_doubt
    again = await anyio.run_process([sys.executable, "-m", "zego_aigc", *command], env=environment, check=False)
    assert again.returncode == 0, "with room again"
    assert len(sandbox.app.tasks) == 80


# --- what may still be carried out, and the clock


@pytest.mark.slow
async def test_what_may_still_be_carried_out_is_unknown_and_not_struck_off(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    late = sandbox.faults.on(RegisterAgent, CreateDigitalHumanStreamTask).latency(60.0)
    fleet = [make(str(n)) for make in (stream, register) for n in range(3)]
    async with provision(client, fleet, journal=journal):
        await until(lambda: late.hits == 6)
        killed = copied(journal)
        outcomes, report = await removed(client, killed)
        assert (report.unknown, report.exit_status) == (6, 3)
        assert all("may still carry the request out" in str(outcome.error) for outcome in outcomes.values())
        await together(sandbox, late, 6)
    _, report = await removed(client, killed)
    assert (report.done, report.exit_status) == (6, 0)
    assert not sandbox.app.agents
    assert not [task for task in sandbox.app.tasks.values() if task.running]


@pytest.mark.parametrize("spec", ["short", "long"])
async def test_an_agent_of_unknown_outcome_is_removed_if_it_is_what_was_asked_for_and_left_alone_otherwise(
    sandbox: Sandbox, client: Client, journal: Path, spec: str
) -> None:
    prompt = "You greet visitors. " * (1 if spec == "short" else 400)
    fleet = [register(name, LLM={**llm().to_wire(), "SystemPrompt": prompt}) for name in ("ours", "anothers")]
    await client.call(register("anothers", LLM={**llm().to_wire(), "SystemPrompt": f"{prompt}!"}))
    sandbox.faults.on(RegisterAgent).cut_after_work()
    sandbox.faults.on(QueryAgents).refuse(410000001)
    late = sandbox.faults.on(RegisterAgent).latency(60.0)  # none is lost before the other has left
    async with provision(client, fleet, journal=journal, lookup_delay=600):
        await together(sandbox, late, 2)
        await until(lambda: journal.exists() and [row["status"] for row in rows(journal).values()] == ["unknown"] * 2)
    sandbox.faults.clear()
    outcomes, report = await removed(client, journal)
    assert (report.done, report.failed, report.exit_status) == (1, 1, 1)
    assert "left alone" in str(outcomes["RegisterAgent:anothers"].error)
    assert [*sandbox.app.agents] == ["anothers"]
    assert (await removed(client, journal))[1].exit_status == 0, "it is known now"


async def test_an_instance_of_unknown_outcome_is_struck_off_by_a_teardown_once_it_must_have_ended(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await client.call(register())
    sandbox.faults.on(CreateAgentInstance).cut_before_work()
    await run(client, [voice()], journal)
    outcomes, report = await removed(client, journal)
    assert report.exit_status == 3
    assert "Without its user it has ended by" in str(outcomes["CreateAgentInstance:agent-1"].error)
    shift(journal, -200)
    assert (await removed(client, journal))[1].exit_status == 0
    assert (await removed(client, journal))[1].total == 0


async def test_what_is_absent_is_struck_off_once_it_cannot_be_carried_out_any_more(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    sandbox.faults.on(CreateDigitalHumanStreamTask).cut_before_work()
    async with provision(client, [stream()], journal=journal, lookup_delay=60):
        await until(lambda: journal.exists() and [row["status"] for row in rows(journal).values()] == ["unknown"])
    assert (await removed(client, journal))[1].exit_status == 3
    shift(journal, -60)
    assert (await removed(client, journal))[1].exit_status == 0
    assert (await removed(client, journal))[1].total == 0


@pytest.mark.slow
@pytest.mark.parametrize("again", [run, removed])
async def test_a_task_of_ours_that_seems_older_than_its_request_is_unknown_and_never_absent(
    sandbox: Sandbox, client: Client, journal: Path, again: Any
) -> None:
    """As when this machine's clock was ahead, and has been put right."""
    fleet = [stream(str(n)) for n in range(3)]
    killed = await killed_in_flight(sandbox, client, fleet, journal)
    shift(killed, 70)
    outcomes, report = await (run(client, fleet, killed) if again is run else removed(client, killed))
    assert (report.unknown, report.exit_status) == (3, 3)
    told = " ".join(str(outcome.error) for outcome in outcomes.values())
    assert all(task_id in told for task_id in sandbox.app.tasks), "it says which, and what to do"
    assert len(sandbox.app.tasks) == 3


async def test_a_clock_that_was_put_back_by_an_hour_holds_nothing_up(sandbox: Sandbox, client: Client, journal: Path) -> None:
    sandbox.faults.on(CreateDigitalHumanStreamTask).cut_before_work()
    async with provision(client, [stream()], journal=journal, lookup_delay=60):
        await until(lambda: journal.exists() and [row["status"] for row in rows(journal).values()] == ["unknown"])
    sandbox.faults.clear()
    shift(journal, 3600)
    with anyio.fail_after(60):
        _, report = await run(client, [stream()], journal)
    assert report.exit_status == 0


async def test_attempts_are_noted_in_the_services_time(sandbox: Sandbox, client: Client, journal: Path) -> None:
    """Those too that left before its first answer told what that is."""
    await sandbox.clock.advance(500)
    sandbox.faults.on(CreateDigitalHumanStreamTask).latency(0.05)
    async with provision(client, [stream(str(n)) for n in range(3)], journal=journal) as running:
        async for outcome in running:
            assert outcome.status == "done"
    now = sandbox.clock.now()
    assert all(now - 30 < row["last_sent"] <= now + 1 for row in rows(journal).values())


# --- an outage, and being told "later"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["503", "cut", "refused"])
async def test_an_outage_costs_no_more_than_what_was_in_flight(sandbox: Sandbox, journal: Path, how: str) -> None:
    fleet = [
        register("a"),
        *(voice(str(n), "a") for n in range(60)),
        *(talking(f"d{n}", "a") for n in range(20)),
        *(stream(str(n)) for n in range(20)),
    ]
    began = False
    async with (
        # A window of a second: a machine that is held up for less lets no second one leave before the first answer is lost.
        sandbox.client(limiter=LocalLimiter(10, 1.0, 0.0), timeout=60) as client,
        provision(client, fleet, journal=journal, lookup_delay=0.05) as running,
    ):
        async for _ in running:
            if not began and running.report.done > 15:
                began = True
                in_flight = sum(lane.in_flight for lane in running.progress.lanes)
                everywhere = sandbox.faults.everywhere()
                if how == "503":
                    everywhere.answer(503, b"<html>503</html>")
                elif how == "cut":
                    everywhere.cut_before_work()
                else:
                    everywhere.refuse(410000001)  # an internal error
                asyncio.get_running_loop().call_later(4.0, sandbox.faults.clear)
    report = running.report
    assert report.failed == 0
    assert report.unknown <= in_flight + 10, "a window's worth may leave before the first answer is lost"
    assert report.done == 101 - report.unknown
    assert {outcome.made_by or type(outcome.action).__name__ for outcome in report.unknowns} <= {"CreateAgentInstance"}
    assert len(sandbox.app.tasks) == 20


@pytest.mark.slow
async def test_a_teardown_waits_an_outage_out(sandbox: Sandbox, slow: Client, journal: Path) -> None:
    await run(slow, [register("a"), *(voice(str(n), "a") for n in range(50)), *(stream(str(n)) for n in range(50))], journal)
    sandbox.faults.everywhere().answer(503, b"<html>503</html>")
    asyncio.get_running_loop().call_later(1.0, sandbox.faults.clear)
    _, report = await removed(slow, journal)
    assert (report.done, report.exit_status) == (101, 0)
    assert not sandbox.app.instances


@pytest.mark.parametrize("later", [429, 400010009, 400010002])
async def test_what_is_told_later_waits_and_does_not_fail(sandbox: Sandbox, journal: Path, later: int) -> None:
    fault = sandbox.faults.on(CreateDigitalHumanStreamTask).times(12)
    fault.answer(429, b"slow down") if later == 429 else fault.refuse(later)
    async with sandbox.client(limiter=LocalLimiter(FAST), timeout=0.3) as hasty:
        _, report = await run(hasty, [stream(str(n)) for n in range(8)], journal)
    assert (report.done, report.failed) == (8, 0)


@pytest.mark.slow
async def test_a_queue_that_is_longer_than_a_deadline_fails_no_entry(sandbox: Sandbox, journal: Path) -> None:
    """Others use the same limiter, so that a second attempt would wait longer for its turn than its call may take."""
    sandbox.faults.on(RegisterAgent).times(4).refuse(410001029)
    async with sandbox.client(limiter=LocalLimiter(2, 0.4, 0.0), timeout=0.3) as client:
        _, report = await run(client, [register(str(n)) for n in range(6)], journal)
    assert (report.done, report.failed) == (6, 0)


# --- the quota


async def test_what_the_journal_knows_is_counted_before_anything_is_made(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await run(client, [stream(str(n)) for n in range(3)], journal, quota=LocalQuota(streams=3))
    fleet = [stream(str(n)) for n in range(9, -1, -1)]
    _, report = await run(client, fleet, journal, quota=LocalQuota(streams=3), on_quota="fail")
    assert (report.done, report.failed) == (3, 7)
    assert len(sandbox.app.tasks) == 3


async def test_what_may_live_holds_a_place_and_has_it_when_it_is_tried_again(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    sandbox.faults.on(CreateDigitalHumanStreamTask).cut_before_work()
    async with provision(client, [stream("lost")], journal=journal, lookup_delay=60):
        await until(lambda: journal.exists() and [row["status"] for row in rows(journal).values()] == ["unknown"])
    sandbox.faults.clear()
    fleet = [stream("new"), stream("lost")]
    outcomes, _ = await run(client, fleet, journal, quota=LocalQuota(streams=1), on_quota="fail", lookup_delay=0.3)
    assert outcomes["CreateDigitalHumanStreamTask:stream-new"].status == "failed"
    assert outcomes["CreateDigitalHumanStreamTask:stream-lost"].status == "done"


def raises(_: Entry, __: QuotaExceeded) -> Action[Any]:
    raise ValueError("a mistake of the caller's")


@pytest.mark.parametrize(
    ("on_quota", "said"),
    [
        (lambda entry, _: entry.action, "no place either"),
        (lambda _, __: stream("another"), "no place either"),
        (lambda _, __: "a text", "returned a str"),
        (lambda _, __: RegisterAgent(agent_id=""), "breaks rules"),
        (raises, "raised ValueError: a mistake"),
    ],
)
async def test_a_wrong_answer_of_on_quota_fails_its_entry_and_nothing_else(
    sandbox: Sandbox, client: Client, journal: Path, on_quota: Any, said: str
) -> None:
    sandbox.app.quotas.streams = 1
    with anyio.fail_after(60):
        outcomes, report = await run(client, [*(stream(str(n)) for n in range(3)), register("a")], journal, on_quota=on_quota)
    assert (report.done, report.failed) == (2, 2)
    assert all(said in str(outcome.error) for outcome in outcomes.values() if outcome.status == "failed")


# --- being cancelled


async def cancel_unanswered(journal: Path, *, rollback: bool) -> None:
    """Cancel a run that nothing answers any more, and look into its journal."""
    fleet = [*(stream(str(n)) for n in range(30)), *(register(str(n)) for n in range(30))]
    async with (
        Sandbox(quota=None, rate_limit=None) as sandbox,
        sandbox.client(limiter=LocalLimiter(FAST), timeout=600) as patient,
    ):
        stalled = sandbox.faults.on(RegisterAgent, CreateDigitalHumanStreamTask).after(5).stall_after_work()
        with anyio.CancelScope() as scope:
            async with provision(patient, fleet, journal=journal, rollback=rollback) as running:
                seen = 0
                async for _ in running:
                    if (seen := seen + 1) == 5:
                        await until(lambda: stalled.hits)
                        scope.cancel()
        assert rows(journal)
        if not rollback:  # which finds and removes what was made all the same
            assert "sent" in {row["status"] for row in rows(journal).values()}
    assert not is_locked(journal)


@pytest.mark.slow
async def test_a_cancelled_block_ends_although_nothing_is_answered(tmp_path: Path) -> None:
    with anyio.fail_after(60):  # and not after the 600 s that a call may take
        async with anyio.create_task_group() as group:
            for rollback in (False, True):
                group.start_soon(partial(cancel_unanswered, tmp_path / f"{rollback}.journal", rollback=rollback))


class StopsAsItGrants:
    """A limiter that lets two creates go, and has the run stopped with each further permit that it hands out."""

    def __init__(self) -> None:
        self._inner = LocalLimiter(FAST)
        self._granted = 0
        self.two_are_done = anyio.Event()
        self.stop: Callable[[], None] = lambda: None

    async def acquire(self, app_id: int, action: str, *, background: bool = False) -> Permit:
        permit = await self._inner.acquire(app_id, action, background=background)
        self._granted += 1
        if self._granted > 2:
            await self.two_are_done.wait()
            self.stop()
        return permit


@pytest.mark.parametrize("way", ["past the session", "through the session"])
async def test_what_was_granted_but_has_not_left_as_a_run_is_stopped_is_not_sent_and_not_unknown(
    sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "through the session":
        monkeypatch.setenv("ZEGO_AIGC_NO_FASTPATH", "1")
    limiter = StopsAsItGrants()
    async with (
        sandbox.client(limiter=limiter) as client,
        provision(client, [stream(str(n)) for n in range(10)], journal=journal) as running,
    ):
        limiter.stop = running.stop
        async for _ in running:
            if running.report.done == 2:
                limiter.two_are_done.set()
    report = running.report
    assert (report.done, report.unknown, report.pending) == (2, 0, 8)
    assert len(sandbox.app.tasks) == 2
    assert {row["status"] for row in rows(journal).values()} == {"done", "pending"}


@pytest.mark.slow
async def test_what_was_refused_and_is_to_be_sent_again_is_not_unknown_when_the_run_is_stopped_before(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await run(client, [stream()], journal)
    await removed(client, journal)
    sandbox.faults.on(CreateDigitalHumanStreamTask).refuse(400000015)  # as while what was there is still being closed
    async with (
        sandbox.client(limiter=LocalLimiter(FAST), timeout=60) as patient,  # so that it is stopped before it gives up
        provision(patient, [stream()], journal=journal) as running,
    ):
        await until(lambda: [(row["status"], row["attempts"] > 1) for row in rows(journal).values()] == [("pending", True)])
        running.stop()
        async for _ in running:
            pass
    assert (running.report.unknown, running.report.pending) == (0, 1)


@pytest.mark.slow
async def test_a_teardown_that_is_stopped_while_it_looks_things_up_ends_at_once(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    sandbox.faults.on(CreateDigitalHumanStreamTask).after(3).cut_after_work()
    sandbox.faults.on(QueryDigitalHumanStreamTasks).refuse(400000001)
    late = sandbox.faults.on(CreateDigitalHumanStreamTask).latency(60.0)  # none is lost before all have left
    async with provision(client, [stream(str(n)) for n in range(20)], journal=journal, lookup_delay=600):
        await together(sandbox, late, 20)
        await until(lambda: journal.exists() and sum(row["status"] == "unknown" for row in rows(journal).values()) == 17)
    sandbox.faults.clear()
    sandbox.faults.on(QueryDigitalHumanStreamTasks).stall()
    async with sandbox.client(limiter=LocalLimiter(FAST), timeout=600) as patient, teardown(patient, journal) as running:
        await until(lambda: running.report.done == 3)  # what is known is not held up
        began = time.monotonic()
        running.stop()
        async for _ in running:
            pass
    assert time.monotonic() - began < 60, "it did not wait for the list, which never comes"
    assert running.report.done == 3


async def test_one_list_serves_all_look_ups_of_a_teardown(sandbox: Sandbox, client: Client, journal: Path) -> None:
    sandbox.faults.on(CreateDigitalHumanStreamTask).cut_after_work()
    sandbox.faults.on(QueryDigitalHumanStreamTasks).refuse(400000001)
    late = sandbox.faults.on(CreateDigitalHumanStreamTask).latency(60.0)  # none is lost before all have left
    async with provision(client, [stream(str(n)) for n in range(100)], journal=journal, lookup_delay=600):
        await together(sandbox, late, 100)
        await until(lambda: {row["status"] for row in rows(journal).values()} == {"unknown"})
    sandbox.faults.clear()
    before = len(sandbox.received(QueryDigitalHumanStreamTasks))
    assert (await removed(client, journal))[1].done == 100
    assert len(sandbox.received(QueryDigitalHumanStreamTasks)) == before + 1


async def test_waiting_for_what_may_live_to_end_says_what_and_until_when(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await client.call(register())
    sandbox.faults.on(CreateAgentInstance).cut_after_work()
    async with provision(client, [voice()], journal=journal, on_unknown="wait", lookup_delay=0.05) as running:
        await until(lambda: running.progress.note)
        assert running.progress.note is not None
        assert "CreateAgentInstance:agent-1 may live" in running.progress.note
        assert "waiting until" in running.progress.note
