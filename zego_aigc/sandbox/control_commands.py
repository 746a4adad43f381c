"""Commands to a sandbox from other programs: ``POST /_sandbox/<command>`` with a JSON object.

They do over HTTP what tests in the same process do with the :class:`~zego_aigc.sandbox.Sandbox` itself. Names are in the
vendor's casing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from zego_aigc.sandbox.actions_conversation import user_speaks
from zego_aigc.sandbox.emit import emit
from zego_aigc.sandbox.faults import FaultKind
from zego_aigc.sandbox.instances import EndReason

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App
    from zego_aigc.sandbox.world import World

__all__ = ["COMMANDS", "BadCommand", "execute"]

Count = Annotated[int, msgspec.Meta(ge=0)]

FAULT_NAMES = (*(kind.value for kind in FaultKind), "redirect")


class BadCommand(ValueError):
    """A command that cannot be executed. The message says why."""


class Command(msgspec.Struct, rename="pascal", forbid_unknown_fields=True, kw_only=True):
    """What commands have in common."""

    app_id: int | None = None
    """Which app; by default the first."""

    def app(self, world: World) -> App:
        """The app that it is for."""
        if self.app_id is None:
            return world.app
        if (app := world.apps.get(self.app_id)) is None:
            raise BadCommand(f"AppId must be one of {', '.join(map(str, world.apps))}, the accounts of this sandbox")
        return app


class Advance(Command):
    """Move the clock."""

    seconds: float


class Emit(Command):
    """Send a callback; see :meth:`Sandbox.emit`."""

    event: str | int
    about: str | None = None
    data: dict[str, Any] = {}


class AddFault(Command):
    """Make something go wrong; see :mod:`zego_aigc.sandbox.faults`."""

    fault: str
    """The rule's last method, such as ``cut_after_work``."""
    actions: list[str] = []
    """On which Actions; an empty list is all."""
    times: int | None = None
    after: int = 0
    every: int = 1
    chance: float = 1.0
    with_: dict[str, Any] = msgspec.field(name="With", default_factory=dict[str, Any])
    """That method's arguments, such as ``{"code": 410000001}``."""


class UpdateApp(Command):
    """Settings of an app; those not named stay. See :class:`Settings`."""

    callback_url: str | msgspec.UnsetType | None = msgspec.UNSET
    callback_secret: str | msgspec.UnsetType = msgspec.UNSET
    quota: Count | msgspec.UnsetType | None = msgspec.UNSET
    rate_limit: Count | msgspec.UnsetType | None = msgspec.UNSET


class SetPresence(Command):
    """A real user enters or leaves a room."""

    room_id: str
    user_id: str
    presence: Literal["publishing", "present", "absent"] = "publishing"


class Speak(Command):
    """The user of an instance says something; see :meth:`Sandbox.user_speaks`."""

    text: str
    about: str | None = None
    seconds: float = 1.5


class End(Command):
    """End an instance or a stream task, as its deletion would."""

    about: str


async def _advance(world: World, command: Advance) -> dict[str, Any]:
    await world.clock.advance(command.seconds)
    return {"Now": world.clock.now()}


async def _emit(world: World, command: Emit) -> dict[str, Any]:
    delivery = emit(command.app(world), command.event, command.about, command.data)
    return delivery.to_full_json()


async def _add_fault(world: World, command: AddFault) -> dict[str, Any]:
    if command.fault not in FAULT_NAMES:
        raise BadCommand(f"Fault must be one of {', '.join(FAULT_NAMES)}")
    rule = world.faults.on(*command.actions) if command.actions else world.faults.everywhere()
    rule.after(command.after).every(command.every).chance(command.chance)
    if command.times is not None:
        rule.times(command.times)
    arguments = {key: value.encode() if key == "body" else value for key, value in command.with_.items()}
    getattr(rule, command.fault)(**arguments)
    return {"Faults": len(world.faults)}


async def _update_app(world: World, command: UpdateApp) -> dict[str, Any]:
    app = command.app(world)
    if command.callback_url is not msgspec.UNSET:
        app.callback_url = command.callback_url
    if command.callback_secret is not msgspec.UNSET:
        app.callback_secret = command.callback_secret
    if command.quota is not msgspec.UNSET:
        app.quotas.agents = app.quotas.digital_humans = app.quotas.streams = command.quota
    if command.rate_limit is not msgspec.UNSET:
        app.rate_limit = command.rate_limit
    return {"AppId": app.app_id}


async def _presence(world: World, command: SetPresence) -> dict[str, Any]:
    rooms = command.app(world).rooms
    if command.presence == "absent":
        rooms.leave(command.room_id, command.user_id)
    else:
        rooms.join(command.room_id, command.user_id, publishing=command.presence == "publishing")
    return {"Presence": command.presence}


async def _speak(world: World, command: Speak) -> dict[str, Any]:
    app = command.app(world)
    user_speaks(app, app.pick_instance(command.about), command.text, command.seconds)
    return {"Text": command.text}


async def _end(world: World, command: End) -> dict[str, Any]:
    app, now = command.app(world), world.clock.now()
    if (task := app.tasks.get(command.about)) is not None and task.running:
        task.stop(now)
    else:
        app.pick_instance(command.about).end(EndReason.DELETED, now)
    return {"About": command.about}


COMMANDS: dict[str, tuple[type[Command], Callable[[World, Any], Awaitable[dict[str, Any]]]]] = {
    "advance": (Advance, _advance),
    "emit": (Emit, _emit),
    "faults": (AddFault, _add_fault),
    "app": (UpdateApp, _update_app),
    "presence": (SetPresence, _presence),
    "speak": (Speak, _speak),
    "end": (End, _end),
}
"""By the last part of the path: the body's form, and the function that executes it."""


async def execute(world: World, name: str, content: bytes) -> dict[str, Any]:
    """Execute a command.

    Raises:
        BadCommand: if it is malformed, or names what does not exist.
    """
    form, run = COMMANDS[name]
    try:
        return await run(world, msgspec.json.decode(content, type=form))
    except (LookupError, TypeError, ValueError, msgspec.MsgspecError) as error:
        raise BadCommand(str(error)) from error
