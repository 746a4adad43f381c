"""A local stand-in for both of the vendor's services: a real HTTP server that behaves as they do.

::

    async with Sandbox() as sandbox, sandbox.client() as client:
        await client.call(RegisterAgent(agent_id="guide"))
        assert sandbox.received(RegisterAgent)

A call comes in through `server` and passes `gate` (common parameters, signature, rate), `faults` and `bodies` (the Action's
own declaration). Then the function that `registry` has for its Action executes it on an `app`, or raises a `refusal`.

=============================================  ======================================================================
behaviour of each Action                       ``actions_agents``, ``actions_instances``, ``actions_conversation``;
                                               ``actions_assets``, ``actions_streams``, ``actions_drives``
state of AI Agent                              `agents` (registered), `instances` (running), `rooms`, `conversation` (how an
                                               instance talks), `speech` (from texts to what is spoken)
state of Digital Human                         `catalogue` (humans, voices), `streams` (tasks), `drives`, `websocket` (audio)
one AppId                                      `settings`, `account` (limits, ids, callbacks: what the state above uses), `app`
                                               (the account with all its state)
the sandbox                                    `world` (`clock`, callbacks, models, apps, `faults`, `recording`),
                                               `sandbox` (the world behind a server, as users hold it), `ids`
in tests                                       `live` (in a thread of its own), `watchdog` (says when a loop is blocked)
models                                         `models` (calls LLM.Url), `model_stream` (its answer, by the vendor's rules)
callbacks                                      `callbacks` (signing, order, retries), `emit` (one on request)
under ``/_sandbox/``                           `guard` (who may), `control_api` (paths), `control_commands` (POST), ``page.*``
                                               (the page), `page_data` (what it shows)
=============================================  ======================================================================

From the bottom: the state knows its account, the app joins state and account, behaviours work on an app, the world holds
apps, and server and control API work on the world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zego_aigc.sandbox.app import App
from zego_aigc.sandbox.callbacks import Delivery, DeliveryAttempt
from zego_aigc.sandbox.catalogue import Catalogue, Human, Voice
from zego_aigc.sandbox.conversation import ModelFailure, Question
from zego_aigc.sandbox.faults import Fault, FaultRule, Faults
from zego_aigc.sandbox.live import LiveSandbox
from zego_aigc.sandbox.models import ModelCall
from zego_aigc.sandbox.recording import CallFilters, RecordedCall, Recording
from zego_aigc.sandbox.sandbox import DEFAULT_APP_ID, DEFAULT_SERVER_SECRET, Sandbox, SandboxSettings, serve
from zego_aigc.sandbox.settings import DEFAULT_CALLBACK_SECRET, Pace, Quotas, Settings
from zego_aigc.schema.missing_names import missing_export

__all__ = [
    "DEFAULT_APP_ID",
    "DEFAULT_CALLBACK_SECRET",
    "DEFAULT_SERVER_SECRET",
    "App",
    "CallFilters",
    "Catalogue",
    "Delivery",
    "DeliveryAttempt",
    "Fault",
    "FaultRule",
    "Faults",
    "Human",
    "LiveSandbox",
    "ModelCall",
    "ModelFailure",
    "Pace",
    "Question",
    "Quotas",
    "RecordedCall",
    "Recording",
    "Sandbox",
    "SandboxSettings",
    "Settings",
    "Voice",
    "serve",
]

if not TYPE_CHECKING:  # to a type checker, a name that is not there stays the mistake that it is

    def __getattr__(name):  # noqa: ANN001, ANN202 - as every module's
        raise missing_export(__name__, name)
