"""Digital humans and voices that exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from zego_aigc.sandbox.refusal import Refusal

__all__ = ["Catalogue", "Human", "Voice"]

GESTURES = ("wave", "nod", "bow", "thumbs_up")


class Human(msgspec.Struct, frozen=True, kw_only=True):
    """A digital human."""

    digital_human_id: str
    """Its id, as requests name it."""
    name: str = ""
    """As ``GetDigitalHumanList`` shows it."""
    owner: int = 0
    """The AppId that it belongs to; 0 for a public one."""
    actions: tuple[str, ...] = GESTURES
    """The gestures that DoAction takes."""

    def to_wire(self) -> dict[str, Any]:
        """As the vendor shows it."""
        base = f"https://assets.sandbox.invalid/{self.digital_human_id}"
        return {
            "DigitalHumanId": self.digital_human_id,
            "Name": self.name,
            "AvatarUrl": f"{base}.png",
            "IsPublic": self.owner == 0,
            "Actions": [{"Action": action, "PreviewUrl": f"{base}/{action}.mp4"} for action in self.actions],
        }


class Voice(msgspec.Struct, frozen=True, kw_only=True):
    """A voice."""

    timbre_id: str
    """Its id, as requests name it."""
    name: str = ""
    """As ``GetTimbreList`` shows it."""
    digital_human_id: str = ""
    """The digital human that it is bound to; empty for a public one."""

    def to_wire(self) -> dict[str, Any]:
        """As the vendor shows it."""
        return {
            "TimbreId": self.timbre_id,
            "Name": self.name,
            "AvatarUrl": f"https://assets.sandbox.invalid/timbres/{self.timbre_id}.png",
        }


PUBLIC_HUMANS = (
    Human(digital_human_id="63c3aa64-1d80-4b04-a0be-1c65614eb7eb", name="Public test digital human"),
    Human(digital_human_id="e583d35f-9793-42b4-ab1b-189a35b88d1c", name="Elias"),
    Human(digital_human_id="0d3538a4-9e8e-4155-b1fb-c7defb8eeef8", name="Mira"),
    Human(digital_human_id="5f2b1c7e-6a0d-4f3e-9d51-2c8a7be04411", name="Juno"),
    Human(digital_human_id="416dc43c-0d00-40c9-a0ca-efdf234508bf", name="Quick start's test digital human"),
    Human(digital_human_id="7a08e6e1-d6a9-43c9-a99f-8be184468d1b", name="Quick start's other test digital human"),
)
"""The first is printed in the vendor's quick starts, the last two are those of its example servers."""
PUBLIC_VOICES = (
    Voice(timbre_id="voice-calm", name="Calm"),
    Voice(timbre_id="voice-bright", name="Bright"),
    Voice(timbre_id="0f50d026-aeed-4af9-9b31-ada92084a41a", name="Quick start's test voice"),
    Voice(timbre_id="voice-elias", name="Elias", digital_human_id="e583d35f-9793-42b4-ab1b-189a35b88d1c"),
)


class Catalogue:
    """What there is to choose from.

    Args:
        humans: the digital humans. An app sees the public ones and its own.
        voices: the voices.
        closed: whether an id that is not listed is refused. By default it is taken for one of the caller's own, since the
            sandbox cannot know what an account holds.
    """

    def __init__(
        self, humans: Sequence[Human] = PUBLIC_HUMANS, voices: Sequence[Voice] = PUBLIC_VOICES, *, closed: bool = False
    ) -> None:
        self.humans: dict[str, Human] = {human.digital_human_id: human for human in humans}
        self.voices: dict[str, Voice] = {voice.timbre_id: voice for voice in voices}
        self.closed = closed

    @property
    def default(self) -> str:
        """The id of the first digital human."""
        return next(iter(self.humans), "")

    def owner(self, digital_human_id: str) -> int | None:
        """The AppId that a digital human belongs to, 0 for one that everybody may use, None if there is no such one."""
        human = self.humans.get(digital_human_id)
        if human is None:
            return None if self.closed else 0
        return human.owner

    def visible(self, digital_human_id: str, app_id: int) -> Human:
        """A digital human that an app may use.

        Raises:
            Refusal: if there is no such one.
        """
        if self.owner(digital_human_id) not in {0, app_id}:
            raise Refusal(400000003, f"there is no digital human {digital_human_id!r}")
        return self.humans.get(digital_human_id) or Human(digital_human_id=digital_human_id, owner=app_id)

    def check_voice(self, timbre_id: str, digital_human_id: str) -> None:
        """See to it that a digital human can speak with a voice.

        Raises:
            Refusal: if there is no such voice, or it is bound to another digital human.
        """
        voice = self.voices.get(timbre_id)
        if voice is None:
            if self.closed:
                raise Refusal(400000004, f"TTSConfig.TimbreId: there is no timbre {timbre_id!r}")
        elif voice.digital_human_id not in {"", digital_human_id}:
            raise Refusal(400000009, f"TTSConfig.TimbreId: {timbre_id!r} is bound to another digital human")
