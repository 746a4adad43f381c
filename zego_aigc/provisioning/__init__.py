"""Provisioning fleets of agents, agent instances and stream tasks, and removing them again."""

from __future__ import annotations

from zego_aigc.provisioning.entry import Entry
from zego_aigc.provisioning.errors import InvalidFleet, JournalBusy, JournalError, JournalLost, NotTried, StreamFailed
from zego_aigc.provisioning.events import Finished, LaneProgress, Outcome, Progress, Report, RunEvent, Started, Warned
from zego_aigc.provisioning.fleet import Fleet, FleetUnreadable
from zego_aigc.provisioning.removal import Teardown, teardown
from zego_aigc.provisioning.run import Provisioning, provision

__all__ = [
    "Entry",
    "Finished",
    "Fleet",
    "FleetUnreadable",
    "InvalidFleet",
    "JournalBusy",
    "JournalError",
    "JournalLost",
    "LaneProgress",
    "NotTried",
    "Outcome",
    "Progress",
    "Provisioning",
    "Report",
    "RunEvent",
    "Started",
    "StreamFailed",
    "Teardown",
    "Warned",
    "provision",
    "teardown",
]
