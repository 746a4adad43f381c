"""How a fleet is provisioned."""

from __future__ import annotations

from typing import Literal, NamedTuple

from zego_aigc.errors import ConfigurationError
from zego_aigc.limits.quota import Quota
from zego_aigc.provisioning.executor import IfExists, OnQuota

__all__ = ["OnUnknown", "Options", "Until"]

OnUnknown = Literal["report", "wait"]
Until = Literal["created", "streaming"]


class Options(NamedTuple):
    """How a fleet is provisioned; :func:`provision` says what each option means."""

    quota: Quota | None = None
    on_quota: OnQuota = "wait"
    on_unknown: OnUnknown = "report"
    if_exists: IfExists = "fail"
    rollback: bool = False
    extend: bool = False
    until: Until = "created"
    quota_wait: float = 600.0
    lookup_delay: float = 3.0
    background: bool = True
    refresh: bool = False
    update: bool = False
    prune: bool = False

    def check(self) -> None:
        """See that each option is one of those that there are.

        Raises:
            ConfigurationError: it is not.
        """
        _one_of("on_unknown", self.on_unknown, ("report", "wait"))
        _one_of("if_exists", self.if_exists, ("fail", "keep", "update"))
        _one_of("until", self.until, ("created", "streaming"))
        if not callable(self.on_quota):
            _one_of("on_quota", self.on_quota, ("wait", "fail"))
        if self.prune and self.extend:
            raise ConfigurationError("prune removes what a fleet does not name, and extend is for a journal of several fleets")
        for name, seconds in (("quota_wait", self.quota_wait), ("lookup_delay", self.lookup_delay)):
            if not seconds >= 0:
                raise ConfigurationError(f"{name} must be a number of seconds, 0 or more, not {seconds!r}")


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigurationError(f"{name} must be {' or '.join(map(repr, known))}, not {value!r}")
