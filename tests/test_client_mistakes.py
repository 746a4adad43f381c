"""Mistakes that everybody makes once: each error says what to write instead."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from requests_made import voice

from zego_aigc import Client
from zego_aigc.aiagent import LLM, CreatedAgentInstance, ListAgents, QueryAgents, RegisterAgent
from zego_aigc.errors import ConfigurationError

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(1, "s" * 32, aiagent_url="http://127.0.0.1:9", digitalhuman_url="http://127.0.0.1:9") as made:
        yield made


NOT_ACTIONS = {
    "a map": ({"AgentId": "a"}, "a map: write client.call(RegisterAgent(agent_id=...)), or RegisterAgent.from_wire(body)"),
    "a class": (ListAgents, "the class ListAgents: make a request of it, ListAgents()"),
    "a class with fields": (RegisterAgent, "the class RegisterAgent: make a request of it, RegisterAgent(agent_id=...)"),
    "another class": (Client, "the class Client"),
    "a name": (
        "QueryAgents",
        "the text 'QueryAgents': write client.call(QueryAgents(...)), or client.call_raw(",
    ),
    "a misspelt name": ("QueryAgent", "the text 'QueryAgent'; did you mean QueryAgents?: write client.call(QueryAgents(...))"),
    "nothing": (None, "a NoneType"),
    "a part of a request": (LLM(url="u", model="m"), "a LLM, which is only a part of one, or a result"),
    "a result": (CreatedAgentInstance(agent_instance_id="7"), "a CreatedAgentInstance, which is only a part"),
}


@pytest.mark.parametrize(("given", "message"), NOT_ACTIONS.values(), ids=NOT_ACTIONS)
async def test_what_is_no_action_is_named_with_what_to_write(client: Client, given: Any, message: str) -> None:
    for call in (client.call, client.call_with_response):
        with pytest.raises(
            ConfigurationError, match=re.escape(f"a call takes an Action, such as ListAgents(), and not {message}")
        ):
            await call(given)


async def test_a_mistake_costs_no_token(client: Client) -> None:
    with pytest.raises(ConfigurationError):
        await client.call({})  # type: ignore[arg-type]
    assert client.pool.limiter.stats(1, "QueryAgents").waiting == 0
    assert QueryAgents(agent_ids=["a"]).to_wire() == {"AgentIds": ["a"]}


async def test_a_handle_is_not_awaited(client: Client) -> None:
    with pytest.raises(ConfigurationError, match="async with"):
        await client.agent(voice())  # type: ignore[misc]


async def test_a_handle_is_entered_before_it_is_used(client: Client) -> None:
    agent = client.agent(voice())
    for use in (lambda: agent.id, lambda: agent.created):
        with pytest.raises(ConfigurationError, match="use 'async with' first: CreateAgentInstance has not been called yet"):
            use()
    with pytest.raises(ConfigurationError, match="use 'async with' first"):
        await agent.say("Hello!")
