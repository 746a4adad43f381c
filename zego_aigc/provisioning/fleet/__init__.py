"""Fleet files: JSON Lines for programs, TOML for people, and tables of rows beside them.

A file is read as a stream and never stops at its first mistake: every entry comes with its place, and either with the
:class:`Entry` or with what is wrong with it.
"""

from __future__ import annotations

from zego_aigc.provisioning.fleet.entries import Located, problems_of_action
from zego_aigc.provisioning.fleet.file import Fleet
from zego_aigc.provisioning.fleet.formats import FleetUnreadable, Format, format_of

__all__ = ["Fleet", "FleetUnreadable", "Format", "Located", "format_of", "problems_of_action"]
