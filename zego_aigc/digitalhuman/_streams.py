"""Stream tasks: a digital human's video, published to an RTC room."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from zego_aigc.schema.actions import Action, Repeat, Result, Service, Wire
from zego_aigc.schema.constraints import ID_CHARS, Number, Text
from zego_aigc.schema.decoding import OpenNumber, utc
from zego_aigc.schema.lifecycle import Lifecycle, Listing, Names, Recovery, StatusQuery

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "CreateDigitalHumanStreamTask",
    "DigitalHumanConfig",
    "ExtraConfig",
    "GetDigitalHumanStreamTaskStatus",
    "OutputMode",
    "QueryDigitalHumanStreamTasks",
    "RTCConfig",
    "RunningStreamTask",
    "StopDigitalHumanStreamTask",
    "StreamTask",
    "StreamTaskList",
    "StreamTaskStatus",
    "TaskStatus",
]

PAGES = "https://www.zegocloud.com/docs/aigc-digital-human-server/streaming-apis/digital-human-streaming"

TaskId = Annotated[str, Text(min_chars=1)]


class TaskStatus(OpenNumber):
    """Where a stream task stands. A number that this library does not know becomes ``UNKNOWN_<number>``."""

    INITIALIZING = 1
    """It is being made, and does not stream yet."""
    INIT_FAILED = 2
    """It failed to start; FailReason says why."""
    STREAMING = 3
    """It streams, and can be driven."""
    STOPPING = 4
    """It is ending."""
    STOPPED = 5
    """Reported by callbacks only."""


# --- results -----------------------------------------------------------------------------------------------------


class StreamTask(Result, frozen=True, kw_only=True):
    """A new stream task."""

    task_id: str
    """The task's id, which every later call on it needs."""


class RunningStreamTask(Result, frozen=True, kw_only=True):
    """A stream task that has not ended."""

    task_id: str
    """The task's id."""
    room_id: str = ""
    """The RTC room that it publishes to."""
    stream_id: str = ""
    """The stream that it publishes."""
    status: TaskStatus = TaskStatus(0)
    """Where it stands: initializing or streaming."""
    create_time: int = 0
    """When it was made, as a Unix time in seconds."""

    @property
    def created_at(self) -> datetime | None:
        """When it was made, in UTC; ``None`` if the service did not say."""
        return utc(self.create_time)


class StreamTaskList(Result, frozen=True, kw_only=True):
    """The stream tasks that have not ended."""

    task_list: Sequence[RunningStreamTask] = ()
    """The tasks."""


class StreamTaskStatus(Result, frozen=True, kw_only=True):
    """Where a stream task stands."""

    status: TaskStatus = TaskStatus(0)
    """Where it stands."""
    room_id: str = ""
    """The RTC room that it publishes to."""
    stream_id: str = ""
    """The stream that it publishes."""
    fail_reason: str = ""
    """Why it failed to initialize; empty with any other status."""
    create_time: int = 0
    """When it was made, as a Unix time in seconds."""

    @property
    def created_at(self) -> datetime | None:
        """When it was made, in UTC; ``None`` if the service did not say."""
        return utc(self.create_time)


# --- requests ----------------------------------------------------------------------------------------------------


class DigitalHumanConfig(Wire, frozen=True, kw_only=True):
    """Which digital human a stream task shows, and on what."""

    digital_human_id: Annotated[str, Text(min_chars=1)]
    """Which digital human, an id from GetDigitalHumanList."""
    background_color: (
        Annotated[str, Text(pattern="#[0-9A-Fa-f]{6}([0-9A-Fa-f]{2})?", form="a colour such as #00ff88, or #00ff88cc")] | None
    ) = None
    """What stands behind it, as ``#rrggbb``, or as ``#rrggbbaa`` with its opacity; default ``#000000``. The vendor's own
    server sends ``#00000000``, which is transparent."""


class OutputMode(enum.IntEnum):
    """The kind of client that a stream task's video is for."""

    WEB = 1
    """A browser."""
    MOBILE = 2
    """A mobile app."""


class ExtraConfig(Wire, frozen=True, kw_only=True):
    """More about a stream task. No page of the vendor's has it, but its own servers send it."""

    output_mode: int | None = None
    """The kind of client that the video is for: an :class:`OutputMode`, 1 web or 2 mobile."""


class RTCConfig(Wire, frozen=True, kw_only=True):
    """The RTC room and the stream that a stream task publishes to."""

    room_id: Annotated[str, Text(min_chars=1, max_bytes=128)]
    """The room, at most 128 bytes."""
    stream_id: Annotated[str, Text(min_chars=1, max_bytes=128, chars=ID_CHARS)]
    """The stream, at most 128 bytes of letters, digits, ``-`` and ``_``. Unique within the AppId: one that is taken is
    refused with 400000015."""


class QueryDigitalHumanStreamTasks(Action[StreamTaskList], frozen=True, kw_only=True):
    """List the stream tasks that have not ended."""

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.READS
    page: ClassVar[str] = f"{PAGES}/query-digital-human-stream-tasks"


class GetDigitalHumanStreamTaskStatus(Action[StreamTaskStatus], frozen=True, kw_only=True):
    """Ask where a stream task stands."""

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.READS
    page: ClassVar[str] = f"{PAGES}/get-digital-human-stream-task-status"

    task_id: TaskId
    """The task's id."""


class StopDigitalHumanStreamTask(Action[None], frozen=True, kw_only=True):
    """End a stream task."""

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.ENDS
    page: ClassVar[str] = f"{PAGES}/stop-digital-human-stream-task"

    task_id: TaskId
    """The task's id."""


class CreateDigitalHumanStreamTask(Action[StreamTask], frozen=True, kw_only=True):
    """Start a stream task: a digital human appears in an RTC room as a video stream, and waits to be driven.

    It ends when it is stopped, after TTL at the latest, or when it has not been driven for MaxIdleTime. If the answer
    is lost, the task is looked up by RoomId and StreamId before anything is sent again.
    """

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.CREATES
    page: ClassVar[str] = f"{PAGES}/create-digital-human-stream-task"
    lifecycle: ClassVar[Lifecycle | None] = Lifecycle(
        makes="stream task",
        id_field="task_id",
        ended_by=StopDigitalHumanStreamTask,
        quota="streams",
        full_codes=(400000008,),
        max_idle_time=900,
        ttl=86400,
        recovery=Recovery.FIND,
        listing=Listing(QueryDigitalHumanStreamTasks, items="task_list"),
        status=StatusQuery(GetDigitalHumanStreamTaskStatus, starting=("INITIALIZING",), running=("STREAMING",)),
        paths=Names(stream_id="rtc_config.stream_id", room_id="rtc_config.room_id"),
        unique=("stream_id",),
    )

    digital_human_config: DigitalHumanConfig
    """Which digital human to show, and on what."""
    rtc_config: RTCConfig
    """Where to publish it."""
    ttl: Annotated[int, Number(10, 86400)] | None = None
    """How long the task may live, in seconds: 10 to 86400, default 86400."""
    max_idle_time: Annotated[int, Number(30, 86400)] | None = None
    """How long the task may go without being driven, in seconds: 30 to 86400, default 900."""
    extra_config: ExtraConfig | None = None
    """More about it, such as the kind of client that the video is for."""
