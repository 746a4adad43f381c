"""The voice of an agent."""

# ruff: noqa: PYI051 - known names help completion; any other string passes too
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from zego_aigc._constraints import Secret, Text
from zego_aigc.actions import Wire
from zego_aigc.errors import Problem

__all__ = ["TTS", "FilterText", "RegisteredTTS"]

BIDIRECTIONAL_VENDORS = frozenset({"ByteDanceFlowing", "CosyVoice"})
"""Vendors that take text while they speak; TerminatorText is one character with them."""


class FilterText(Wire, frozen=True, kw_only=True):
    """A pair of marks: text between them is shown but not spoken."""

    begin_characters: str
    """The opening mark, such as ``(``."""
    end_characters: str
    """The closing mark, such as ``)``."""


class TTS(Wire, frozen=True, kw_only=True):
    """The speech synthesis of an agent: a vendor and that vendor's parameters."""

    vendor: Literal["Aliyun", "ByteDance", "ByteDanceV3", "ByteDanceFlowing", "MiniMax", "CosyVoice"] | str
    """Who speaks. It cannot change once an instance runs."""
    url: str | None = None
    """The vendor's WebSocket address; default its cluster in mainland China."""
    params: Annotated[Mapping[str, Any], Secret(("app",))]
    """``app``, the vendor's credentials, beside the vendor's own parameters, which are passed on as they are."""
    filter_text: Sequence[FilterText] | None = None
    """Text between these marks is not spoken. Tell the model in LLM.SystemPrompt what to put there. It cannot change
    once an instance runs."""
    terminator_text: Annotated[str, Text(max_chars=4)] | None = None
    """From the first place where this stands, nothing more is spoken in the round. At most 4 characters, 1 with vendors
    that stream both ways (ByteDanceFlowing, CosyVoice). It cannot change once an instance runs."""
    character_filter: Sequence[Annotated[str, Text(max_chars=2)]] | None = None
    """Strings that are never spoken, at most 2 characters each. They cannot change once an instance runs."""

    def rules(self) -> Iterable[Problem]:
        if isinstance(self.params.get("app"), dict) and (
            self.terminator_text is None or len(self.terminator_text) <= 1 or self.vendor not in BIDIRECTIONAL_VENDORS
        ):
            return ()
        return self._problems()

    def _problems(self) -> Iterable[Problem]:
        app = self.params.get("app")
        if app is None:
            yield Problem("Params.app", "required", "is required: the vendor's credentials")
        elif not isinstance(app, Mapping):
            yield Problem("Params.app", "type", "must be an object")
        if self.terminator_text and len(self.terminator_text) > 1 and self.vendor in BIDIRECTIONAL_VENDORS:
            yield Problem(
                "TerminatorText",
                "terminator_bidirectional",
                f"must be one character with {self.vendor}, which streams both ways",
            )


class RegisteredTTS(TTS, frozen=True, kw_only=True):
    """The speech synthesis as the service returns it, with nothing required. It is a :class:`TTS`."""

    vendor: str = ""
    """Who speaks."""
    params: Annotated[Mapping[str, Any], Secret(("app",))] = {}
    """``app``, the vendor's credentials, beside the vendor's own parameters."""
