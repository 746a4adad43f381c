"""Behaviour of the Actions that list digital humans and voices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from zego_aigc.digitalhuman import GetDigitalHumanInfo, GetDigitalHumanList, GetDigitalHumanRenderInfo, GetTimbreList
from zego_aigc.sandbox.registry import answers

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App

ItemT = TypeVar("ItemT")


@answers(GetDigitalHumanList)
def list_humans(app: App, action: GetDigitalHumanList) -> dict[str, Any]:
    """A page of the digital humans that the app may use."""
    wanted = {2: {0}, 3: {app.app_id}}.get(action.fetch_mode or 1, {0, app.app_id})
    humans = [human for human in app.catalogue.humans.values() if human.owner in wanted]
    return {"Total": len(humans), "DigitalHumans": [human.to_wire() for human in _page(humans, action.offset, action.limit)]}


@answers(GetDigitalHumanInfo)
def show_human(app: App, action: GetDigitalHumanInfo) -> dict[str, Any]:
    """One digital human."""
    return app.catalogue.visible(action.digital_human_id, app.app_id).to_wire()


@answers(GetDigitalHumanRenderInfo)
def show_render_info(app: App, action: GetDigitalHumanRenderInfo) -> dict[str, Any]:
    """What an older client needs to render a digital human; the package's address leads nowhere."""
    human = app.catalogue.visible(action.digital_human_id, app.app_id)
    url = f"https://assets.sandbox.invalid/{human.digital_human_id}/inference.zip"
    return {"ClientInferencePackageUrl": url, "IsSupportSmallImageMode": True}


@answers(GetTimbreList)
def list_voices(app: App, action: GetTimbreList) -> dict[str, Any]:
    """A page of the public voices, or of those bound to a digital human."""
    wanted = action.digital_human_id or ""
    if wanted:
        app.catalogue.visible(wanted, app.app_id)
    voices = [voice for voice in app.catalogue.voices.values() if voice.digital_human_id == wanted]
    return {"Total": len(voices), "Timbres": [voice.to_wire() for voice in _page(voices, action.offset, action.limit)]}


def _page(items: Sequence[ItemT], offset: int | None, limit: int | None) -> Iterable[ItemT]:
    start = offset or 0
    return items[start : start + (limit or 20)]
