"""Asyncio client for ZEGOCLOUD's AI Agent and Digital Human server APIs.

Requests, results, errors and signing need nothing but msgspec and are imported at once. What needs aiohttp is loaded
when it is first named: a process that only verifies callbacks or builds requests never pays for it.
"""

from __future__ import annotations

from zego_aigc._version import __version__
from zego_aigc.actions import ACTIONS, Action, Repeat, Service
from zego_aigc.signing import Signer

__all__ = ["ACTIONS", "Action", "Repeat", "Service", "Signer", "__version__"]
