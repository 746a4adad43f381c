"""Finding out what an earlier attempt at an entry has made, where the service can be asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.calls.lookup import is_as_sent
from zego_aigc.calls.unknown import unknown_advice
from zego_aigc.errors import AlreadyExists, OutcomeUnknown, ZegoError
from zego_aigc.provisioning.events import error_from_facts
from zego_aigc.provisioning.executor import Executor, Made, made_of
from zego_aigc.provisioning.listings import Listings, unsure
from zego_aigc.provisioning.outage import Outages, Retries, ServiceGone, may_pass
from zego_aigc.provisioning.plan import Item
from zego_aigc.provisioning.quota_gate import QuotaGate
from zego_aigc.schema.actions import ACTIONS
from zego_aigc.schema.decoding import dec_hook
from zego_aigc.schema.lifecycle import Recovery

if TYPE_CHECKING:
    from zego_aigc.provisioning.run_calls import RunCalls

__all__ = ["Finder", "earlier_result", "left_unknown", "unclear"]


class Finder:
    """Looks up what earlier attempts have made.

    Args:
        calls: to the service.
        executor: knows what becomes of an agent that is somebody else's.
        listings: asks what lives.
        gate: counts what is found.
        outages: knows whether the service answers.
        stop: called with why the run should stop.
    """

    def __init__(
        self,
        calls: RunCalls,
        executor: Executor,
        listings: Listings,
        gate: QuotaGate,
        outages: Outages,
        stop: Callable[[str], None],
    ) -> None:
        self._calls = calls
        self._executor = executor
        self._listings = listings
        self._gate = gate
        self._outages = outages
        self._stop = stop

    async def look_up(self, item: Item) -> Made | None:
        """What an earlier attempt made; None if it made nothing. An outage is waited out."""
        retries = Retries(self._outages, type(item.action).__name__)
        while True:
            try:
                return await self._looked_up(item)
            except ZegoError as error:
                if not may_pass(error):
                    return unclear(item, f"it could not be looked up: {error}", error)
                try:
                    await retries.wait(error)
                except ServiceGone as gone:
                    self._stop(str(gone))
                    return unclear(item, f"it could not be looked up: {error}", error)

    async def _looked_up(self, item: Item) -> Made | None:
        life = item.action.lifecycle
        assert life is not None
        if life.recovery is Recovery.COMPARE:
            ours = await is_as_sent(self._calls, item.action)
            if ours is None:
                return None
            if ours:
                return made_of(item.action, None, attempts=item.attempts)
            return await self._executor.registered_agent(item.action, _another(item))
        found = await self._listings.find(life, life.names(item.action), item.first_sent)
        if found is None:
            return None
        if not found.ours:
            return unclear(item, unsure(life, found))
        self._gate.found(item.key, life, found.made_id)
        return made_of(item.action, type(item.action).result(**{life.id_field: found.made_id}), attempts=item.attempts)


def unclear(item: Item, why: str, cause: BaseException | None = None) -> Made:
    """An entry that may have been done, and why that is not known."""
    unknown = OutcomeUnknown(why, action=item.action, attempts=item.attempts, advice=unknown_advice(item.action))
    unknown.__cause__ = cause
    return Made(item.action, "unknown", error=unknown, attempts=item.attempts)


def left_unknown(item: Item) -> Made:
    """What comes of an entry that may have been done, and that nothing can be found out about."""
    if item.error is not None:
        error = error_from_facts(msgspec.json.decode(item.error), item.action)
    else:
        why = "an earlier run was ended while the request was under way"
        error = OutcomeUnknown(why, action=item.action, advice=unknown_advice(item.action))
    return Made(item.action, "unknown", error=error, attempts=item.attempts)


def earlier_result(item: Item) -> Any:
    """The result that an earlier run noted."""
    kind = ACTIONS[item.sent_as].result
    if item.result is None or kind is None:
        return None
    return msgspec.json.decode(item.result, type=kind, dec_hook=dec_hook)


def _another(item: Item) -> AlreadyExists:
    return AlreadyExists(
        code=0,
        name="AlreadyExists",
        action=type(item.action).__name__,
        attempts=item.attempts,
        advice="What stands under the id is not what was asked for: choose another id, or say if_exists='keep' or 'update'.",
    )
