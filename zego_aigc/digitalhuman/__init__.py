"""The Digital Human service: video streams of digital humans, driven by text, sound files, RTC streams or PCM.

The usual order: :class:`CreateDigitalHumanStreamTask`, any of the ``Drive...`` calls, :class:`StopDigitalHumanStreamTask`.
"""

from __future__ import annotations

from zego_aigc.digitalhuman._assets import (
    DigitalHumanAction,
    DigitalHumanInfo,
    DigitalHumanList,
    FetchMode,
    GetDigitalHumanInfo,
    GetDigitalHumanList,
    GetTimbreList,
    Timbre,
    TimbreList,
)
from zego_aigc.digitalhuman._drives import (
    DoAction,
    Drive,
    DriveByAudio,
    DriveByRTCStream,
    DriveByText,
    DriveByWsStream,
    DriveInterruptMode,
    InterruptDriveTask,
    SourceRTCConfig,
    TTSConfig,
    VoiceChannel,
    WsDrive,
)
from zego_aigc.digitalhuman._streams import (
    CreateDigitalHumanStreamTask,
    DigitalHumanConfig,
    GetDigitalHumanStreamTaskStatus,
    QueryDigitalHumanStreamTasks,
    RTCConfig,
    RunningStreamTask,
    StopDigitalHumanStreamTask,
    StreamTask,
    StreamTaskList,
    StreamTaskStatus,
    TaskStatus,
)

__all__ = [
    "CreateDigitalHumanStreamTask",
    "DigitalHumanAction",
    "DigitalHumanConfig",
    "DigitalHumanInfo",
    "DigitalHumanList",
    "DoAction",
    "Drive",
    "DriveByAudio",
    "DriveByRTCStream",
    "DriveByText",
    "DriveByWsStream",
    "DriveInterruptMode",
    "FetchMode",
    "GetDigitalHumanInfo",
    "GetDigitalHumanList",
    "GetDigitalHumanStreamTaskStatus",
    "GetTimbreList",
    "InterruptDriveTask",
    "QueryDigitalHumanStreamTasks",
    "RTCConfig",
    "RunningStreamTask",
    "SourceRTCConfig",
    "StopDigitalHumanStreamTask",
    "StreamTask",
    "StreamTaskList",
    "StreamTaskStatus",
    "TTSConfig",
    "TaskStatus",
    "Timbre",
    "TimbreList",
    "VoiceChannel",
    "WsDrive",
]
