"""Mistakes that everybody makes once: each error says what to write instead."""

from __future__ import annotations

import gc
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from requests_made import stream, voice

from zego_aigc import Client, LocalLimiter, RetryPolicy, SessionPool, ZegoError, aiagent, provision
from zego_aigc.aiagent import LLM, RTC, CreateAgentInstance, CreatedAgentInstance, ListAgents, QueryAgents, RegisterAgent
from zego_aigc.callbacks import CallbackRouter, Event, parse_callback
from zego_aigc.errors import ConfigurationError, ConnectFailed
from zego_aigc.sandbox import Sandbox
from zego_aigc.schema.codes import api_error
from zego_aigc.tokens import token04

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(1, "s" * 32, aiagent_url="http://127.0.0.1:9", digitalhuman_url="http://127.0.0.1:9") as made:
        yield made


def wrong(value: Any) -> Any:
    """A value of which type checkers know nothing."""
    return value


def router() -> CallbackRouter:
    return CallbackRouter(secret="s")


async def no_parameter() -> None: ...


NOT_ACTIONS = {
    "a map": ({"AgentId": "a"}, "a map: make a request of it, such as RegisterAgent(agent_id=...), or RegisterAgent"),
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
        await client.call({})  # type: ignore[arg-type]  # what is tested
    assert client.pool.limiter.stats(1, "QueryAgents").waiting == 0
    assert QueryAgents(agent_ids=["a"]).to_wire() == {"AgentIds": ["a"]}


async def test_a_handle_is_not_awaited(client: Client) -> None:
    with pytest.raises(ConfigurationError, match="async with"):
        await client.agent(voice())  # type: ignore[misc]  # what is tested


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


# --- arguments of the wrong kind: each says what it takes

COMPLAINTS: dict[str, tuple[Callable[[Client], object], str]] = {
    "retry=3": (
        lambda _: Client(1, "s", retry=wrong(3)),
        "retry must be a RetryPolicy, such as RetryPolicy(max_attempts=3), not 3",
    ),
    "quota=10": (lambda _: Client(1, "s", quota=wrong(10)), "quota must be a Quota, such as LocalQuota(agents=10), not 10"),
    "limiter=10": (
        lambda _: Client(1, "s", limiter=wrong(10)),
        "limiter must be a Limiter, such as LocalLimiter(limit=10), not 10",
    ),
    "a class for a limiter": (lambda _: SessionPool(limiter=wrong(LocalLimiter)), "such as LocalLimiter(limit=10), not <class"),
    "registry=path": (
        lambda _: Client(1, "s", registry=wrong("live.db")),
        "registry must be a Registry, such as SQLiteRegistry('live.db'), not 'live.db'",
    ),
    "pool=5": (lambda _: Client(1, "s", pool=wrong(5)), "pool must be a SessionPool, not 5"),
    "another library's session": (lambda _: SessionPool(session=wrong(1)), "session must be an aiohttp.ClientSession, not int"),
    "attempts as text": (
        lambda _: RetryPolicy(max_attempts=wrong("3")),
        "RetryPolicy.max_attempts must be a whole number, 1 or more, not '3'",
    ),
    "a time as text": (
        lambda _: RetryPolicy(max_backoff=wrong("3")),
        "RetryPolicy.max_backoff must be a number of seconds, 0 or more, not '3'",
    ),
    "a handle of an id": (
        lambda client: client.agent(wrong("guide")),
        "a handle is made of a CreateAgentInstance, or of its fields by name (agent_id=..., user_id=..., rtc=...), and not",
    ),
    "a handle of a map": (lambda client: client.agent(wrong({})), "CreateAgentInstance.from_wire(body) makes one of a map"),
    "another Action's handle": (
        lambda client: client.agent(wrong(stream())),
        "this handle is for a CreateAgentInstance, not for a CreateDigitalHumanStreamTask: client.handle(create) takes any",
    ),
    "a handle of a class": (
        lambda client: client.handle(wrong(CreateAgentInstance)),
        "not the class CreateAgentInstance: make a request of it",
    ),
    "an id that is a number": (
        lambda client: client.attach(wrong(7)),
        "attach() takes the id of what lives, such as client.attach(agent.id), not 7",
    ),
    "an id that is a handle": (lambda client: client.attach(wrong(client.agent(voice()))), "such as client.attach(agent.id)"),
    "a user's number": (lambda _: RTC.for_user(wrong(5)), "UserId: must be text, such as str(user.id) (got 5)"),
    "a token for a number": (lambda _: token04(1, wrong(5), "s" * 32, ttl=60), "user_id must be text, such as str(user.id)"),
    "a token's payload as a map": (
        lambda _: token04(1, "u", "s" * 32, ttl=60, payload=wrong({"room_id": "r"})),
        "payload must be text, which room_payload(room_id) makes, not a dict",
    ),
    "no secret for a token": (lambda _: token04(1, "u", wrong(None), ttl=60), "server_secret must be the ServerSecret of 32"),
    "a callback that was decoded": (
        lambda _: parse_callback(wrong({"Event": 1}), secret="s"),
        "a callback is verified as it was received: give the request's body (bytes), not a dict",
    ),
    "a callback secret that is not set": (
        lambda _: CallbackRouter(secret=wrong(None)),
        "secret must be the CallbackSecret from the ZEGOCLOUD console; it is empty",
    ),
    "env_file=True": (lambda _: Client.from_env(env_file=wrong(True)), "env_file must be the path of a file, such as '.env'"),
    "no entries": (
        lambda client: provision(client, [], journal="x.journal").__aiter__(),
        "write 'async with provision(...) as run:', and in it 'async for outcome in run:'",
    ),
    "a client's class": (
        lambda _: provision(wrong(Client), [], journal="x.journal"),
        "the first argument is an open client, such as Client.from_env(), not <class",
    ),
}


@pytest.mark.parametrize(("use", "message"), COMPLAINTS.values(), ids=COMPLAINTS)
async def test_what_an_argument_takes_is_said_before_the_first_call(
    client: Client, use: Callable[[Client], object], message: str
) -> None:
    with pytest.raises(ZegoError, match=re.escape(message)):
        use(client)


TYPE_ERRORS: dict[str, tuple[Callable[[Client], object], str]] = {
    "fields of a handle": (
        lambda client: client.agent(agnt_id="a", user_id="u"),  # type: ignore[call-overload]  # what is tested
        "CreateAgentInstance(...) cannot be made: agnt_id is not a field; did you mean agent_id?; agent_id is required; rtc is",
    ),
    "an option": (
        lambda _: Client.from_env(timout=3),  # type: ignore[call-arg]  # what is tested
        "a Client takes no timout; did you mean timeout?",
    ),
    "a setting of the sandbox": (
        lambda _: Sandbox(rate_limits=3),  # type: ignore[call-arg]  # what is tested
        "no setting is called rate_limits; did you mean rate_limit?",
    ),
    "a name for a class": (
        lambda _: Sandbox().received(wrong("RegisterAgent")),
        "received() takes an Action's class, such as RegisterAgent, not 'RegisterAgent'; sandbox.recording.select(name) finds",
    ),
    "a handler without a parameter": (
        lambda _: router().on(Event)(wrong(no_parameter)),
        "a handler takes the event, and nothing else",
    ),
    "the router for an application": (
        lambda _: wrong(router())({}, None, None),
        "mount router.asgi, or add a route to router.aiohttp_handler",
    ),
}


@pytest.mark.parametrize(("use", "message"), TYPE_ERRORS.values(), ids=TYPE_ERRORS)
async def test_a_type_error_says_what_was_meant(
    client: Client, monkeypatch: pytest.MonkeyPatch, use: Callable[[Client], object], message: str
) -> None:
    monkeypatch.setenv("ZEGO_APP_ID", "1")
    monkeypatch.setenv("ZEGO_SERVER_SECRET", "s" * 32)
    with pytest.raises(TypeError, match=re.escape(message)):
        use(client)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ZEGO_AIAGENT_URL", "127.0.0.1:8080", "ZEGO_AIAGENT_URL: aiagent_url must be an http or https URL of a host"),
        ("ZEGO_REGION", "eu", "ZEGO_REGION: region 'eu' is not known; there are sha"),
        ("ZEGO_APP_ID", "my-app", "ZEGO_APP_ID must be a number"),
    ],
)
async def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str) -> None:
    for name, sound in {"ZEGO_APP_ID": "1", "ZEGO_SERVER_SECRET": "s" * 32, variable: value}.items():
        monkeypatch.setenv(name, sound)
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}"):
        Client.from_env()


async def test_an_environment_without_an_account_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZEGO_APP_ID", "ZEGO_SERVER_SECRET"):
        monkeypatch.delenv(name, raising=False)
    said = "set ZEGO_APP_ID and ZEGO_SERVER_SECRET .*ZEGOCLOUD console.*Without an account, 'zego-aigc sandbox' runs"
    with pytest.raises(ConfigurationError, match=said):
        Client.from_env()


# --- methods that there are not

METHODS: dict[str, tuple[Callable[[Any], object], str]] = {
    "a method for each Action": (
        lambda client: client.register_agent,
        "Client has no register_agent: write client.call(RegisterAgent(...)), as for every Action",
    ),
    "an Action for a method": (lambda client: client.ListAgents, "write client.call(ListAgents(...))"),
    "misspelt": (lambda client: client.list_agent, "Client has no list_agent; did you mean list_agents?"),
    "aiohttp's": (lambda client: client.close, "Client has no close; did you mean aclose?"),
    "of a handle": (
        lambda client: client.agent(voice()).speak,
        "AgentInstance has no speak; there are action, add_messages, ask,",
    ),
    "of another handle": (lambda client: client.stream_task(stream()).say, "StreamTaskHandle has no say; there are act,"),
    "of the faults": (
        lambda _: wrong(Sandbox().faults).refuse,
        "say for which Actions: faults.on(RegisterAgent).refuse(...), or faults.everywhere().refuse(...)",
    ),
}


@pytest.mark.parametrize(("use", "message"), METHODS.values(), ids=METHODS)
async def test_a_method_that_there_is_not_says_what_there_is(
    client: Client, use: Callable[[Any], object], message: str
) -> None:
    with pytest.raises(AttributeError, match=re.escape(message)):
        use(client)
    assert not hasattr(client, "_nothing")


# --- async and await

LIST: dict[str, Callable[[Any], object]] = {
    "for": lambda found: [each for each in found],  # noqa: C416 - what is tested
    "list": list,
    "[0]": lambda found: found[0],
    "len": len,
}


@pytest.mark.parametrize("use", LIST.values(), ids=LIST)
async def test_a_list_that_comes_by_pages_says_how_it_is_read(client: Client, use: Callable[[Any], object]) -> None:
    for found in (client.list_agents(), client.list_digital_humans(), client.list_timbres()):
        with pytest.raises(ConfigurationError, match=r"write 'async for each in .*, or 'await anext"):
            use(found)
        with pytest.raises(ConfigurationError, match="write 'async for each in"):
            await found  # type: ignore[misc]  # what is tested


async def test_what_is_asynchronous_says_so_to_a_with_statement(client: Client) -> None:
    made: dict[Any, str] = {
        client: "use 'async with Client(...) as client'",
        client.agent(voice()): "use 'async with ... as handle'",
        Sandbox(): "use 'async with Sandbox() as sandbox', or 'with LiveSandbox() as live'",
    }
    for thing, message in made.items():
        with pytest.raises(TypeError, match=re.escape(message)), thing:
            pass
    with pytest.raises(ConfigurationError, match="write 'async with provision"):
        await provision(client, [], journal="x.journal")  # type: ignore[misc]  # what is tested


FORGOTTEN: dict[str, tuple[str, str]] = {
    "an attribute": ("client.call(ListAgents()).agents", "'await' is missing, as in 'result = await client.call(...)'"),
    "a key": ("client.call(ListAgents())['Agents']", "'await' is missing"),
    "a block": (
        "async with client.start(voice()): pass",
        "'async with client.agent(create) as agent:' makes something and ends it",
    ),
    "a name and a body": (
        "await client.call('ListAgents', {})",
        "a call takes one Action: client.call(ListAgents(...)). By name and body it is client.call_raw(name, body)",
    ),
}


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize(("code", "note"), FORGOTTEN.values(), ids=FORGOTTEN)
async def test_an_await_that_is_missing_is_noted_in_the_clients_block(code: str, note: str) -> None:
    names: dict[str, Any] = {"ListAgents": ListAgents, "voice": voice}
    exec(f"async def use(client):\n    {code}", names)
    with pytest.raises((TypeError, AttributeError)) as caught:
        async with Client(1, "s" * 32) as client:
            await names["use"](client)
    assert note in caught.value.__notes__[0]
    del caught  # which holds the coroutine
    gc.collect()  # what was never awaited says so here, and not in a later test


async def test_a_result_that_is_taken_for_a_map_says_how_it_is_read() -> None:
    created: Any = CreatedAgentInstance(agent_instance_id="7")
    with pytest.raises(
        TypeError, match=r"is read by attributes and not by keys: write result\.agent_instance_id; to_dict\(\) makes a map"
    ):
        created["AgentInstanceId"]
    with pytest.raises(TypeError, match="not by keys: it has agent_instance_id"):
        created["Nothing"]


ENTRIES: dict[str, tuple[Any, str]] = {
    "a path": ("fleet.toml", "a fleet's file is read by Fleet: provision(client, Fleet('fleet.toml'), ...)"),
    "an Action": (ListAgents(), "entries are a list of Actions, or another iterable of them, not a ListAgents: put one into"),
    "maps": ([{"Action": "ListAgents"}], "entry 1: must be an Action or an Entry, not a map: Fleet(path) reads a file of them"),
    "classes": ([ListAgents], "entry 1: must be an Action or an Entry, not the class ListAgents: write ListAgents(...)"),
}


@pytest.mark.parametrize(("entries", "message"), ENTRIES.values(), ids=ENTRIES)
async def test_entries_that_are_none_say_what_was_meant(client: Client, tmp_path: Path, entries: Any, message: str) -> None:
    with pytest.raises(ZegoError, match=re.escape(message)):
        async with provision(client, entries, journal=tmp_path / "fleet.journal"):
            pass


async def test_a_misspelt_field_in_a_fleets_generator_is_noted(client: Client, tmp_path: Path) -> None:
    def entries() -> Iterator[RegisterAgent]:
        yield RegisterAgent(agentid="a")  # type: ignore[call-arg]  # what is tested

    with pytest.raises(TypeError) as caught:
        async with provision(client, entries(), journal=tmp_path / "fleet.journal"):
            pass
    assert "agentid is not a field; did you mean agent_id?" in caught.value.__notes__[0]


async def test_a_misspelt_event_of_the_sandbox_is_warned_of() -> None:
    async with Sandbox() as sandbox:
        with pytest.warns(UserWarning, match="no event ASRResults; did you mean ASRResult"):
            sandbox.emit("ASRResults", "7")


# --- how a request is written down: msgspec names the first slip, and a note on its error names all of them

MISSPELT: Any = LLM
FIELDS = {"url": "u", "Model": "m"}
SLIPS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "misspelt": (
        lambda: MISSPELT(url="u", modle="m", temprature=1),
        [
            "modle is not a field; did you mean model?",
            "temprature is not a field; did you mean temperature?",
            "model is required",
        ],
    ),
    "as on the wire": (
        lambda: MISSPELT(Url="u", Model="m", SystemPrompt="Be brief."),
        ["Model is written model", "SystemPrompt is written system_prompt", "Url is written url"],
    ),
    "without names": (
        lambda: MISSPELT("u", "m"),
        [
            "fields are given by name, such as LLM(vendor=...): 2 came without one",
            "url is required",
            "model is required",
        ],
    ),
    "missing": (lambda: MISSPELT(), ["url is required", "model is required"]),  # noqa: PLW0108 - its call is what is read
    "from a map": (lambda: MISSPELT(**FIELDS), ["Model is written model"]),
    "by way of a module, over lines": (
        lambda: aiagent.RegisterAgent(
            agentId="a",  # type: ignore[call-arg]  # what is tested
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


# --- what the service says

SAYS = {
    "AgentNotFound": "was refused: AgentNotFound (410001009). Register the agent first",
    "AgentNotFound: no agent 'x'": "was refused: AgentNotFound (410001009): no agent 'x'. Register the agent first",
    "no agent 'x'": "was refused: AgentNotFound (410001009): no agent 'x'. Register the agent first",
}


@pytest.mark.parametrize(("message", "said"), SAYS.items())
async def test_a_codes_name_stands_once_in_a_message_and_what_to_do_after_it(message: str, said: str) -> None:
    error = api_error(410001009, action="CreateAgentInstance", message=message)
    assert str(error).startswith(f"CreateAgentInstance {said}")
    assert str(error).count("AgentNotFound") == 1


async def test_a_sandbox_that_does_not_run_is_named_as_a_reason(client: Client) -> None:
    with pytest.raises(ConnectFailed, match=r"check that it runs and listens there.*'zego-aigc sandbox'"):
        await client.call(ListAgents(), timeout=20)


async def test_an_object_says_whose_fields_it_has() -> None:
    async with Client(1, "s" * 32) as client:
        with pytest.raises(ZegoError, match="LLM: must be an object with the fields of LLM, not a string"):
            await client.call(RegisterAgent(agent_id="a", llm=wrong("gpt")))
