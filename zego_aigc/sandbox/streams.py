"""Digital human stream tasks."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zego_aigc.digitalhuman import (
    CreateDigitalHumanStreamTask,
    GetDigitalHumanStreamTaskStatus,
    QueryDigitalHumanStreamTasks,
    StopDigitalHumanStreamTask,
)
from zego_aigc.sandbox.app import check_quota
from zego_aigc.sandbox.behaviour import answers
from zego_aigc.sandbox.refusal import Refusal

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App

__all__ = ["StreamTask", "TaskStatus", "find_task"]


class TaskStatus(enum.IntEnum):
    """The vendor's numbers."""

    INITIALIZING = 1
    FAILED = 2
    STREAMING = 3
    STOPPING = 4
    STOPPED = 5


_ALIVE = (TaskStatus.INITIALIZING, TaskStatus.STREAMING, TaskStatus.STOPPING)


@dataclass(slots=True, kw_only=True)
class StreamTask:
    """A stream task, from creation on; kept when it has ended, so that calls on it can be told so."""

    task_id: str
    digital_human_id: str
    room_id: str
    stream_id: str
    created_at: float
    status: TaskStatus = TaskStatus.INITIALIZING
    fail_reason: str = ""

    @property
    def alive(self) -> bool:
        """Whether it counts against the quota and holds its StreamId."""
        return self.status in _ALIVE

    @property
    def running(self) -> bool:
        """Whether the vendor lists it: on its way up, or streaming."""
        return self.status in {TaskStatus.INITIALIZING, TaskStatus.STREAMING}

    def to_json(self) -> dict[str, Any]:
        """For ``/_sandbox/state``."""
        return {
            "TaskId": self.task_id,
            "DigitalHumanId": self.digital_human_id,
            "RoomId": self.room_id,
            "StreamId": self.stream_id,
            "Status": int(self.status),
            "CreateTime": int(self.created_at),
        }


def find_task(app: App, task_id: str) -> StreamTask:
    """The task of that id, ended or not.

    Raises:
        Refusal: if there never was one.
    """
    if (task := app.tasks.get(task_id)) is None:
        raise Refusal(400000005, f"no stream task {task_id!r} exists")
    return task


@answers(CreateDigitalHumanStreamTask)
def create(app: App, action: CreateDigitalHumanStreamTask) -> dict[str, Any]:
    """Start a stream; its StreamId must be new."""
    living = [task for task in app.tasks.values() if task.alive]
    if any(task.stream_id == action.rtc_config.stream_id for task in living):
        raise Refusal(400000015, f"RTCConfig.StreamId {action.rtc_config.stream_id!r} is in use")
    check_quota(len(living), app.quotas.streams, 400000008, "stream tasks")
    task = StreamTask(
        task_id=app.uuid(),
        digital_human_id=action.digital_human_config.digital_human_id,
        room_id=action.rtc_config.room_id,
        stream_id=action.rtc_config.stream_id,
        created_at=app.clock.now(),
    )
    app.tasks[task.task_id] = task

    def started(_: float) -> None:
        if task.status is TaskStatus.INITIALIZING:
            task.status = TaskStatus.STREAMING

    app.clock.call_at(task.created_at + app.pace.stream_start, started)
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
    """How the task is doing."""
    task = find_task(app, action.task_id)
    if task.status is TaskStatus.STOPPED:
        raise Refusal(400000007, f"stream task {action.task_id!r} has stopped")
    data = {
        "Status": int(task.status),
        "RoomId": task.room_id,
        "StreamId": task.stream_id,
        "CreateTime": int(task.created_at),
    }
    if task.status is TaskStatus.FAILED:
        data["FailReason"] = task.fail_reason
    return data


@answers(StopDigitalHumanStreamTask)
def stop(app: App, action: StopDigitalHumanStreamTask) -> None:
    """End the stream; the task is gone a moment later."""
    task = find_task(app, action.task_id)
    if task.status in {TaskStatus.STOPPING, TaskStatus.STOPPED, TaskStatus.FAILED}:
        raise Refusal(400000007, f"stream task {action.task_id!r} has stopped")
    task.status = TaskStatus.STOPPING

    def stopped(_: float) -> None:
        task.status = TaskStatus.STOPPED

    app.clock.call_at(app.clock.now() + app.pace.stream_stop, stopped)
