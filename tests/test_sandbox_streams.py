"""Stream tasks in the sandbox: statuses over time, uniqueness, expiry, drives that queue and cut in, assets."""

from __future__ import annotations

from typing import Any

import pytest
from sandbox_fixtures import sandbox, vendor
from vendor_client import VendorClient

from zego_aigc.sandbox import Catalogue, Human, Sandbox, Voice

__all__ = ["sandbox", "vendor"]

pytestmark = pytest.mark.anyio

VOICE = {"TimbreId": "voice-calm"}


def statuses(sandbox: Sandbox, event_type: int) -> list[Any]:
    """The Details of the callbacks of one EventType: a task's Status, or a drive's id and Status."""
    details = [one.body["Detail"] for one in sandbox.outbox.deliveries if one.event == str(event_type)]
    if event_type == 3:
        return [detail["Status"] for detail in details]
    return [(detail["DriveId"], detail["Status"]) for detail in details]


@pytest.fixture
async def task(sandbox: Sandbox, vendor: VendorClient) -> str:
    """A task that streams."""
    identity = await vendor.task()
    await sandbox.clock.advance(1)
    return identity


async def drive(vendor: VendorClient, task: str, text: str, **options: Any) -> str:
    body = {"TaskId": task, "Text": text, "TTSConfig": VOICE, **options}
    identity: str = (await vendor.do("DriveByText", body))["DriveId"]
    return identity


# --- tasks -----------------------------------------------------------------------------------------------------------


async def test_a_task_initializes_streams_stops_and_is_gone(sandbox: Sandbox, vendor: VendorClient) -> None:
    identity = await vendor.task()
    asked = {"TaskId": identity}
    status = await vendor.do("GetDigitalHumanStreamTaskStatus", asked)
    assert status["Status"] == 1
    assert (status["RoomId"], status["StreamId"]) == ("r", "s")
    assert abs(status["CreateTime"] - sandbox.clock.now()) <= 2
    assert "FailReason" not in status
    await sandbox.clock.advance(1)
    assert (await vendor.do("GetDigitalHumanStreamTaskStatus", asked))["Status"] == 3
    await vendor.do("StopDigitalHumanStreamTask", asked)
    assert (await vendor.do("GetDigitalHumanStreamTaskStatus", asked))["Status"] == 4
    assert await vendor.code("StopDigitalHumanStreamTask", asked) == 400000007
    await sandbox.clock.advance(1)
    for action in ("GetDigitalHumanStreamTaskStatus", "StopDigitalHumanStreamTask", "InterruptDriveTask"):
        assert await vendor.code(action, asked) == 400000007
    assert statuses(sandbox, 3) == [1, 3, 4, 5]


async def test_running_tasks_are_listed(sandbox: Sandbox, vendor: VendorClient) -> None:
    first, second = await vendor.task("one"), await vendor.task("two")
    await sandbox.clock.advance(1)
    third = await vendor.task("three")
    await vendor.do("StopDigitalHumanStreamTask", {"TaskId": first})
    listed = (await vendor.do("QueryDigitalHumanStreamTasks"))["TaskList"]
    assert [(one["TaskId"], one["StreamId"], one["Status"]) for one in listed] == [(second, "two", 3), (third, "three", 1)]
    assert set(listed[0]) == {"TaskId", "RoomId", "StreamId", "Status", "CreateTime"}


async def test_a_stream_id_is_unique_until_its_task_is_gone(sandbox: Sandbox, vendor: VendorClient) -> None:
    body = {"DigitalHumanConfig": {"DigitalHumanId": "h"}, "RTCConfig": {"RoomId": "other", "StreamId": "s"}}
    identity = await vendor.task("s")
    assert await vendor.code("CreateDigitalHumanStreamTask", body) == 400000015
    await vendor.do("StopDigitalHumanStreamTask", {"TaskId": identity})
    assert await vendor.code("CreateDigitalHumanStreamTask", body) == 400000015
    await sandbox.clock.advance(1)
    assert await vendor.code("CreateDigitalHumanStreamTask", body) == 0


async def test_the_account_holds_ten_streams_unless_raised(sandbox: Sandbox, vendor: VendorClient) -> None:
    for number in range(10):
        await vendor.task(f"s{number}")
    body = {"DigitalHumanConfig": {"DigitalHumanId": "h"}, "RTCConfig": {"RoomId": "r", "StreamId": "eleventh"}}
    assert await vendor.code("CreateDigitalHumanStreamTask", body) == 400000008
    sandbox.app.quotas.streams = None
    assert await vendor.code("CreateDigitalHumanStreamTask", body) == 0


async def test_a_task_ends_at_its_ttl_whatever_it_does(sandbox: Sandbox, vendor: VendorClient) -> None:
    identity = await vendor.task(TTL=60)
    await sandbox.clock.advance(59)
    await drive(vendor, identity, "x" * 1800)
    assert sandbox.app.tasks[identity].running
    await sandbox.clock.advance(2)
    assert not sandbox.app.tasks[identity].running
    assert statuses(sandbox, 3) == [1, 3, 4, 5]
    assert statuses(sandbox, 4)[-1][1] == 4


async def test_a_task_that_is_not_driven_ends_after_its_idle_time(sandbox: Sandbox, vendor: VendorClient) -> None:
    identity = await vendor.task(MaxIdleTime=30)
    await sandbox.clock.advance(29)
    await drive(vendor, identity, "x" * 100)
    await sandbox.clock.advance(10 + 29)
    assert sandbox.app.tasks[identity].running
    await sandbox.clock.advance(2)
    assert not sandbox.app.tasks[identity].running


async def test_a_task_may_fail_to_initialize(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.app.failing_streams.append("model not loaded")
    identity = await vendor.task()
    await sandbox.clock.advance(1)
    status = await vendor.do("GetDigitalHumanStreamTaskStatus", {"TaskId": identity})
    assert (status["Status"], status["FailReason"]) == (2, "model not loaded")
    assert await vendor.code("DriveByWsStream", {"TaskId": identity}) == 400000007
    assert (await vendor.do("QueryDigitalHumanStreamTasks"))["TaskList"] == []
    assert await vendor.task("s")


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("GetDigitalHumanStreamTaskStatus", {}),
        ("StopDigitalHumanStreamTask", {}),
        ("InterruptDriveTask", {}),
        ("DriveByWsStream", {}),
        ("DriveByAudio", {"AudioUrl": "https://audio.invalid/a.mp3"}),
        ("DriveByText", {"Text": "x", "TTSConfig": VOICE}),
        ("DriveByRTCStream", {"RTCConfig": {"RoomId": "r", "StreamId": "s"}}),
        ("DoAction", {"Action": "wave"}),
    ],
)
async def test_every_call_on_a_task_that_is_not_there_or_not_ready_is_refused(
    sandbox: Sandbox, vendor: VendorClient, action: str, fields: dict[str, Any]
) -> None:
    assert await vendor.code(action, {"TaskId": "none", **fields}) == 400000005
    identity = await vendor.task()
    body = {"TaskId": identity, **fields}
    if action.startswith(("Drive", "Do", "Interrupt")):
        assert await vendor.code(action, body) == 400000006
        await sandbox.clock.advance(1)
    assert await vendor.code(action, body) == 0


# --- drives ----------------------------------------------------------------------------------------------------------


async def test_drives_wait_for_their_turn(sandbox: Sandbox, vendor: VendorClient, task: str) -> None:
    first = await drive(vendor, task, "x" * 10)
    second = (await vendor.do("DriveByAudio", {"TaskId": task, "AudioUrl": "https://audio.invalid/a.wav"}))["DriveId"]
    assert statuses(sandbox, 4) == [(first, 2), (second, 1)]
    await sandbox.clock.advance(1)
    assert statuses(sandbox, 4)[2:] == [(first, 4), (second, 2)]
    await sandbox.clock.advance(3)
    assert statuses(sandbox, 4)[4:] == [(second, 4)]


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("DriveByText", {"Text": "x", "TTSConfig": VOICE, "InterruptMode": 1}),
        ("DriveByAudio", {"AudioUrl": "https://audio.invalid/a.mp3", "InterruptMode": 1}),
        ("DriveByRTCStream", {"RTCConfig": {"RoomId": "r", "StreamId": "s"}}),
        ("DriveByWsStream", {}),
        ("InterruptDriveTask", {}),
    ],
)
async def test_what_cuts_in_ends_the_running_drive_and_empties_the_queue(
    sandbox: Sandbox, vendor: VendorClient, task: str, action: str, fields: dict[str, Any]
) -> None:
    first, second = await drive(vendor, task, "x" * 100), await drive(vendor, task, "y")
    await vendor.do(action, {"TaskId": task, **fields})
    assert statuses(sandbox, 4)[2:4] == [(first, 4), (second, 4)]
    assert sandbox.drives[second].over


async def test_a_repeated_rtc_stream_lasts_until_something_else_is_driven(
    sandbox: Sandbox, vendor: VendorClient, task: str
) -> None:
    body = {"TaskId": task, "RTCConfig": {"RoomId": "r", "StreamId": "s"}}
    identity = (await vendor.do("DriveByRTCStream", body))["DriveId"]
    await sandbox.clock.advance(3600)
    assert not sandbox.drives[identity].over
    assert sandbox.app.tasks[task].running
    await vendor.do("StopDigitalHumanStreamTask", {"TaskId": task})
    assert sandbox.drives[identity].over


async def test_what_cannot_be_driven_is_refused(sandbox: Sandbox, vendor: VendorClient, task: str) -> None:
    assert await vendor.code("DriveByAudio", {"TaskId": task, "AudioUrl": "file:///etc/passwd"}) == 400000001
    assert await vendor.code("DriveByText", {"TaskId": task, "Text": "x" * 1801, "TTSConfig": VOICE}) == 400000001
    bound = {"TaskId": task, "Text": "x", "TTSConfig": {"TimbreId": "voice-elias"}}
    assert await vendor.code("DriveByText", bound) == 400000009
    sandbox.app.catalogue.closed = True
    unknown = {"TaskId": task, "Text": "x", "TTSConfig": {"TimbreId": "unheard"}}
    assert await vendor.code("DriveByText", unknown) == 400000004


async def test_a_digital_human_makes_the_gestures_that_it_knows(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.app.catalogue = Catalogue([Human(digital_human_id="h", actions=("bow",))])
    task = await vendor.task()
    await sandbox.clock.advance(1)
    assert await vendor.code("DoAction", {"TaskId": task, "Action": "bow"}) == 0
    assert await vendor.code("DoAction", {"TaskId": task, "Action": "somersault"}) == 400000001
    assert sandbox.app.tasks[task].gestures == ["bow"]


# --- assets ----------------------------------------------------------------------------------------------------------


async def test_digital_humans_are_listed_page_by_page(sandbox: Sandbox, vendor: VendorClient) -> None:
    public = [Human(digital_human_id=f"p{number}", name="P") for number in range(25)]
    private = [Human(digital_human_id="mine", owner=sandbox.app_id), Human(digital_human_id="theirs", owner=9)]
    sandbox.app.catalogue = Catalogue([*public, *private], closed=True)

    async def ids(**fields: int) -> tuple[int, list[str]]:
        data = await vendor.do("GetDigitalHumanList", fields)
        return data["Total"], [human["DigitalHumanId"] for human in data["DigitalHumans"]]

    assert await ids() == (26, [f"p{number}" for number in range(20)])
    assert await ids(Offset=24, Limit=5) == (26, ["p24", "mine"])
    assert (await ids(FetchMode=2))[0] == 25
    assert await ids(FetchMode=3) == (1, ["mine"])
    assert await vendor.code("GetDigitalHumanList", {"Limit": 21}) == 400000001
    assert (await vendor.do("GetDigitalHumanInfo", {"DigitalHumanId": "mine"}))["IsPublic"] is False
    for hidden in ("theirs", "nobody"):
        assert await vendor.code("GetDigitalHumanInfo", {"DigitalHumanId": hidden}) == 400000003
        body = {"DigitalHumanConfig": {"DigitalHumanId": hidden}, "RTCConfig": {"RoomId": "r", "StreamId": "s"}}
        assert await vendor.code("CreateDigitalHumanStreamTask", body) == 400000003


async def test_voices_are_public_or_bound_to_a_digital_human(sandbox: Sandbox, vendor: VendorClient) -> None:
    voices = [Voice(timbre_id="free"), Voice(timbre_id="bound", digital_human_id="h")]
    sandbox.app.catalogue = Catalogue([Human(digital_human_id="h")], voices, closed=True)
    for human, expected in (("", "free"), (None, "free"), ("h", "bound")):
        data = await vendor.do("GetTimbreList", {"DigitalHumanId": human})
        assert data["Total"] == 1
        assert [voice["TimbreId"] for voice in data["Timbres"]] == [expected]
    assert await vendor.code("GetTimbreList", {"DigitalHumanId": "nobody"}) == 400000003
