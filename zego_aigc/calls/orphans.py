"""What nobody's code will end: left behind by a cancelled create, or made by one whose answer was lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.calls.hooks import call_hook, logger
from zego_aigc.calls.request import RawAction

if TYPE_CHECKING:
    from zego_aigc.transport.pool import SessionPool

__all__ = ["Orphan", "report_orphan"]


class Orphan(msgspec.Struct, frozen=True):
    """Something that was made, or may have been made, and that its caller will not hear of."""

    action: Any
    """The Action."""
    result: Any
    """What it returned; None when no answer came in time, or when the Action returns nothing."""
    certain: bool
    """Whether it was made for sure. Otherwise it may exist or not."""


def report_orphan(
    pool: SessionPool, on_orphan: Callable[[Orphan], object] | None, orphan: Orphan, *, why: str = "was cancelled"
) -> None:
    """Report what was left behind: as a warning, and to the ``on_orphan`` hook."""
    name = orphan.action.name if isinstance(orphan.action, RawAction) else type(orphan.action).__name__
    if not orphan.certain:
        logger.warning("%s %s without an answer: what it makes may exist, and then bills", name, why)
    elif isinstance(orphan.result, msgspec.Struct):
        logger.warning("%s %s, but made %r: end it, or it goes on billing", name, why, orphan.result)
    else:
        logger.warning("%s %s, but was carried out", name, why)
    call_hook(pool, on_orphan, orphan)
