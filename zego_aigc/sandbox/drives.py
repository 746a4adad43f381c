"""What a stream task's digital human says and does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zego_aigc.callbacks.events import DriveStatus

__all__ = ["SandboxDrive"]


class SandboxDrive:
    """One drive of a task.

    Args:
        drive_id: its id.
        kind: ``text``, ``audio``, ``rtc`` or ``ws``.
        seconds: how long it takes; None for as long as its source lasts.
        token: what the WebSocket address of a ``ws`` drive carries.
    """

    def __init__(self, drive_id: str, kind: str, *, seconds: float | None = None, token: str = "") -> None:
        self.drive_id = drive_id
        self.kind = kind
        self.seconds = seconds
        self.status: DriveStatus = DriveStatus.QUEUED
        self.token = token
        self.pcm: bytearray = bytearray()
        """The audio that came over the WebSocket."""
        self.frames: int = 0
        """In how many binary frames."""
        self.start: dict[str, Any] | None = None
        """The Payload of the Start command: SampleRate, Channel, VoiceChannel."""
        self.connected: bool = False
        """Whether a WebSocket has been opened for it."""
        self.stopped: bool = False
        """Whether Stop has come: all audio is there."""
        self.spoken_until: float = 0.0
        """When what has come of its audio is spoken: Unix seconds on the sandbox's clock."""
        self.close_code: int | None = None
        """The code with which its WebSocket was closed before Stop, for misuse or an interruption."""
        self.close_reason = ""
        self.hang_up: Callable[[int, str], None] | None = None
        """Closes the WebSocket, while there is one."""

    def add_audio(self, data: bytes, at: float) -> None:
        """Take in audio: 16-bit samples, spoken after what came before it."""
        self.pcm += data
        self.frames += 1
        start = self.start or {}
        seconds = len(data) / (2 * (start.get("Channel") or 1) * (start.get("SampleRate") or 16000))
        self.spoken_until = max(self.spoken_until, at) + seconds

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in {DriveStatus.FAILED, DriveStatus.ENDED}

    @property
    def waits_for_sound(self) -> bool:
        """Whether it drives only once audio comes over its WebSocket."""
        return self.kind == "ws"

    def cut(self) -> None:
        """Another drive, or the end of the task, has ended this one."""
        if self.hang_up is not None:
            self.hang_up(4001, "the drive was interrupted")

    def to_json(self) -> dict[str, Any]:
        """For ``/_sandbox/state``."""
        return {
            "DriveId": self.drive_id,
            "Kind": self.kind,
            "Status": int(self.status),
            "Bytes": len(self.pcm),
        }
