"""Provisioning fleets of agents, agent instances and stream tasks, and removing them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zego_aigc.provisioning.changes import FieldChange
from zego_aigc.provisioning.entry import Entry
from zego_aigc.provisioning.errors import (
    InvalidFleet,
    JournalBusy,
    JournalError,
    JournalLost,
    NotTried,
    ProblemGroup,
    StreamFailed,
)
from zego_aigc.provisioning.events import Finished, LaneProgress, Outcome, Progress, Pruned, Report, RunEvent, Started, Warned
from zego_aigc.provisioning.fleet import Fleet, FleetUnreadable
from zego_aigc.provisioning.maintenance import Gone, Maintenance, MaintenanceEvent, maintain
from zego_aigc.provisioning.planning import Changed, Plan
from zego_aigc.provisioning.removal import Teardown, teardown
from zego_aigc.provisioning.resolving import resolve
from zego_aigc.provisioning.run import Provisioning, provision
from zego_aigc.provisioning.unclaimed import Unclaimed, find_unclaimed
from zego_aigc.schema.missing_names import missing_export

__all__ = [
    "Changed",
    "Entry",
    "FieldChange",
    "Finished",
    "Fleet",
    "FleetUnreadable",
    "Gone",
    "InvalidFleet",
    "JournalBusy",
    "JournalError",
    "JournalLost",
    "LaneProgress",
    "Maintenance",
    "MaintenanceEvent",
    "NotTried",
    "Outcome",
    "Plan",
    "ProblemGroup",
    "Progress",
    "Provisioning",
    "Pruned",
    "Report",
    "RunEvent",
    "Started",
    "StreamFailed",
    "Teardown",
    "Unclaimed",
    "Warned",
    "find_unclaimed",
    "maintain",
    "provision",
    "resolve",
    "teardown",
]

if not TYPE_CHECKING:  # to a type checker, a name that is not there stays the mistake that it is

    def __getattr__(name):  # noqa: ANN001, ANN202 - as every module's
        raise missing_export(__name__, name)
