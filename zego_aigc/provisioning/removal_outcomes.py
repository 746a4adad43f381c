"""The outcomes of a removal, and what they say of an entry that may have been done."""

from __future__ import annotations

import time
from typing import Any

from zego_aigc.errors import AlreadyExists, OutcomeUnknown, ZegoError
from zego_aigc.provisioning.entry import whereabouts
from zego_aigc.provisioning.events import Outcome
from zego_aigc.provisioning.journal_file import Row
from zego_aigc.schema.actions import Action
from zego_aigc.schema.lifecycle import LIFECYCLES, Lifecycle

__all__ = ["anothers", "ended", "failed", "may_be_older", "may_live", "unknown"]


def failed(row: Row, ending: Action[Any], error: ZegoError) -> Outcome:
    """It could not be removed."""
    return _outcome(row, ending, "failed", error, getattr(error, "request_id", None), getattr(error, "attempts", 0))


def ended(row: Row, ending: Action[Any], request_id: str | None, attempts: int) -> Outcome:
    """Nothing of it lives."""
    return _outcome(row, ending, "done", None, request_id, attempts)


def _outcome(
    row: Row, ending: Action[Any], status: Any, error: ZegoError | None, request_id: str | None, attempts: int
) -> Outcome:
    return Outcome(
        key=row.key, action=ending, made_by=row.action, status=status, error=error, request_id=request_id, attempts=attempts
    )


def unknown(row: Row, why: str) -> Outcome:
    """Whether it lives is not known."""
    ending = LIFECYCLES[row.action].end(row.made_id or "unknown")
    return Outcome(
        key=row.key,
        action=ending,
        made_by=row.action,
        status="unknown",
        error=OutcomeUnknown(why, action=ending),
        where=whereabouts(row.stream_id, row.room_id),
    )


def _lost(row: Row) -> str:
    sent = "" if row.last_sent is None else time.strftime(" at %Y-%m-%d %H:%M:%S UTC", time.gmtime(row.last_sent))
    return f"the request left{sent} and its answer was lost"


def may_live(row: Row) -> str:
    """Why an instance that cannot be asked about is unknown."""
    where = whereabouts(row.stream_id, row.room_id)
    return f"{_lost(row)}: an instance may live on {where}, whose id only the callback AgentInstanceCreated brings"


def may_be_older(row: Row, life: Lifecycle, chosen: str) -> str:
    """Why what stands under an id is unknown, where the journal does not say what was asked for."""
    return (
        f"{_lost(row)}: an {life.makes} {chosen!r} exists, which may be older, and this journal is too old to say what was "
        f"asked for. Provision again to find out, or end it yourself with {life.ended_by.__name__}"
    )


def anothers(row: Row, life: Lifecycle, chosen: str) -> AlreadyExists:
    """What stands under an id is not what was asked for."""
    return AlreadyExists(
        code=0,
        name="AlreadyExists",
        action=row.action,
        attempts=row.attempts,
        advice=f"What stands under the id {chosen!r} is not what this journal asked for, and was left alone. If it is this "
        f"fleet's all the same, end it with {life.ended_by.__name__}.",
    )
