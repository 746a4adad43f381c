"""A local stand-in for both of the vendor's services: a real HTTP server that behaves as they do.

::

    async with Sandbox() as sandbox, sandbox.client() as client:
        await client.call(RegisterAgent(agent_id="guide"))
        assert sandbox.received(RegisterAgent)
"""

from __future__ import annotations

from zego_aigc.sandbox.app import DEFAULT_CALLBACK_SECRET, App, Pace, Quotas, Settings
from zego_aigc.sandbox.assets import Catalogue, Human, Voice
from zego_aigc.sandbox.callbacks import Delivery
from zego_aigc.sandbox.conversation import ModelFailure, Question
from zego_aigc.sandbox.faults import Fault, Faults, Situation
from zego_aigc.sandbox.recording import Call, Recording
from zego_aigc.sandbox.sandbox import DEFAULT_APP_ID, DEFAULT_SERVER_SECRET, Sandbox, serve

__all__ = [
    "DEFAULT_APP_ID",
    "DEFAULT_CALLBACK_SECRET",
    "DEFAULT_SERVER_SECRET",
    "App",
    "Call",
    "Catalogue",
    "Delivery",
    "Fault",
    "Faults",
    "Human",
    "ModelFailure",
    "Pace",
    "Question",
    "Quotas",
    "Recording",
    "Sandbox",
    "Settings",
    "Situation",
    "Voice",
    "serve",
]
