"""Digital humans and voices to choose from."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Annotated, ClassVar

from zego_aigc.schema.actions import Action, Repeat, Result, Service
from zego_aigc.schema.constraints import Number, OneOf, Text

__all__ = [
    "DigitalHumanAction",
    "DigitalHumanInfo",
    "DigitalHumanList",
    "DigitalHumanRenderInfo",
    "FetchMode",
    "GetDigitalHumanInfo",
    "GetDigitalHumanList",
    "GetDigitalHumanRenderInfo",
    "GetTimbreList",
    "Timbre",
    "TimbreList",
]

PAGES = "https://www.zegocloud.com/docs/aigc-digital-human-server/streaming-apis"


class FetchMode(enum.IntEnum):
    """Which digital humans to list."""

    ALL = 1
    """Public ones and the account's own."""
    PUBLIC = 2
    """Those that every account may use."""
    PRIVATE = 3
    """The account's own."""


# --- results -----------------------------------------------------------------------------------------------------


class DigitalHumanAction(Result, frozen=True, kw_only=True):
    """A gesture that a digital human can make."""

    action: str = ""
    """The gesture's name, for DoAction."""
    preview_url: str = ""
    """A picture or video of it."""


class DigitalHumanInfo(Result, frozen=True, kw_only=True):
    """A digital human to choose."""

    digital_human_id: str
    """Its id."""
    name: str = ""
    """Its name."""
    avatar_url: str = ""
    """A picture of it; the address holds for 24 hours."""
    is_public: bool = False
    """Whether everybody may use it, or it is yours."""
    actions: Sequence[DigitalHumanAction] = ()
    """The gestures that it can make."""


class DigitalHumanRenderInfo(Result, frozen=True, kw_only=True):
    """What older client SDKs need to render a digital human themselves."""

    client_inference_package_url: str = ""
    """Where the package for rendering is."""
    is_support_small_image_mode: bool = False
    """Whether the digital human can be rendered from a small picture."""


class DigitalHumanList(Result, frozen=True, kw_only=True):
    """A page of digital humans."""

    total: int = 0
    """How many there are on all pages."""
    digital_humans: Sequence[DigitalHumanInfo] = ()
    """Those of this page."""


class Timbre(Result, frozen=True, kw_only=True):
    """A voice to choose."""

    timbre_id: str
    """Its id."""
    name: str = ""
    """Its name."""
    avatar_url: str = ""
    """A picture for it; the address holds for 24 hours."""


class TimbreList(Result, frozen=True, kw_only=True):
    """A page of voices."""

    total: int = 0
    """How many there are on all pages."""
    timbres: Sequence[Timbre] = ()
    """Those of this page."""


# --- requests ----------------------------------------------------------------------------------------------------


class GetDigitalHumanList(Action[DigitalHumanList], frozen=True, kw_only=True):
    """List digital humans, page by page. ``client.list_digital_humans()`` turns the pages."""

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.READS
    page: ClassVar[str] = f"{PAGES}/digital-human-management/get-digital-human-list"

    fetch_mode: Annotated[int, OneOf((1, 2, 3))] | None = None
    """A :class:`FetchMode`: 1 all (default), 2 public ones, 3 your own."""
    offset: Annotated[int, Number(0, 1_000_000)] | None = None
    """How many to pass over: 0 to 1000000, default 0."""
    limit: Annotated[int, Number(1, 20)] | None = None
    """How many a page holds: 1 to 20, default 20."""


class GetDigitalHumanInfo(Action[DigitalHumanInfo], frozen=True, kw_only=True):
    """Look up a digital human and the gestures that it can make."""

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.READS
    page: ClassVar[str] = f"{PAGES}/digital-human-management/get-digital-human-info"

    digital_human_id: Annotated[str, Text(min_chars=1)]
    """Which digital human."""


class GetDigitalHumanRenderInfo(Action[DigitalHumanRenderInfo], frozen=True, kw_only=True):
    """Ask what an older client SDK needs to render a digital human itself; newer ones need nothing.

    The vendor's own servers call it, but no page describes it: the link leads to the service's overview.
    """

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.READS
    page: ClassVar[str] = f"{PAGES}/overview"

    digital_human_id: Annotated[str, Text(min_chars=1)]
    """Which digital human."""


class GetTimbreList(Action[TimbreList], frozen=True, kw_only=True):
    """List voices, page by page. ``client.list_timbres()`` turns the pages."""

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.READS
    page: ClassVar[str] = f"{PAGES}/timbre-management/get-timbre-list"

    digital_human_id: str | None = None
    """The digital human whose own voices to list; empty or unset for the public ones."""
    offset: Annotated[int, Number(0, 1_000_000)] | None = None
    """How many to pass over: 0 to 1000000, default 0."""
    limit: Annotated[int, Number(1, 20)] | None = None
    """How many a page holds: 1 to 20, default 20."""
