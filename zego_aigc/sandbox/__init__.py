"""A local stand-in for both of the vendor's services: a real HTTP server that behaves as they do.

::

    async with Sandbox() as sandbox, sandbox.client() as client:
        await client.call(RegisterAgent(agent_id="guide"))
        assert sandbox.received(RegisterAgent)

A call comes in through `server` and passes `gate` (common parameters, signature, rate), `faults` and `bodies` (the Action's
own declaration). Then the function that `behaviour` has for its Action carries it out on an `app`, the account, or raises a
`refusal`:

- AI Agent: `agents`, `creating` and `talking` are the Actions; `instances`, `conversation` and `rooms` what lives.
- Digital Human: `assets`, `streams` and `driving` are the Actions; `streams`, `drives` and `websocket` what lives.

`clock` lets time pass for all that lives, `callbacks` sends what is told of it, and `recording` remembers the calls.
`backstage` answers under ``/_sandbox/``; `orders` and `emitting` do what tests want done. `sandbox` holds it all together.
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
