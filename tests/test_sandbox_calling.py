"""The way into the sandbox: common parameters, signatures, forms of bodies, rate windows."""

from __future__ import annotations

import asyncio
import http.client
import json
import urllib.parse
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox_fixtures import NOW, eventually, sandbox, vendor
from vendor_client import VendorClient

from zego_aigc.aiagent import RegisterAgent
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask
from zego_aigc.sandbox import Sandbox
from zego_aigc.sandbox.gate import Claims, RateWindow, split_query, verify
from zego_aigc.schema.actions import Service

__all__ = ["sandbox", "vendor"]

pytestmark = pytest.mark.anyio


async def test_a_client_of_the_standard_library_can_use_it(sandbox: Sandbox, vendor: VendorClient) -> None:
    query = urllib.parse.urlencode(vendor.query("RegisterAgent"))

    def post() -> tuple[int, dict[str, object]]:
        address = urllib.parse.urlsplit(sandbox.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        try:
            connection.request("POST", f"/?{query}", json.dumps({"AgentId": "a"}), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    status, answer = await asyncio.to_thread(post)
    assert status == 200
    assert answer["Code"] == 0
    assert isinstance(answer["RequestId"], str)
    assert sandbox.received(RegisterAgent) == [RegisterAgent(agent_id="a")]


async def test_a_head_is_not_a_call_and_leaves_the_connection_open(sandbox: Sandbox) -> None:
    def look_then_call() -> list[tuple[int, bytes]]:
        address = urllib.parse.urlsplit(sandbox.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        try:
            answers: list[tuple[int, bytes]] = []
            for method in ("HEAD", "GET"):
                connection.request(method, "/")
                answer = connection.getresponse()
                answers.append((answer.status, answer.read()))
                assert not answer.will_close
            return answers
        finally:
            connection.close()

    head, get = await asyncio.to_thread(look_then_call)
    assert head == (200, b"")
    assert json.loads(get[1])["Code"] == 100000006
    assert [call.method for call in sandbox.recording.calls] == ["GET"]
    assert sandbox.recording.refused == 1


async def test_the_printed_signature_is_accepted() -> None:
    async with Sandbox(app_id=12345, server_secret="9193cc662a4c0ec135ec71fb57194b38") as sandbox:
        signature = "43e5cfcca828314675f91b001390566a"
        verify(Claims("A", 12345, "4fd24687296dd9f3", 1615186943, signature, "2.0"), sandbox.server_secret, 1615186943.5)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Action": None}, 100000006),
        ({"Action": ""}, 100000006),
        ({"AppId": None}, 100000001),
        ({"AppId": "abc"}, 100000001),
        ({"AppId": "-1"}, 100000001),
        ({"AppId": "4294967296"}, 100000001),
        ({"AppId": "٣"}, 100000001),
        ({"SignatureNonce": None}, 100000008),
        ({"Timestamp": None}, 100000002),
        ({"Timestamp": "soon"}, 100000003),
        ({"Timestamp": "1.5"}, 100000003),
        ({"Timestamp": "9223372036854775808"}, 100000003),
        ({"Timestamp": "1615186943"}, 100000004),
        ({"Signature": None}, 100000009),
        ({"Signature": "0" * 32}, 100000005),
        ({"Signature": "é"}, 100000005),
        ({"SignatureVersion": None}, 100000013),
        ({"SignatureVersion": "1.0"}, 100000014),
        ({"AppId": "1"}, 100000010),
        ({"Action": "MakeCoffee"}, 100000007),
    ],
)
async def test_each_fault_of_the_common_parameters_has_its_code(
    vendor: VendorClient, changes: dict[str, str | None], code: int
) -> None:
    assert await vendor.code("QueryDigitalHumanStreamTasks", None, **changes) == code


@pytest.mark.parametrize(("off", "code"), [(-600, 0), (599, 0), (-602, 100000004), (602, 100000004)])
async def test_a_timestamp_may_be_600_seconds_off_either_way(vendor: VendorClient, off: int, code: int) -> None:
    timestamp = str(int(vendor.now()) + off + (1 if off == -600 else 0))
    assert await vendor.code("QueryDigitalHumanStreamTasks", None, Timestamp=timestamp) == code


async def test_the_first_fault_in_the_vendors_order_decides(vendor: VendorClient) -> None:
    assert await vendor.code("Nope", None, Timestamp="1", Signature="x", SignatureVersion="9") == 100000004
    assert await vendor.code("Nope", None, Signature="x", SignatureVersion="9") == 100000005
    assert await vendor.code("Nope", None, SignatureVersion="9") == 100000014


@pytest.mark.parametrize("nonce", ["123412", "9k2j3h", "ÄÖÜ-☃", "a b+c&d", "x" * 300])
async def test_a_nonce_may_have_any_form(vendor: VendorClient, nonce: str) -> None:
    assert await vendor.code("QueryDigitalHumanStreamTasks", None, SignatureNonce=nonce) == 0


async def test_the_upper_case_of_a_signature_is_another_signature(vendor: VendorClient) -> None:
    query = vendor.query("QueryDigitalHumanStreamTasks", SignatureNonce="aa", Timestamp=str(int(vendor.now())))
    signature = query["Signature"].upper()
    assert await vendor.code("QueryDigitalHumanStreamTasks", None, **{**query, "Signature": signature}) == 100000005


async def test_null_counts_as_absent_and_unknown_fields_are_accepted(vendor: VendorClient) -> None:
    body = {"AgentId": "a", "Name": None, "LLM": None, "Future": {"x": [1, None]}}
    assert await vendor.code("RegisterAgent", body) == 0
    assert (await vendor.do("QueryAgents", {"AgentIds": ["a"]}))["Agents"] == [{"AgentId": "a", "Name": ""}]


async def test_an_action_without_parameters_takes_an_empty_body(vendor: VendorClient) -> None:
    assert await vendor.code("QueryDigitalHumanStreamTasks", b"") == 0


async def test_a_get_carries_its_fields_in_the_query(sandbox: Sandbox, vendor: VendorClient) -> None:
    async def get(action: str, fields: list[tuple[str, str]]) -> dict[str, object]:
        pairs = [*vendor.query(action).items(), *fields]
        async with vendor.session.get(f"{sandbox.url}/", params=pairs) as got:
            answer: dict[str, object] = await got.json()
            return answer

    await vendor.agent()
    assert (await get("ListAgents", [("Limit", "3")]))["Data"]
    assert (await get("ListAgents", [("Limit", "many")]))["Code"] == 410000003
    assert (await get("QueryAgents", [("AgentIds", '["agent"]')]))["Code"] == 0
    task_id = await vendor.task()
    await sandbox.clock.advance(1)
    assert (await get("DoAction", [("TaskId", task_id), ("Action", "wave")]))["Code"] == 0
    assert sandbox.app.tasks[task_id].gestures == ["wave"]


async def test_other_methods_and_paths_are_not_the_services(vendor: VendorClient) -> None:
    async with vendor.session.put(f"{vendor.url}/", params=vendor.query("ListAgents")) as got:
        assert (await got.json())["Code"] == 100000007
    async with vendor.session.get(f"{vendor.url}/elsewhere") as got:
        assert got.status == 404


async def test_a_request_without_host_is_refused(sandbox: Sandbox, vendor: VendorClient) -> None:
    address = urllib.parse.urlsplit(sandbox.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    query = urllib.parse.urlencode(vendor.query("ListAgents"))
    writer.write(f"POST /?{query} HTTP/1.0\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    answer = await reader.read()
    writer.close()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["Code"] == 100000000


async def test_a_body_that_cannot_be_read_has_a_code_of_its_own(vendor: VendorClient) -> None:
    headers = {"Content-Encoding": "gzip"}
    async with vendor.session.post(
        f"{vendor.url}/", params=vendor.query("ListAgents"), data=b"not gzip", headers=headers, compress=None
    ) as got:
        assert (await got.json())["Code"] == 100000012


@pytest.mark.parametrize("body", [b"{", b"AgentId=a", b"\xff\xfe", b"[" * 10_000])
async def test_a_body_that_is_not_json_is_refused_by_each_service_in_its_way(vendor: VendorClient, body: bytes) -> None:
    assert await vendor.code("RegisterAgent", body) == 410000004
    assert await vendor.code("GetDigitalHumanInfo", body) == 400000001


async def test_a_json_body_that_is_no_object_is_an_invalid_parameter(vendor: VendorClient) -> None:
    assert await vendor.code("RegisterAgent", b"[]") == 410000003


async def test_the_message_of_a_refusal_names_every_problem(vendor: VendorClient) -> None:
    answer = await vendor.call("CreateDigitalHumanStreamTask", {"RTCConfig": {"RoomId": "r", "StreamId": "a.b"}, "TTL": 9})
    assert answer["Code"] == 400000001
    for path in ("DigitalHumanConfig", "RTCConfig.StreamId", "TTL"):
        assert path in answer["Message"]


async def test_what_was_received_is_given_back_as_actions(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.task("one", TTL=60)
    (received,) = sandbox.received(CreateDigitalHumanStreamTask)
    assert received.rtc_config.stream_id == "one"
    assert received.ttl == 60


async def test_the_date_header_follows_the_sandboxs_clock(sandbox: Sandbox, vendor: VendorClient) -> None:
    await sandbox.clock.advance(86400)
    async with vendor.session.post(f"{vendor.url}/", params=vendor.query("ListAgents"), data=b"{}") as got:
        assert abs(parsedate_to_datetime(got.headers["Date"]).timestamp() - sandbox.clock.now()) <= 1
        assert (await got.json())["Code"] == 0


@given(st.text("ab=&%+2B", max_size=30))
def test_a_query_means_the_same_whether_or_not_it_is_quoted(raw_query: str) -> None:
    pairs = urllib.parse.parse_qsl(raw_query, keep_blank_values=True, errors="surrogateescape")
    assert split_query(raw_query) == ({}, pairs)


# --- rate windows ----------------------------------------------------------------------------------------------------


async def test_the_eleventh_call_of_an_action_in_a_second_is_refused_and_other_actions_are_not() -> None:
    async with Sandbox(time=NOW) as sandbox, aiohttp.ClientSession() as session:
        vendor = VendorClient(sandbox.url, sandbox.app_id, sandbox.server_secret, session, sandbox.clock.now)
        codes = [await vendor.code("QueryDigitalHumanStreamTasks") for _ in range(11)]
        assert codes == [0] * 10 + [400010009]
        assert await vendor.code("GetDigitalHumanList") == 0
        for _ in range(10):
            await vendor.code("ListAgents")
        async with session.post(f"{vendor.url}/", params=vendor.query("ListAgents"), data=b"{}") as got:
            assert got.status == 429
            assert (await got.json())["Code"] == 410001029
        await sandbox.clock.advance(1)
        assert await vendor.code("QueryDigitalHumanStreamTasks") == 0


async def test_how_calls_over_the_limit_are_refused_can_be_chosen(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.app.rate_refusals[Service.AI_AGENT].code = 410000001
    sandbox.app.rate_refusals[Service.DIGITAL_HUMAN].status = 429
    sandbox.app.rate_limits["ListAgents"] = 0
    sandbox.faults.on("GetTimbreList").too_fast()
    assert await vendor.code("ListAgents") == 410000001
    async with vendor.session.post(f"{vendor.url}/", params=vendor.query("GetTimbreList")) as got:
        assert (got.status, (await got.json())["Code"]) == (429, 400010009)


async def test_a_call_whose_body_takes_its_time_counts_when_it_is_there(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.app.rate_limit = 1
    more = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await more.wait()
        yield b"}"

    late = asyncio.create_task(vendor.session.post(f"{vendor.url}/", params=vendor.query("ListAgents"), data=body()))
    await eventually(lambda: sandbox.recording.calls)
    await sandbox.clock.advance(10)
    assert await vendor.code("ListAgents") == 0
    more.set()
    async with await late as got:
        assert (await got.json())["Code"] == 410001029


async def test_refused_calls_count_against_the_window_too() -> None:
    window = RateWindow(2)
    assert [window.admits(at) for at in (0.0, 0.1, 0.9, 1.05)] == [True, True, False, False]
    assert [window.admits(at) for at in (1.95, 2.06)] == [True, True]


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 4))
def test_a_window_admits_a_call_exactly_when_fewer_than_the_limit_arrived_in_the_second_before(
    times: list[float], limit: int
) -> None:
    window = RateWindow(limit)
    arrived: list[float] = []
    for at in sorted(times):
        assert window.admits(at) == (sum(1 for earlier in arrived if at - earlier < 1.0) < limit)
        arrived.append(at)


async def test_calls_that_are_not_authentic_do_not_count(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.app.rate_limit = 1
    assert await vendor.code("ListAgents", None, Signature="x") == 100000005
    assert await vendor.code("ListAgents") == 0


async def test_several_apps_live_apart(sandbox: Sandbox, vendor: VendorClient) -> None:
    other = sandbox.add_app(77, "other-secret", quota=1, rate_limit=None)
    stranger = VendorClient(sandbox.url, 77, "other-secret", vendor.session, sandbox.clock.now)
    await vendor.agent()
    await stranger.agent()
    assert list(other.agents) == ["agent"]
    assert await vendor.task("same")
    assert await stranger.task("same")
    body = {"DigitalHumanConfig": {"DigitalHumanId": "h"}, "RTCConfig": {"RoomId": "r", "StreamId": "more"}}
    assert await stranger.code("CreateDigitalHumanStreamTask", body) == 400000008
    assert await vendor.code("CreateDigitalHumanStreamTask", body) == 0
    assert await vendor.code("ListAgents", None, AppId="77") == 100000005
