"""Behaviour of the Actions that drive a stream task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zego_aigc.digitalhuman import (
    DoAction,
    DriveByAudio,
    DriveByRTCStream,
    DriveByText,
    DriveByWsStream,
    InterruptDriveTask,
)
from zego_aigc.sandbox.drives import SandboxDrive
from zego_aigc.sandbox.refusal import Refusal
from zego_aigc.sandbox.registry import answers

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App


@answers(DriveByText)
def by_text(app: App, action: DriveByText) -> dict[str, Any]:
    """Say a text."""
    task = app.find_task(action.task_id, streaming=True)
    app.catalogue.check_voice(action.tts_config.timbre_id, task.digital_human_id)
    drive = SandboxDrive(app.ids.uuid(), "text", seconds=len(action.text) * app.pace.character)
    task.drive(drive, app.clock.now(), cut_in=action.interrupt_mode == 1)
    return {"DriveId": drive.drive_id}


@answers(DriveByAudio)
def by_audio(app: App, action: DriveByAudio) -> dict[str, Any]:
    """Say what a sound file holds. The file is not fetched."""
    task = app.find_task(action.task_id, streaming=True)
    if not action.audio_url.startswith(("http://", "https://")):
        raise Refusal(400000001, f"AudioUrl: must be an http or https address (got {action.audio_url!r})")
    drive = SandboxDrive(app.ids.uuid(), "audio", seconds=app.pace.audio)
    task.drive(drive, app.clock.now(), cut_in=action.interrupt_mode == 1)
    return {"DriveId": drive.drive_id}


@answers(DriveByRTCStream)
def by_rtc_stream(app: App, action: DriveByRTCStream) -> dict[str, Any]:
    """Repeat an RTC stream, until something else is driven."""
    task = app.find_task(action.task_id, streaming=True)
    drive = SandboxDrive(app.ids.uuid(), "rtc")
    task.drive(drive, app.clock.now(), cut_in=True)
    return {"DriveId": drive.drive_id}


@answers(DriveByWsStream)
def by_ws_stream(app: App, action: DriveByWsStream) -> dict[str, Any]:
    """Repeat what comes over a WebSocket."""
    task = app.find_task(action.task_id, streaming=True)
    drive = SandboxDrive(app.ids.uuid(), "ws", token=app.ids.token())
    task.drive(drive, app.clock.now(), cut_in=True)
    return {"DriveId": drive.drive_id, "WssAddress": f"{app.ws_url}/ws?Token={drive.token}"}


@answers(DoAction)
def gesture(app: App, action: DoAction) -> None:
    """Make a gesture."""
    task = app.find_task(action.task_id, streaming=True)
    human = app.catalogue.humans.get(task.digital_human_id)
    if human is not None and action.action not in human.actions:
        raise Refusal(400000001, f"Action: must be one of {', '.join(human.actions)} (got {action.action!r})")
    task.gestures.append(action.action)


@answers(InterruptDriveTask)
def interrupt(app: App, action: InterruptDriveTask) -> None:
    """End what drives the task, and forget what waits."""
    app.find_task(action.task_id, streaming=True).cut(app.clock.now())
