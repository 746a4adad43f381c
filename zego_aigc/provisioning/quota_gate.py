"""Places for live instances: waiting for one while the account is full, and noticing when instances have gone."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from zego_aigc.errors import ApiError, QuotaExceeded, ZegoError
from zego_aigc.limits.local_quota import LocalQuota
from zego_aigc.provisioning import journal_file
from zego_aigc.provisioning.journal import Journal
from zego_aigc.provisioning.listings import Listings
from zego_aigc.provisioning.recovery import MARGIN, left_of
from zego_aigc.schema.codes import is_over
from zego_aigc.schema.lifecycle import LIFECYCLES

if TYPE_CHECKING:
    from zego_aigc.limits.quota import Kind, Quota, Reservation
    from zego_aigc.provisioning.run_calls import RunCalls
    from zego_aigc.schema.actions import Action
    from zego_aigc.schema.lifecycle import Lifecycle, Listing

__all__ = ["QuotaClosed", "QuotaGate"]

REAP_INTERVAL = 5.0
"""Seconds between two looks at which instances are still there, while a budget is used up."""

MAX_ASKED = 20
"""Instances that one look asks about."""

_MAY_LIVE = "status IN ('done', 'made', 'sent', 'unknown') AND origin IS NOT 'kept' AND origin IS NOT 'updated'"


class QuotaClosed(Exception):
    """No more of a kind will be made in this run."""

    def __init__(self, kind: Kind, why: str) -> None:
        super().__init__(why)
        self.kind = kind


class QuotaGate:
    """Hands out places in a quota.

    A service that says "full" is asked again by the quota itself. A budget that is used up is another matter: nothing says
    when an instance ends by itself, so the oldest are asked about from time to time.

    Args:
        calls: to the service.
        quota: None for as many as the service takes.
        listings: asks what lives.
        max_wait: seconds without any progress after which no entry waits any longer.
        note: called with what is waited for, and with None when it goes on.
        background: whether others may have a place first.
    """

    def __init__(
        self,
        calls: RunCalls,
        quota: Quota | None,
        max_wait: float,
        listings: Listings,
        note: Callable[[str | None], None],
        *,
        background: bool,
    ) -> None:
        self._calls = calls
        self._listings = listings
        self._quota: Quota = LocalQuota(None, None, None) if quota is None else quota
        self._forgetful = quota is None  # there is no budget to count for, so that memory stays flat
        self._max_wait = max_wait
        self._background = background
        self._note = note
        self._stuck: dict[Kind, float] = {}
        """Since when there has been no place, monotonic."""
        self._held: defaultdict[Kind, dict[str, Lifecycle]] = defaultdict(dict)
        self._unknown: dict[str, Reservation] = {}
        """The places of what may or may not live, by the entry's key."""
        self._has_been_full: set[Kind] = set()
        self._reaping = anyio.Lock()

    def unlimited(self, kind: Kind) -> bool:
        """Whether there is neither a budget nor a service that has said "full": then no entry needs a place."""
        return self._forgetful and kind not in self._has_been_full

    async def acquire_nowait(self, kind: Kind) -> Reservation:
        """A place.

        Raises:
            QuotaExceeded: there is none.
        """
        return await self._quota.acquire(kind, wait=False, background=self._background)

    async def acquire(self, kind: Kind) -> Reservation:
        """A place, waited for as long as there is progress.

        Raises:
            QuotaClosed: there was none for too long.
        """
        while True:
            with suppress(QuotaExceeded):
                return await self.acquire_nowait(kind)
            self.waits_for(kind)
            # Counted for the kind and not for this worker, since a place that the service then refuses is no progress.
            left = self._stuck[kind] + self._max_wait - time.monotonic()
            if left <= 0:
                raise QuotaClosed(
                    kind,
                    f"the account was full of {_plain(kind)} for {self._max_wait:g} s: end some (zego-aigc teardown), ask "
                    "ZEGOCLOUD's support for more, or wait longer with --quota-wait (quota_wait)",
                )
            with anyio.move_on_after(min(left, REAP_INTERVAL)):
                return await self._quota.acquire(kind, background=self._background)
            await self._reap_ended(kind)

    def refused(self, kind: Kind, hold: Reservation | None) -> None:
        """The service said that the account is full."""
        self._has_been_full.add(kind)
        if hold is None:
            self._quota.full(kind)
        else:
            hold.full()

    def waits_for(self, kind: Kind) -> None:
        """Say that the account is full."""
        self._has_been_full.add(kind)
        self._stuck.setdefault(kind, time.monotonic())
        self._update_note()

    def _update_note(self) -> None:
        """Say what is waited for, or that nothing is any more."""
        if not self._stuck:
            self._note(None)
            return
        full = " and ".join(_plain(kind) for kind in self._stuck)
        self._note(f"the account is full of {full}: waiting for some to end, at most {self._max_wait:g} s without progress")

    def made(self, action: Action[Any], hold: Reservation | None, instance_id: str) -> None:
        """An Action has made an instance, which lives in the place that was handed out."""
        life = action.lifecycle
        assert life is not None
        kind = life.quota
        assert kind is not None
        if self._stuck.pop(kind, None) is not None:
            self._update_note()
        if hold is None:
            return
        hold.live(instance_id, expires_in=life.longest_life(action))
        if not self._forgetful:
            self._remember(kind, life, instance_id)
        elif not self._quota.usage(kind).full:
            hold.release()

    @property
    def counts(self) -> bool:
        """Whether there is a budget, so that what lives already must be counted before anything is made."""
        return not self._forgetful

    async def count_known(self, journal: Journal, now: float) -> None:
        """Count against the budget what the journal knows to live, or to live perhaps, before anything is made.

        Args:
            journal: begun.
            now: Unix time, by the service's clock.
        """
        if not self.counts:
            return
        for row in await journal.run_in_transaction(partial(journal_file.rows, where=_MAY_LIVE)):
            if (life := LIFECYCLES.get(row.action)) is None:
                continue
            if row.made_id is not None:
                self.adopt(life, row.made_id)
            else:
                length = (row.idle or 0) + MARGIN
                self.adopt_unknown(row.key, life, left_of(length, since=row.last_sent or 0.0, now=now))

    def adopt(self, life: Lifecycle, instance_id: str) -> None:
        """An instance that an earlier run made counts, too."""
        if not self._forgetful and life.quota is not None:
            self._quota.adopt(life.quota, instance_id)
            self._remember(life.quota, life, instance_id)

    def adopt_unknown(self, key: str, life: Lifecycle, expires_in: float) -> None:
        """What an earlier run may have made holds a place until it has ended for sure."""
        if not self._forgetful and life.quota is not None and expires_in > 0:
            self._unknown[key] = self._quota.adopt(life.quota, f"unknown {key}", expires_in=expires_in)

    def unknown(self, key: str, hold: Reservation, *, expires_in: float) -> None:
        """What an entry may have made keeps its place until it has ended for sure, or the entry is tried again."""
        hold.unknown(expires_in=expires_in)
        if not self._forgetful:
            self._unknown[key] = hold

    def forget_unknown(self, key: str) -> None:
        """An entry that was unknown is about to be made: it needs a place like any other, and has had one."""
        if (hold := self._unknown.pop(key, None)) is not None:
            hold.release()

    def found(self, key: str, life: Lifecycle, instance_id: str) -> None:
        """What an entry may have made was found: it lives."""
        self.forget_unknown(key)
        self.adopt(life, instance_id)

    def ended(self, kind: Kind | None, instance_id: str) -> None:
        """An instance has ended."""
        if kind is not None:
            self._held[kind].pop(instance_id, None)
        self._quota.ended(instance_id)

    def _remember(self, kind: Kind, life: Lifecycle, instance_id: str) -> None:
        if self._quota.usage(kind).limit is not None:  # so that there are never more than that to remember
            self._held[kind][instance_id] = life

    async def _reap_ended(self, kind: Kind) -> None:
        """Find out which of the oldest instances have ended, so that their places are free."""
        held = self._held[kind]
        if not held or self._reaping.locked():
            return
        async with self._reaping:
            try:
                for instance_id in await self._gone(held):
                    self.ended(kind, instance_id)
            except ZegoError:
                return  # the next look may do better

    async def _gone(self, held: dict[str, Lifecycle]) -> list[str]:
        """Which of them have ended: those that can be listed together are, of the others the oldest are asked about."""
        gone: list[str] = []
        for listing in {life.listing for life in held.values() if life.listing is not None and life.listing.ids is None}:
            there = await self._listed(listing, held)
            gone += [made_id for made_id, life in held.items() if life.listing == listing and made_id not in there]
        single = [(made_id, life) for made_id, life in held.items() if life.listing is None and life.status is not None]
        for made_id, life in single[:MAX_ASKED]:
            try:
                await self._calls.call(life.ask(made_id))
            except ApiError as error:
                if is_over(error):
                    gone.append(made_id)
            else:
                held[made_id] = held.pop(made_id)  # to the end: others are asked about first next time
        return gone

    async def _listed(self, listing: Listing, held: dict[str, Lifecycle]) -> set[str]:
        fields = {life.id_field for life in held.values() if life.listing == listing}
        items = await self._listings.get(listing)
        return {getattr(item, field) for item in items for field in fields}


def _plain(kind: Kind) -> str:
    return kind.replace("_", " ")
