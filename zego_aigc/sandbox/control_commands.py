"""Orders to a sandbox from other programs: ``POST /_sandbox/<order>`` with a JSON object.

They do over HTTP what tests in the same process do with the :class:`~zego_aigc.sandbox.Sandbox` itself. Names are in the
vendor's casing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from zego_aigc.sandbox.emitting import emit
from zego_aigc.sandbox.faults import Verb

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App
    from zego_aigc.sandbox.sandbox import Sandbox

__all__ = ["ORDERS", "BadOrder", "carry_out"]

Count = Annotated[int, msgspec.Meta(ge=0)]

FAULT_WORDS = (*(verb.value for verb in Verb), "redirect")


class BadOrder(ValueError):
    """An order that cannot be carried out. The message says why."""


class Order(msgspec.Struct, rename="pascal", forbid_unknown_fields=True, kw_only=True):
    """What orders have in common."""

    app_id: int | None = None
    """Which app; by default the first."""

    def app(self, sandbox: Sandbox) -> App:
        """The app that it is for."""
        return sandbox.app if self.app_id is None else sandbox.apps[self.app_id]


class Advance(Order):
    """Move the clock."""

    seconds: float


class Emit(Order):
    """Send a callback; see :meth:`Sandbox.emit`."""

    event: str | int
    about: str | None = None
    data: dict[str, Any] = {}


class TellFault(Order):
    """Something is to go wrong; the words of :mod:`zego_aigc.sandbox.faults`."""

    fault: str
    """The last word, such as ``cut_after_work``."""
    actions: list[str] = []
    """On which; none is everywhere."""
    times: int | None = None
    after: int = 0
    every: int = 1
    chance: float = 1.0
    with_: dict[str, Any] = msgspec.field(name="With", default_factory=dict[str, Any])
    """The last word's arguments, such as ``{"code": 410000001}``."""


class ChangeApp(Order):
    """Settings of an app; those not named stay. See :class:`Settings`."""

    callback_url: str | msgspec.UnsetType | None = msgspec.UNSET
    callback_secret: str | msgspec.UnsetType = msgspec.UNSET
    quota: Count | msgspec.UnsetType | None = msgspec.UNSET
    rate_limit: Count | msgspec.UnsetType | None = msgspec.UNSET


class Presence(Order):
    """A real user enters or leaves a room."""

    room_id: str
    user_id: str
    presence: Literal["publishing", "present", "absent"] = "publishing"


class Speak(Order):
    """The user of an instance says something; see :meth:`Sandbox.user_speaks`."""

    text: str
    about: str | None = None
    seconds: float = 1.5


async def _advance(sandbox: Sandbox, order: Advance) -> dict[str, Any]:
    await sandbox.clock.advance(order.seconds)
    return {"Now": sandbox.clock.now()}


async def _emit(sandbox: Sandbox, order: Emit) -> dict[str, Any]:
    delivery = emit(order.app(sandbox), order.event, order.about, order.data)
    return {**delivery.to_json(), "Body": delivery.body}


async def _tell_fault(sandbox: Sandbox, order: TellFault) -> dict[str, Any]:
    if order.fault not in FAULT_WORDS:
        raise BadOrder(f"Fault must be one of {', '.join(FAULT_WORDS)}")
    situation = sandbox.faults.on(*order.actions) if order.actions else sandbox.faults.everywhere()
    situation.after(order.after).every(order.every).chance(order.chance)
    if order.times is not None:
        situation.times(order.times)
    arguments = {key: value.encode() if key == "body" else value for key, value in order.with_.items()}
    getattr(situation, order.fault)(**arguments)
    return {"Faults": len(sandbox.faults)}


async def _change_app(sandbox: Sandbox, order: ChangeApp) -> dict[str, Any]:
    app = order.app(sandbox)
    if order.callback_url is not msgspec.UNSET:
        app.callback_url = order.callback_url
    if order.callback_secret is not msgspec.UNSET:
        app.callback_secret = order.callback_secret
    if order.quota is not msgspec.UNSET:
        app.quotas.agents = app.quotas.digital_humans = app.quotas.streams = order.quota
    if order.rate_limit is not msgspec.UNSET:
        app.rate_limit = order.rate_limit
    return {"AppId": app.app_id}


async def _presence(sandbox: Sandbox, order: Presence) -> dict[str, Any]:
    rooms = order.app(sandbox).rooms
    if order.presence == "absent":
        rooms.leave(order.room_id, order.user_id)
    else:
        rooms.join(order.room_id, order.user_id, publishing=order.presence == "publishing")
    return {"Presence": order.presence}


async def _speak(sandbox: Sandbox, order: Speak) -> dict[str, Any]:
    sandbox.user_speaks(order.text, order.about, seconds=order.seconds, app=order.app(sandbox))
    return {"Text": order.text}


ORDERS: dict[str, tuple[type[Order], Callable[[Sandbox, Any], Awaitable[dict[str, Any]]]]] = {
    "advance": (Advance, _advance),
    "emit": (Emit, _emit),
    "faults": (TellFault, _tell_fault),
    "app": (ChangeApp, _change_app),
    "presence": (Presence, _presence),
    "speak": (Speak, _speak),
}
"""By the last part of the path: the body's form, and what carries it out."""


async def carry_out(sandbox: Sandbox, name: str, content: bytes) -> dict[str, Any]:
    """Carry out an order.

    Raises:
        BadOrder: if it is malformed, or speaks of what does not exist.
    """
    form, obey = ORDERS[name]
    try:
        return await obey(sandbox, msgspec.json.decode(content, type=form))
    except KeyError as error:
        raise BadOrder(f"{error} does not exist") from error
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise BadOrder(str(error)) from error
