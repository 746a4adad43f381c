"""Faults of the sandbox, one by one, as a client on the wire meets them; and the language that describes them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest
from sandbox_fixtures import eventually, in_real_time, sandbox, vendor
from vendor_client import VendorClient

from zego_aigc.aiagent import CreateAgentInstance, ListAgents, QueryAgents, RegisterAgent
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, QueryDigitalHumanStreamTasks
from zego_aigc.sandbox import Faults, Sandbox
from zego_aigc.schema.actions import ACTIONS

__all__ = ["sandbox", "vendor"]

pytestmark = pytest.mark.anyio


async def register(vendor: VendorClient, agent_id: str = "a") -> tuple[int, bytes, Any]:
    """Status, body and headers of a RegisterAgent call, as they come."""
    async with vendor.session.post(
        f"{vendor.url}/",
        params=vendor.query("RegisterAgent"),
        data=json.dumps({"AgentId": agent_id}),
        allow_redirects=False,
    ) as got:
        return got.status, await got.read(), got.headers


# --- what goes wrong -------------------------------------------------------------------------------------------------


async def test_a_refusal_has_the_code_asked_for_and_nothing_is_done(sandbox: Sandbox, vendor: VendorClient) -> None:
    fault = sandbox.faults.on(RegisterAgent).times(1).refuse(410000001, "tired", status=503)
    status, body, _ = await register(vendor)
    assert status == 503
    answer = json.loads(body)
    assert answer["Code"] == 410000001
    assert answer["Message"].endswith("tired")
    assert not sandbox.app.agents
    assert fault.hits == 1
    assert (await register(vendor))[0] == 200
    assert sandbox.app.agents


async def test_a_gateway_answers_in_the_services_place(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.on("RegisterAgent").answer(502, b"<html>Bad Gateway</html>", retry_after="3")
    status, body, headers = await register(vendor)
    assert (status, body, headers["Retry-After"]) == (502, b"<html>Bad Gateway</html>", "3")
    assert not sandbox.app.agents
    (call,) = sandbox.recording.calls
    assert (call.status, call.answer) == (502, body)


async def test_a_gateways_answer_has_the_sandboxs_date(sandbox: Sandbox, vendor: VendorClient) -> None:
    await sandbox.clock.advance(86400)
    sandbox.faults.everywhere().answer(503)
    _, _, headers = await register(vendor)
    assert abs(parsedate_to_datetime(headers["Date"]).timestamp() - sandbox.clock.now()) <= 2


async def test_a_redirect_names_another_address(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.on(RegisterAgent).redirect("https://elsewhere.invalid/")
    status, _, headers = await register(vendor)
    assert (status, headers["Location"]) == (307, "https://elsewhere.invalid/")


async def test_latency_passes_on_the_sandboxs_clock(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.on(RegisterAgent).times(1).latency(60)
    late = asyncio.create_task(register(vendor))
    await eventually(lambda: sandbox.recording.calls and sandbox.recording.calls[0].faults)
    assert not sandbox.app.agents
    await sandbox.clock.advance(60)
    assert (await late)[0] == 200
    assert sandbox.recording.calls[0].elapsed >= 60


async def test_a_late_call_is_carried_out_although_its_client_has_given_up(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.on(RegisterAgent).latency(60)
    late = asyncio.create_task(register(vendor))
    await eventually(lambda: sandbox.recording.calls and sandbox.recording.calls[0].faults)
    late.cancel()
    await sandbox.clock.advance(61)
    await eventually(lambda: sandbox.app.agents)


@in_real_time
async def test_latency_passes_in_real_time_too(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.on(RegisterAgent).latency(0.05)
    began = time.monotonic()
    await register(vendor)
    assert time.monotonic() - began >= 0.05


async def test_a_cut_before_the_work_leaves_nothing_done(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.on(RegisterAgent).cut_before_work()
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await register(vendor)
    assert not sandbox.app.agents
    assert sandbox.recording.calls[-1].status is None


async def test_a_cut_after_the_work_loses_only_the_answer(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.on(RegisterAgent).times(1).cut_after_work()
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await register(vendor)
    assert list(sandbox.app.agents) == ["a"]
    assert json.loads((await register(vendor))[1])["Code"] == 410001008


@pytest.mark.parametrize(("fault", "done"), [("stall", False), ("stall_after_work", True)])
async def test_a_stall_keeps_the_connection_and_says_nothing(
    sandbox: Sandbox, vendor: VendorClient, fault: str, *, done: bool
) -> None:
    getattr(sandbox.faults.on(RegisterAgent).times(1), fault)()
    stalled = asyncio.create_task(register(vendor))
    await eventually(lambda: sandbox.app.agents if done else sandbox.recording.calls and sandbox.recording.calls[0].request)
    await asyncio.sleep(0.02)
    assert not stalled.done()
    assert bool(sandbox.app.agents) is done
    stalled.cancel()


async def test_garbage_is_no_json(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.on(RegisterAgent).garbage()
    status, body, _ = await register(vendor)
    assert status == 200
    with pytest.raises(UnicodeDecodeError):
        json.loads(body)
    assert sandbox.app.agents


async def test_a_truncated_answer_promises_more_than_it_holds(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.on(RegisterAgent).truncated()
    with pytest.raises(aiohttp.ClientPayloadError):
        await register(vendor)
    assert sandbox.app.agents


async def test_an_oversize_answer_is_sound_json_of_the_size_asked_for(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.on(RegisterAgent).oversize(300_000)
    _, body, _ = await register(vendor)
    assert len(body) == 300_000
    assert json.loads(body)["Code"] == 0


async def test_a_wrong_clock_shows_in_the_date_and_judges_timestamps(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.on(RegisterAgent).wrong_clock(3600)
    _, body, headers = await register(vendor)
    assert json.loads(body)["Code"] == 100000004
    seen = parsedate_to_datetime(headers["Date"]).timestamp()
    assert seen - sandbox.clock.now() == pytest.approx(3600, abs=2)
    assert await vendor.code("RegisterAgent", {"AgentId": "a"}, Timestamp=str(int(seen))) == 0


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("CreateAgentInstance", 410000011),
        ("CreateDigitalHumanAgentInstance", 410001031),
        ("CreateLiveDigitalHumanAgentInstance", 410001031),
        ("CreateDigitalHumanStreamTask", 400000008),
    ],
)
async def test_a_full_quota_has_the_code_of_its_kind(sandbox: Sandbox, action: str, code: int) -> None:
    fault = sandbox.faults.on(ACTIONS[action]).quota_full()
    assert fault.effect.refusal(action).code == code


async def test_a_full_quota_is_reported_although_there_is_room(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.on(CreateDigitalHumanStreamTask).times(1).quota_full()
    body = {"DigitalHumanConfig": {"DigitalHumanId": "h"}, "RTCConfig": {"RoomId": "r", "StreamId": "s"}}
    assert await vendor.code("CreateDigitalHumanStreamTask", body) == 400000008
    assert await vendor.code("CreateDigitalHumanStreamTask", body) == 0


async def test_too_fast_is_reported_as_each_service_does(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.everywhere().too_fast()
    status, body, _ = await register(vendor)
    assert (status, json.loads(body)["Code"]) == (429, 410001029)
    assert await vendor.code("GetDigitalHumanList") == 400010009


# --- on which calls --------------------------------------------------------------------------------------------------


async def test_situations_narrow_down_the_calls(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.on(QueryAgents).after(1).times(2).refuse(410000001)
    sandbox.faults.on(ListAgents).every(3).refuse(410000009)
    sandbox.faults.on(RegisterAgent).where(lambda request: request.agent_id == "bad").refuse(410000010)
    assert [await vendor.code("QueryAgents", {"AgentIds": []}) for _ in range(5)] == [0, 410000001, 410000001, 0, 0]
    assert [await vendor.code("ListAgents") for _ in range(6)] == [0, 0, 410000009] * 2
    assert await vendor.code("RegisterAgent", {"AgentId": "good"}) == 0
    assert await vendor.code("RegisterAgent", {"AgentId": "bad"}) == 410000010
    assert await vendor.code("RegisterAgent", {}) == 410000003


async def test_faults_can_be_taken_away(sandbox: Sandbox, vendor: VendorClient) -> None:
    fault = sandbox.faults.everywhere().refuse(410000001)
    assert await vendor.code("ListAgents") == 410000001
    fault.remove()
    fault.remove()
    assert await vendor.code("ListAgents") == 0
    sandbox.faults.everywhere().refuse(410000001)
    assert len(sandbox.faults) == 1
    sandbox.faults.clear()
    assert await vendor.code("ListAgents") == 0


def test_chance_throws_the_same_dice_with_the_same_seed() -> None:
    def throws(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.everywhere().chance(0.3).cut_before_work()
        return [bool(faults.match("ListAgents", lambda: None)) for _ in range(200)]

    assert throws(7) == throws(7)
    assert throws(7) != throws(8)
    assert 30 < Counter(throws(7))[True] < 90


def test_latency_with_jitter_stays_within_its_bounds() -> None:
    faults = Faults(1)
    effect = faults.everywhere().latency(0.2, jitter=0.1).effect
    delays = [faults.delay(effect) for _ in range(100)]
    assert 0.2 <= min(delays) < max(delays) <= 0.3


@in_real_time
async def test_delays_add_up_and_the_first_ending_counts(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.everywhere().latency(0.01)
    sandbox.faults.everywhere().latency(0.02)
    sandbox.faults.everywhere().refuse(410000001)
    sandbox.faults.everywhere().refuse(410000009)
    assert await vendor.code("ListAgents") == 410000001
    assert sandbox.recording.calls[-1].faults == ("latency", "latency", "refuse", "refuse")
    assert sandbox.recording.calls[-1].elapsed >= 0.03


def test_a_situation_that_makes_no_sense_is_refused_at_once() -> None:
    faults = Faults()
    with pytest.raises(ValueError, match="Actions"):
        faults.on("MakeCoffee")
    with pytest.raises(ValueError, match="everywhere"):
        faults.on()
    with pytest.raises(ValueError, match="every"):
        faults.on(ListAgents).every(0)
    with pytest.raises(ValueError, match="chance"):
        faults.on(ListAgents).chance(1.5)
    with pytest.raises(ValueError, match="quota"):
        faults.on(CreateAgentInstance, ListAgents).quota_full()
    with pytest.raises(ValueError, match="quota"):
        faults.everywhere().quota_full()
    assert len(faults) == 0
    assert "ListAgents" in repr(faults.on(ListAgents).stall())


async def test_a_fault_does_not_hide_a_bad_signature(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.faults.on(QueryDigitalHumanStreamTasks).cut_before_work()
    assert await vendor.code("QueryDigitalHumanStreamTasks", None, Signature="x") == 100000005


async def test_a_sandbox_closes_although_calls_stall() -> None:
    async with Sandbox() as sandbox, aiohttp.ClientSession() as session:
        vendor = VendorClient(sandbox.url, sandbox.app_id, sandbox.server_secret, session, sandbox.clock.now)
        sandbox.faults.on(RegisterAgent).stall()
        sandbox.faults.on(ListAgents).latency(3600)
        calls = [asyncio.create_task(register(vendor)), asyncio.create_task(vendor.call("ListAgents"))]
        await eventually(lambda: len(sandbox.recording.calls) == 2)
        async with asyncio.timeout(60):
            await sandbox.aclose()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, aiohttp.ClientError | ConnectionError) for result in results)
