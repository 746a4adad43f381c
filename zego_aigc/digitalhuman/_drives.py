"""Driving a stream task: what its digital human says and does."""

from __future__ import annotations

import enum
from typing import Annotated, ClassVar

from zego_aigc.schema.actions import Action, Repeat, Result, Service, Wire
from zego_aigc.schema.constraints import Number, OneOf, Secret, Text

__all__ = [
    "DoAction",
    "Drive",
    "DriveByAudio",
    "DriveByRTCStream",
    "DriveByText",
    "DriveByWsStream",
    "DriveInterruptMode",
    "InterruptDriveTask",
    "SourceRTCConfig",
    "TTSConfig",
    "VoiceChannel",
    "WsDrive",
]

PAGES = "https://www.zegocloud.com/docs/aigc-digital-human-server/streaming-apis/digital-human-streaming"

OLDER_PAGES = "https://www.zegocloud.com/docs/aigc-digital-human-server/server-apis/digital-human-streaming"
"""Where the two Actions stand that the newer overview does not list."""

TaskId = Annotated[str, Text(min_chars=1)]


class DriveInterruptMode(enum.IntEnum):
    """What a new drive does to the one that is running."""

    QUEUE = 0
    """It waits for its turn."""
    INTERRUPT = 1
    """It cuts in."""


class VoiceChannel(enum.IntEnum):
    """Which channel of the audio moves the lips."""

    MIXED = 0
    """Both channels, mixed."""
    LEFT = 1
    """The left channel."""
    RIGHT = 2
    """The right channel."""


# --- results -----------------------------------------------------------------------------------------------------


class Drive(Result, frozen=True, kw_only=True):
    """A new drive."""

    drive_id: str
    """The drive's id, which callbacks carry."""


class WsDrive(Drive, frozen=True, kw_only=True):
    """A new drive that is fed over a WebSocket."""

    wss_address: Annotated[str, Secret()]
    """The WebSocket to send the audio to. It carries a token of its own: treat it as a credential."""


# --- requests ----------------------------------------------------------------------------------------------------


class TTSConfig(Wire, frozen=True, kw_only=True):
    """The voice that speaks a text."""

    timbre_id: Annotated[str, Text(min_chars=1)]
    """Which voice, an id from GetTimbreList."""
    speech_rate: Annotated[float, Number(-500, 500)] | None = None
    """How fast: -500 to 500, default 0."""
    pitch_rate: Annotated[float, Number(-500, 500)] | None = None
    """How high: -500 to 500, default 0."""
    volume: Annotated[float, Number(1, 100)] | None = None
    """How loud: 1 to 100, default 50."""


class SourceRTCConfig(Wire, frozen=True, kw_only=True):
    """The RTC stream that a digital human repeats (``RTCConfig`` of DriveByRTCStream)."""

    room_id: Annotated[str, Text(min_chars=1)]
    """The room that the stream is in."""
    stream_id: Annotated[str, Text(min_chars=1)]
    """The stream."""


class DriveByText(Action[Drive], frozen=True, kw_only=True):
    """Have the digital human say a text.

    Since August 2026 the vendor points to live digital humans of the AI Agent service instead. After a lost answer it is
    not sent again: the text would be said twice.
    """

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.ONCE
    page: ClassVar[str] = f"{PAGES}/drive-by-text"

    task_id: TaskId
    """The task's id."""
    text: Annotated[str, Text(min_chars=1, max_chars=1800)]
    """What to say, 1 to 1800 characters."""
    interrupt_mode: Annotated[int, OneOf((0, 1))] | None = None
    """A :class:`DriveInterruptMode`: 0 waits for its turn (default), 1 cuts in."""
    tts_config: TTSConfig
    """The voice."""


class DriveByAudio(Action[Drive], frozen=True, kw_only=True):
    """Have the digital human say what a sound file holds. After a lost answer it is not sent again."""

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.ONCE
    page: ClassVar[str] = f"{PAGES}/drive-by-audio"

    task_id: TaskId
    """The task's id."""
    audio_url: Annotated[str, Text(min_chars=1)]
    """Where the file is: mp3 or wav."""
    interrupt_mode: Annotated[int, OneOf((0, 1))] | None = None
    """A :class:`DriveInterruptMode`: 0 waits for its turn (default), 1 cuts in."""
    voice_channel: Annotated[int, OneOf((0, 1, 2))] | None = None
    """A :class:`VoiceChannel`: 0 both channels mixed (default), 1 left, 2 right."""


class DriveByRTCStream(Action[Drive], frozen=True, kw_only=True):
    """Have the digital human repeat an RTC stream. It cuts the drive that is running and empties the queue."""

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.ONCE
    page: ClassVar[str] = f"{OLDER_PAGES}/drive-by-rtc-stream"

    task_id: TaskId
    """The task's id."""
    rtc_config: SourceRTCConfig
    """The stream to repeat."""


class DriveByWsStream(Action[WsDrive], frozen=True, kw_only=True):
    """Open a drive that is fed with PCM over a WebSocket. It cuts the drive that is running and empties the queue.

    One drive needs one call and one connection, and a task takes one connection at a time.
    """

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.ONCE
    page: ClassVar[str] = f"{PAGES}/drive-by-ws-stream"

    task_id: TaskId
    """The task's id."""


class DoAction(Action[None], frozen=True, kw_only=True):
    """Have the digital human make a gesture."""

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.ONCE
    page: ClassVar[str] = f"{OLDER_PAGES}/do-action"

    task_id: TaskId
    """The task's id."""
    action: Annotated[str, Text(min_chars=1)]
    """The gesture's name, from GetDigitalHumanInfo."""


class InterruptDriveTask(Action[None], frozen=True, kw_only=True):
    """Cut the drive that is running and empty the queue.

    After a lost answer it is not sent again: it would cut newer speech.
    """

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.ONCE
    page: ClassVar[str] = f"{PAGES}/interrupt-drive-task"

    task_id: TaskId
    """The task's id."""
