"""Digital human stream tasks, from creation to their end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zego_aigc.digitalhuman import (
    CreateDigitalHumanStreamTask,
    GetDigitalHumanStreamTaskStatus,
    QueryDigitalHumanStreamTasks,
    StopDigitalHumanStreamTask,
    TaskStatus,
)
from zego_aigc.sandbox.app import check_quota
from zego_aigc.sandbox.drives import Drive, DriveStatus
from zego_aigc.sandbox.refusal import Refusal
from zego_aigc.sandbox.registry import answers

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App
    from zego_aigc.sandbox.clock import Timer

__all__ = ["StreamTask", "find_task"]


class StreamTask:
    """A stream task; kept when it has ended, so that calls on it can be told so."""

    def __init__(self, app: App, action: CreateDigitalHumanStreamTask, at: float) -> None:
        self.app = app
        self.task_id: str = app.uuid()
        self.digital_human_id: str = action.digital_human_config.digital_human_id
        self.room_id: str = action.rtc_config.room_id
        self.stream_id: str = action.rtc_config.stream_id
        self.ttl: int = action.ttl or 86400
        self.max_idle_time: int = action.max_idle_time or 900
        self.created_at = at
        self.status: TaskStatus = TaskStatus.INITIALIZING
        self.fail_reason: str = ""
        self.current: Drive | None = None
        self.queue: deque[Drive] = deque()
        self.gestures: list[str] = []
        """What DoAction had it do."""
        self._timers: dict[str, Timer] = {}

    @property
    def running(self) -> bool:
        """Whether the vendor lists it: on its way up, or streaming."""
        return self.status in {TaskStatus.INITIALIZING, TaskStatus.STREAMING}

    # --- its life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Enter the account, and stream in a moment."""
        app = self.app
        app.tasks[self.task_id] = self
        app.stream_ids.take(self.stream_id, self)
        app.alive_streams += 1
        self._become(TaskStatus.INITIALIZING, self.created_at)
        reason = app.failing_streams.pop(0) if app.failing_streams else ""
        self._later("start", self.created_at + app.pace.stream_start, lambda at: self._started(reason, at))
        self._later("ttl", self.created_at + self.ttl, self.stop)
        self._later("idle", self.created_at + self.max_idle_time, self.stop)

    def stop(self, at: float) -> None:
        """Begin to end: what is driven is cut, and the stream is gone in a moment."""
        if not self.running:
            return
        for name in list(self._timers):
            self._forget(name)
        self.cut(at)
        self._become(TaskStatus.STOPPING, at)
        self._later("stop", at + self.app.pace.stream_stop, lambda due: self._over(TaskStatus.STOPPED, due))

    def _started(self, fail_reason: str, at: float) -> None:
        if fail_reason:
            self.fail_reason = fail_reason
            self._over(TaskStatus.INIT_FAILED, at)
        else:
            self._become(TaskStatus.STREAMING, at)

    def _over(self, status: TaskStatus, at: float) -> None:
        for name in list(self._timers):
            self._forget(name)
        self.app.alive_streams -= 1
        self.app.stream_ids.release(self.stream_id, self)
        self._become(status, at)
        self.app.retire(self.app.tasks, self.task_id)

    def _become(self, status: TaskStatus, at: float) -> None:
        self.status = status
        detail: dict[str, Any] = {"Status": int(status), "RoomId": self.room_id, "StreamId": self.stream_id}
        if self.fail_reason:
            detail["FailReason"] = self.fail_reason
        self.app.tell_task_event(self.task_id, 3, detail, at)

    # --- what drives it ------------------------------------------------------------------------------------------

    def drive(self, drive: Drive, at: float, *, cut_in: bool) -> None:
        """Drive it: now, or after what is queued."""
        self.app.drives[drive.drive_id] = drive
        if cut_in:
            self.cut(at)
        if self.current is None:
            self._begin(drive, at)
        else:
            self.queue.append(drive)
            self._tell(drive, DriveStatus.QUEUED, at)

    def cut(self, at: float) -> None:
        """End what drives it and forget what waits."""
        waiting, current = list(self.queue), self.current
        self.queue.clear()
        self.current = None
        self._forget("drive")
        for drive in [current, *waiting]:
            if drive is not None:
                self._tell(drive, DriveStatus.ENDED, at)
                drive.cut()
        self._rest(at)

    def speaks(self, drive: Drive, at: float) -> None:
        """The first sound of a drive has come."""
        if drive is self.current and drive.status is DriveStatus.QUEUED:
            self._forget("idle")
            self._tell(drive, DriveStatus.DRIVING, at)

    def finish(self, drive: Drive, at: float, *, failed: bool = False) -> None:
        """A drive has come to its end; the next one begins."""
        if drive is not self.current:
            return
        self.current = None
        self._forget("drive")
        self._tell(drive, DriveStatus.FAILED if failed else DriveStatus.ENDED, at)
        if self.queue:
            self._begin(self.queue.popleft(), at)
        else:
            self._rest(at)

    def _begin(self, drive: Drive, at: float) -> None:
        self.current = drive
        if drive.waits_for_sound:  # the task idles on until it comes
            self._tell(drive, DriveStatus.QUEUED, at)
            return
        self._forget("idle")
        if drive.seconds is not None:
            self._later("drive", at + drive.seconds, lambda due: self.finish(drive, due))
        self._tell(drive, DriveStatus.DRIVING, at)

    def _rest(self, at: float) -> None:
        if self.running:
            self._later("idle", at + self.max_idle_time, self.stop)

    def _tell(self, drive: Drive, status: DriveStatus, at: float) -> None:
        drive.status = status
        if drive.over:
            self.app.retire(self.app.drives, drive.drive_id)
        self.app.tell_task_event(self.task_id, 4, {"DriveId": drive.drive_id, "Status": int(status)}, at)

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

    def _later(self, name: str, when: float, what: Callable[[float], None]) -> None:
        self._forget(name)
        self._timers[name] = self.app.clock.call_at(when, what)

    def _forget(self, name: str) -> None:
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()


def find_task(app: App, task_id: str, *, streaming: bool = False) -> StreamTask:
    """The task of that id; ended or not, unless it must be `streaming`.

    Raises:
        Refusal: if there never was one, or it does not stream yet or any more.
    """
    if (task := app.tasks.get(task_id)) is None:
        raise Refusal(400000005, f"no stream task {task_id!r} exists")
    if streaming:
        if task.status is TaskStatus.INITIALIZING:
            raise Refusal(400000006, f"stream task {task_id!r} is still initializing")
        if not task.running:
            raise Refusal(400000007, f"stream task {task_id!r} has stopped")
    return task


# --- the Actions ---------------------------------------------------------------------------------------------------


@answers(CreateDigitalHumanStreamTask)
def create(app: App, action: CreateDigitalHumanStreamTask) -> dict[str, Any]:
    """Start a stream; its StreamId must be new."""
    app.catalogue.visible(action.digital_human_config.digital_human_id, app.app_id)
    if app.stream_ids.holder(action.rtc_config.stream_id) is not None:
        raise Refusal(400000015, f"RTCConfig.StreamId {action.rtc_config.stream_id!r} is in use")
    check_quota(app.alive_streams, app.quotas.streams, 400000008, "stream tasks")
    task = StreamTask(app, action, app.clock.now())
    task.start()
    return {"TaskId": task.task_id}


@answers(QueryDigitalHumanStreamTasks)
def query(app: App, action: QueryDigitalHumanStreamTasks) -> dict[str, Any]:  # noqa: ARG001 - it has no parameters
    """The running tasks."""
    return {
        "TaskList": [
            {
                "TaskId": task.task_id,
                "RoomId": task.room_id,
                "StreamId": task.stream_id,
                "Status": int(task.status),
                "CreateTime": int(task.created_at),
            }
            for task in app.tasks.values()
            if task.running
        ]
    }


@answers(GetDigitalHumanStreamTaskStatus)
def status(app: App, action: GetDigitalHumanStreamTaskStatus) -> dict[str, Any]:
    """How the task is doing; one that has stopped is not found any more, since 5 comes in callbacks only."""
    task = find_task(app, action.task_id)
    if task.status is TaskStatus.STOPPED:
        raise Refusal(400000007, f"stream task {action.task_id!r} has stopped")
    data = {
        "Status": int(task.status),
        "RoomId": task.room_id,
        "StreamId": task.stream_id,
        "CreateTime": int(task.created_at),
    }
    if task.fail_reason:
        data["FailReason"] = task.fail_reason
    return data


@answers(StopDigitalHumanStreamTask)
def stop(app: App, action: StopDigitalHumanStreamTask) -> None:
    """End the stream; the task is gone a moment later."""
    task = find_task(app, action.task_id)
    if not task.running:
        raise Refusal(400000007, f"stream task {action.task_id!r} has stopped")
    task.stop(app.clock.now())
