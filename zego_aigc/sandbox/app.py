"""One AppId as the sandbox knows it: its account, and all that lives in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from zego_aigc.digitalhuman import TaskStatus
from zego_aigc.sandbox.account import Account, Shared
from zego_aigc.sandbox.refusal import Refusal
from zego_aigc.sandbox.rooms import Presence
from zego_aigc.sandbox.settings import Settings

if TYPE_CHECKING:
    from zego_aigc.sandbox.agents import Agent
    from zego_aigc.sandbox.drives import SandboxDrive
    from zego_aigc.sandbox.instances import Instance
    from zego_aigc.sandbox.streams import SandboxTask

__all__ = ["App"]


class App(Account):
    """An account and its state. Reached as ``sandbox.app`` or ``sandbox.apps[app_id]``.

    For its arguments see :class:`~zego_aigc.sandbox.account.Account`.
    """

    def __init__(self, shared: Shared, app_id: int, server_secret: str, **settings: Unpack[Settings]) -> None:
        super().__init__(shared, app_id, server_secret, **settings)
        self.instances: dict[str, Instance] = {}
        """Running agent instances by AgentInstanceId."""
        self.tasks: dict[str, SandboxTask] = {}
        """Stream tasks by TaskId, the last that ended included."""
        self.drives: dict[str, SandboxDrive] = {}
        """Drives by DriveId, the last that ended included."""
        self.rooms.on_change = self._presence_changed

    def find_agent(self, agent_id: str) -> Agent:
        """The registered agent of that id.

        Raises:
            Refusal: if none is registered.
        """
        if (agent := self.agents.get(agent_id)) is None:
            raise Refusal(410001009, f"no agent {agent_id!r} is registered")
        return agent

    def find_instance(self, instance_id: str) -> Instance:
        """The running instance of that id.

        Raises:
            Refusal: if none is running, or it is shutting down.
        """
        if (instance := self.instances.get(instance_id)) is None:
            raise Refusal(410001002, f"no agent instance {instance_id!r} is running")
        if instance.closing:
            raise Refusal(410001041, f"agent instance {instance_id!r} is shutting down")
        return instance

    def pick_instance(self, instance_id: str | None) -> Instance:
        """The running instance of that id, or the newest for None, for what tests and developers want done to it.

        Raises:
            LookupError: if there is none.
        """
        if instance_id is None:
            if not self.instances:
                raise LookupError("no agent instance is running: create one first, e.g. with CreateAgentInstance")
            return next(reversed(self.instances.values()))
        if instance_id not in self.instances:
            running = ", ".join(list(self.instances)[-5:]) or "none"
            raise LookupError(f"no agent instance {instance_id!r} is running; the newest running ones are: {running}")
        return self.instances[instance_id]

    def find_task(self, task_id: str, *, streaming: bool = False) -> SandboxTask:
        """The task of that id; ended or not, unless it must be `streaming`.

        Raises:
            Refusal: if there never was one, or it does not stream yet or any more.
        """
        if (task := self.tasks.get(task_id)) is None:
            raise Refusal(400000005, f"no stream task {task_id!r} exists")
        if streaming:
            if task.status is TaskStatus.INITIALIZING:
                raise Refusal(400000006, f"stream task {task_id!r} is still initializing")
            if not task.running:
                raise Refusal(400000007, f"stream task {task_id!r} has stopped")
        return task

    def _presence_changed(self, room_id: str, user_id: str) -> None:
        now = self.clock.now()
        namesake = self.agent_user_ids.holder(user_id)
        if namesake is not None and self.rooms.presence(room_id, user_id) is not Presence.ABSENT:
            namesake.kick(now)
        for instance in self.instances.values():
            if instance.room_id == room_id and instance.user_id == user_id:
                instance.watch(now)
