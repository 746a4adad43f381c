"""What comes back, on its way to a browser: as builtins, as JSON, and through web frameworks."""

from __future__ import annotations

import json
from typing import Any

import fastapi
import pydantic
import pytest
from contract_data import ACTION_NAMES, Field, plain_value, response_of

from zego_aigc.aiagent import CreatedAgentInstance, CreatedDigitalHumanAgentInstance, EncodedDigitalHumanConfig
from zego_aigc.digitalhuman import RunningStreamTask, StreamTaskList, TaskStatus
from zego_aigc.errors import ConfigurationError
from zego_aigc.schema.actions import ACTIONS
from zego_aigc.transport.envelope import read

TASKS = StreamTaskList(
    task_list=[RunningStreamTask(task_id="t", room_id="r", stream_id="s", status=TaskStatus.STREAMING, create_time=5)]
)
WRITTEN = {"TaskList": [{"TaskId": "t", "RoomId": "r", "StreamId": "s", "Status": 3, "CreateTime": 5}]}


def full(fields: dict[str, Field]) -> dict[str, Any]:
    """An object with every documented field."""
    return {name: full_value(name, field) for name, field in fields.items()}


def full_value(name: str, field: Field) -> Any:
    if field.kind == "object":
        return full(field.fields)
    if field.kind == "list" and field.of is not None:
        return [full_value(name, field.of)]
    return plain_value(name, field)


@pytest.mark.parametrize("name", [name for name in ACTION_NAMES if ACTIONS[name].result is not None])
def test_every_result_has_the_vendors_names_as_a_dict_and_as_json(name: str) -> None:
    body = {"Code": 0, "Data": full(response_of(name))}
    result = read(json.dumps(body).encode(), ACTIONS[name].result).data
    assert result is not None
    assert json.loads(result.to_json()) == result.to_dict() == dict(result)
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict(), "nothing but builtins"


def test_numbers_and_strings_of_our_own_kinds_become_plain_ones() -> None:
    assert TASKS.to_dict() == WRITTEN
    made = CreatedDigitalHumanAgentInstance(agent_instance_id="1", digital_human_config=EncodedDigitalHumanConfig("e30="))
    assert made.to_json() == '{"AgentInstanceId":"1","DigitalHumanConfig":"e30="}'
    assert type(made.to_dict()["DigitalHumanConfig"]) is str


async def get(app: fastapi.FastAPI, path: str) -> Any:
    """What an ASGI application answers to a GET, as JSON."""
    sent: list[dict[str, Any]] = []
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], "root_path": ""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert sent[0]["status"] == 200
    return json.loads(b"".join(message.get("body", b"") for message in sent))


@pytest.mark.anyio
async def test_fastapi_encodes_a_result_that_is_returned_annotated_or_inside_something() -> None:
    app = fastapi.FastAPI()

    @app.get("/bare")
    async def bare():  # type: ignore[no-untyped-def]  # what is tested
        return TASKS

    @app.get("/annotated")
    async def annotated() -> StreamTaskList:
        return TASKS

    @app.get("/inside")
    async def inside() -> dict[str, Any]:
        return {"tasks": TASKS}

    @app.get("/text")
    async def text() -> fastapi.Response:
        return fastapi.Response(TASKS.to_json(), media_type="application/json")

    for path in ("/bare", "/annotated", "/text"):
        assert await get(app, path) == WRITTEN, path
    assert await get(app, "/inside") == {"tasks": WRITTEN}
    schema = (await get(app, "/openapi.json"))["paths"]["/annotated"]["get"]["responses"]["200"]
    listed = schema["content"]["application/json"]["schema"]["properties"]["TaskList"]
    assert listed["items"]["required"] == ["TaskId"]
    assert listed["items"]["properties"]["Status"]["type"] == "integer"


def test_a_pydantic_model_may_hold_a_result() -> None:
    class Page(pydantic.BaseModel):
        made: CreatedAgentInstance

    page = Page.model_validate({"made": {"AgentInstanceId": "7", "New": 1}})
    assert page.made == CreatedAgentInstance(agent_instance_id="7")
    assert page.model_dump_json() == '{"made":{"AgentInstanceId":"7"}}'
    assert Page(made=page.made).made is page.made
    with pytest.raises(pydantic.ValidationError, match="AgentInstanceId"):
        Page.model_validate({"made": {}})


@pytest.mark.anyio
async def test_a_result_is_no_handle_and_says_where_to_get_one() -> None:
    with pytest.raises(ConfigurationError, match=r"'async with client.agent\(create\)'"):
        async with CreatedAgentInstance(agent_instance_id="7"):
            pass
