"""Behaviour of the Actions that create, show and stop stream tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zego_aigc.digitalhuman import (
    CreateDigitalHumanStreamTask,
    GetDigitalHumanStreamTaskStatus,
    QueryDigitalHumanStreamTasks,
    StopDigitalHumanStreamTask,
    TaskStatus,
)
from zego_aigc.sandbox.refusal import Refusal
from zego_aigc.sandbox.registry import answers
from zego_aigc.sandbox.streams import SandboxTask

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App


@answers(CreateDigitalHumanStreamTask)
def create(app: App, action: CreateDigitalHumanStreamTask) -> dict[str, Any]:
    """Start a stream; its StreamId must be new."""
    app.catalogue.visible(action.digital_human_config.digital_human_id, app.app_id)
    if app.stream_ids.holder(action.rtc_config.stream_id) is not None:
        raise Refusal(400000015, f"RTCConfig.StreamId {action.rtc_config.stream_id!r} is in use")
    app.check_quota(CreateDigitalHumanStreamTask)
    task = SandboxTask(app, app.tasks, app.drives, action, app.clock.now())
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
    task = app.find_task(action.task_id)
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
    task = app.find_task(action.task_id)
    if not task.running:
        raise Refusal(400000007, f"stream task {action.task_id!r} has stopped")
    task.stop(app.clock.now())
