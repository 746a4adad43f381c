"""A local stand-in for both of the vendor's services: a real HTTP server that behaves as they do.

::

    async with Sandbox() as sandbox, sandbox.client() as client:
        await client.call(RegisterAgent(agent_id="guide"))
        assert sandbox.received(RegisterAgent)
"""

from __future__ import annotations

from zego_aigc.sandbox.app import App, Pace, Quotas
from zego_aigc.sandbox.sandbox import DEFAULT_APP_ID, DEFAULT_SERVER_SECRET, Sandbox, serve

__all__ = ["DEFAULT_APP_ID", "DEFAULT_SERVER_SECRET", "App", "Pace", "Quotas", "Sandbox", "serve"]
