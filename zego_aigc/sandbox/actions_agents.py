"""Behaviour of the Actions on registered agents."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from zego_aigc.aiagent import ListAgents, QueryAgents, RegisterAgent, UnregisterAgent, UpdateAgent
from zego_aigc.aiagent._llm import TRIAL_KEY, TRIAL_MODELS
from zego_aigc.sandbox.agents import Agent
from zego_aigc.sandbox.refusal import Refusal
from zego_aigc.sandbox.registry import answers

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App

__all__ = ["check_trial"]

OBJECTS = ("LLM", "TTS", "ASR")

TRIAL_PATHS = frozenset({*(urlsplit(url).path for url in TRIAL_MODELS), "/api/v3/responses"})
"""Of the addresses for which the trial key works: those listed, and the one that is printed for the Responses protocol."""


@answers(RegisterAgent)
def register(app: App, action: RegisterAgent) -> None:
    """Keep the agent; its id must be new."""
    check_trial(app, action)
    if action.agent_id in app.agents:
        raise Refusal(410001008, f"an agent {action.agent_id!r} is registered already")
    app.agents[action.agent_id] = Agent(action.agent_id, app.clock.now(), action.name or "", _objects(action))


@answers(UnregisterAgent)
def unregister(app: App, action: UnregisterAgent) -> None:
    """Forget the agent. Its running instances go on."""
    app.find_agent(action.agent_id)
    del app.agents[action.agent_id]


@answers(UpdateAgent)
def update(app: App, action: UpdateAgent) -> None:
    """Replace what is given, each object whole. Running instances keep what they were made with."""
    check_trial(app, action)
    agent = app.find_agent(action.agent_id)
    agent.objects.update(_objects(action))
    if action.name is not None:
        agent.name = action.name


@answers(ListAgents)
def list_page(app: App, action: ListAgents) -> dict[str, Any]:
    """A page of the agents, in the order of their registration."""
    ids = list(app.agents)
    start = _position(action.cursor) if action.cursor else 0
    end = start + (action.limit or 5)
    cursor = base64.urlsafe_b64encode(str(end).encode()).decode() if end < len(ids) else ""
    return {
        "Total": len(ids),
        "Agents": [app.agents[agent_id].to_wire() for agent_id in ids[start:end]],
        "Cursor": cursor,
    }


def _position(cursor: str) -> int:
    try:
        return max(0, int(base64.urlsafe_b64decode(cursor)))
    except (binascii.Error, ValueError) as error:
        raise Refusal(410000003, "Cursor: must be one that ListAgents returned") from error


@answers(QueryAgents)
def query(app: App, action: QueryAgents) -> dict[str, Any]:
    """Those of the agents asked for that exist, in the order asked."""
    return {"Agents": [app.agents[agent_id].to_wire() for agent_id in action.agent_ids if agent_id in app.agents]}


def _objects(action: RegisterAgent | UpdateAgent) -> dict[str, Any]:
    return {name: value for name, value in action.to_wire().items() if name in OBJECTS}


def check_trial(app: App, action: Any) -> None:
    """Judge the use of the trial key ``zego_test`` in an Action's LLM and TTS.

    Raises:
        Refusal: if a trial has ended, or it does not cover the language model's address.
    """
    llm, tts = getattr(action, "llm", None), action.tts
    if llm is not None and llm.api_key == TRIAL_KEY:
        if "LLM" in app.trials_ended:
            raise Refusal(410001033, "LLM.ApiKey: the trial of zego_test has ended")
        # The models are not judged, nor the host: the vendor's own examples have others of both.
        if urlsplit(str(llm.url)).path not in TRIAL_PATHS:
            raise Refusal(410001047, "LLM.Url: its path is none of those listed for zego_test")
    if tts is not None and "TTS" in app.trials_ended and TRIAL_KEY in (tts.params.get("app") or {}).values():
        raise Refusal(410001034, "TTS.Params.app: the trial of zego_test has ended")
