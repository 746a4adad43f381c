"""Digital human stream tasks, from creation to their end."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

from zego_aigc.callbacks.events import DriveStatus
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, TaskStatus
from zego_aigc.sandbox.clock import Timers
from zego_aigc.sandbox.drives import SandboxDrive

if TYPE_CHECKING:
    from zego_aigc.sandbox.account import Account
    from zego_aigc.schema.lifecycle import QuotaKind

__all__ = ["SandboxTask"]


class SandboxTask:
    """A stream task; kept when it has ended, so that later calls are answered as at the vendor.

    Args:
        account: whose it is.
        tasks: the account's tasks by TaskId; it adds itself when it starts.
        drives: the account's drives by DriveId.
        action: the request that makes it.
        at: when: Unix seconds on the sandbox's clock.
    """

    def __init__(
        self,
        account: Account,
        tasks: dict[str, SandboxTask],
        drives: dict[str, SandboxDrive],
        action: CreateDigitalHumanStreamTask,
        at: float,
    ) -> None:
        self.account = account
        self._tasks = tasks
        self._drives = drives
        self.task_id: str = account.ids.uuid()
        self.digital_human_id: str = action.digital_human_config.digital_human_id
        self.room_id: str = action.rtc_config.room_id
        self.stream_id: str = action.rtc_config.stream_id
        life = action.lifecycle
        assert life is not None
        self.quota: QuotaKind | None = life.quota
        self.ttl: float = life.longest_life(action)
        self.max_idle_time: float = life.idle_time(action) or math.inf
        self.created_at = at
        self.status: TaskStatus = TaskStatus.INITIALIZING
        self.fail_reason: str = ""
        self.current: SandboxDrive | None = None
        self.queue: deque[SandboxDrive] = deque()
        self.gestures: list[str] = []
        """What DoAction had it do."""
        self._timers = Timers(account.clock)

    @property
    def running(self) -> bool:
        """Whether the vendor lists it: on its way up, or streaming."""
        return self.status in {TaskStatus.INITIALIZING, TaskStatus.STREAMING}

    # --- its life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Enter the account, and stream in a moment."""
        account = self.account
        self._tasks[self.task_id] = self
        account.stream_ids.take(self.stream_id, self)
        account.alive[self.quota] += 1
        self._set_task_status(TaskStatus.INITIALIZING, self.created_at)
        reason = account.failing_streams.pop(0) if account.failing_streams else ""
        self._timers.start("start", self.created_at + account.pace.stream_start, lambda at: self._started(reason, at))
        self._timers.start("ttl", self.created_at + self.ttl, self.stop)
        self._timers.start("idle", self.created_at + self.max_idle_time, self.stop)

    def stop(self, at: float) -> None:
        """Begin to end: what is driven is cut, and the stream is gone in a moment."""
        if not self.running:
            return
        self._timers.cancel_all()
        self.cut(at)
        self._set_task_status(TaskStatus.STOPPING, at)
        self._timers.start("stop", at + self.account.pace.stream_stop, lambda due: self._over(TaskStatus.STOPPED, due))

    def _started(self, fail_reason: str, at: float) -> None:
        if fail_reason:
            self.fail_reason = fail_reason
            self._over(TaskStatus.INIT_FAILED, at)
        else:
            self._set_task_status(TaskStatus.STREAMING, at)

    def _over(self, status: TaskStatus, at: float) -> None:
        self._timers.cancel_all()
        self.account.alive[self.quota] -= 1
        self.account.stream_ids.release(self.stream_id, self)
        self._set_task_status(status, at)
        self.account.retire(self._tasks, self.task_id)

    def _set_task_status(self, status: TaskStatus, at: float) -> None:
        self.status = status
        detail: dict[str, Any] = {"Status": int(status), "RoomId": self.room_id, "StreamId": self.stream_id}
        if self.fail_reason:
            detail["FailReason"] = self.fail_reason
        self.account.send_task_event(self.task_id, 3, detail, at)

    # --- what drives it ------------------------------------------------------------------------------------------

    def drive(self, drive: SandboxDrive, at: float, *, cut_in: bool) -> None:
        """Drive it: now, or after what is queued."""
        self._drives[drive.drive_id] = drive
        if cut_in:
            self.cut(at)
        if self.current is None:
            self._begin(drive, at)
        else:
            self.queue.append(drive)
            self._set_status(drive, DriveStatus.QUEUED, at)

    def cut(self, at: float) -> None:
        """End what drives it and forget what waits."""
        waiting, current = list(self.queue), self.current
        self.queue.clear()
        self.current = None
        self._timers.cancel("drive")
        for drive in [current, *waiting]:
            if drive is not None:
                self._set_status(drive, DriveStatus.ENDED, at)
                drive.cut()
        self._rest(at)

    def speaks(self, drive: SandboxDrive, at: float) -> None:
        """The first sound of a drive has come."""
        if drive is self.current and drive.status is DriveStatus.QUEUED:
            self._timers.cancel("idle")
            self._set_status(drive, DriveStatus.DRIVING, at)

    def all_sent(self, drive: SandboxDrive, at: float) -> None:
        """Stop has come for a drive: it ends once its audio is spoken."""
        if drive is self.current:
            self._timers.start("drive", max(at, drive.spoken_until), lambda due: self.finish(drive, due))

    def finish(self, drive: SandboxDrive, at: float, *, failed: bool = False) -> None:
        """A drive has come to its end; the next one begins."""
        if drive is not self.current:
            return
        self.current = None
        self._timers.cancel("drive")
        self._set_status(drive, DriveStatus.FAILED if failed else DriveStatus.ENDED, at)
        if self.queue:
            self._begin(self.queue.popleft(), at)
        else:
            self._rest(at)

    def _begin(self, drive: SandboxDrive, at: float) -> None:
        self.current = drive
        if drive.waits_for_sound:  # the task idles on until it comes
            self._set_status(drive, DriveStatus.QUEUED, at)
            return
        self._timers.cancel("idle")
        if drive.seconds is not None:
            self._timers.start("drive", at + drive.seconds, lambda due: self.finish(drive, due))
        self._set_status(drive, DriveStatus.DRIVING, at)

    def _rest(self, at: float) -> None:
        if self.running:
            self._timers.start("idle", at + self.max_idle_time, self.stop)

    def _set_status(self, drive: SandboxDrive, status: DriveStatus, at: float) -> None:
        drive.status = status
        if drive.over:
            self.account.retire(self._drives, drive.drive_id)
            self.account.keep_audio(drive)
        self.account.send_task_event(self.task_id, 4, {"DriveId": drive.drive_id, "Status": int(status)}, at)

    # --- what it shows -------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """For ``/_sandbox/state``."""
        return {
            "TaskId": self.task_id,
            "DigitalHumanId": self.digital_human_id,
            "RoomId": self.room_id,
            "StreamId": self.stream_id,
            "Status": int(self.status),
            "CreateTime": int(self.created_at),
            "Drive": self.current.to_json() if self.current else None,
            "Queued": len(self.queue),
        }
