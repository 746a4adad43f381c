"""The fields of the create as keyword arguments, for functions that take them so: type checkers and editors then know them.

``tests/test_client_keywords.py`` sees that they are those of the struct.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Required, TypedDict

from zego_aigc.digitalhuman._streams import DigitalHumanConfig, ExtraConfig, RTCConfig

__all__ = ["StreamTaskFields"]


class StreamTaskFields(TypedDict, total=False):
    """The fields of :class:`~zego_aigc.digitalhuman.CreateDigitalHumanStreamTask`."""

    digital_human_config: Required[DigitalHumanConfig]
    rtc_config: Required[RTCConfig]
    ttl: int | None
    max_idle_time: int | None
    extra_config: ExtraConfig | None
    extra: Mapping[str, Any] | None
