"""Mistakes that everybody makes once: each error says what to write instead."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from requests_made import voice

from zego_aigc import Client, aiagent
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
        with pytest.raises(
            ConfigurationError,
            match=r"use .async with. first, or client\.start\(\): CreateAgentInstance has not been called yet",
        ):
            use()
    with pytest.raises(ConfigurationError, match="use 'async with' first"):
        await agent.say("Hello!")


# --- how a request is written down: msgspec names the first slip, and a note on its error names all of them

WRONG: Any = LLM
FIELDS = {"url": "u", "Model": "m"}
SLIPS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "misspelt": (
        lambda: WRONG(url="u", modle="m", temprature=1),
        [
            "modle is not a field; did you mean model?",
            "temprature is not a field; did you mean temperature?",
            "model is required",
        ],
    ),
    "as on the wire": (
        lambda: WRONG(Url="u", Model="m", SystemPrompt="Be brief."),
        ["Model is written model", "SystemPrompt is written system_prompt", "Url is written url"],
    ),
    "without names": (
        lambda: WRONG("u", "m"),
        [
            "fields are given by name, such as LLM(vendor=...): 2 came without one",
            "url is required",
            "model is required",
        ],
    ),
    "missing": (lambda: WRONG(), ["url is required", "model is required"]),  # noqa: PLW0108 - its call is what is read
    "from a map": (lambda: WRONG(**FIELDS), ["Model is written model"]),
    "by way of a module, over lines": (
        lambda: aiagent.RegisterAgent(
            agentId="a",  # type: ignore[call-arg]
            name="ü" * 3,
            llm=LLM(url="ü", model="m"),
        ),
        ["agentId is written agent_id"],
    ),
}


@pytest.mark.parametrize(("make", "lines"), SLIPS.values(), ids=SLIPS)
async def test_all_slips_of_a_construction_are_named_at_once(make: Callable[[], object], lines: list[str]) -> None:
    with pytest.raises(TypeError) as caught:
        async with Client(1, "s" * 32):
            make()
    (note,) = caught.value.__notes__
    head, *rest = note.splitlines()
    assert head in {"LLM(...) cannot be made:", "RegisterAgent(...) cannot be made:"}
    assert [line.strip() for line in rest] == lines


@pytest.mark.parametrize("source", ["len(1)", "msgspec.Struct(1)", "LLM()", "makers[0]()"])
async def test_an_error_whose_source_is_not_had_or_that_is_another_gets_no_note(source: str) -> None:
    with pytest.raises(TypeError) as caught:
        async with Client(1, "s" * 32):
            exec(source, {"LLM": LLM, "msgspec": msgspec, "makers": [LLM]})
    assert not hasattr(caught.value, "__notes__")
