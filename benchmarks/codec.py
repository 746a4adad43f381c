"""(b) Building, checking, encoding and decoding the sample, without any network."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import msgspec

from benchmarks.measure import package, side_by_side
from benchmarks.report import Table, Target
from benchmarks.sample import build, build_dict, builder
from benchmarks.server import ANSWER
from benchmarks.twins import dataclass_to_json, dataclass_twins, pydantic_twins
from zego_aigc.aiagent import CreatedDigitalHumanAgentInstance
from zego_aigc.schema import validation
from zego_aigc.transport import envelope

PLAIN = "msgspec alone"
OURS = "zego_aigc (checked)"


def contenders() -> tuple[dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[], Any]]], list[str]]:
    """For each: build, encode what was built, decode an answer."""
    encode = msgspec.json.Encoder().encode
    answer = msgspec.json.Decoder(_PlainAnswer).decode
    found: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[], Any]]] = {
        PLAIN: (build, encode, lambda: answer(ANSWER)),
        OURS: (build, validation.encode, lambda: envelope.read(ANSWER, CreatedDigitalHumanAgentInstance)),
        "dict + json": (build_dict, lambda body: json.dumps(body).encode(), lambda: json.loads(ANSWER)),
    }
    skipped = []
    found["dataclasses + json"] = (builder(dataclass_twins()), dataclass_to_json, lambda: json.loads(ANSWER))
    if find_spec("pydantic"):
        read = _pydantic_answer()
        found["pydantic"] = (
            builder(pydantic_twins()),
            lambda body: body.model_dump_json(by_alias=True, exclude_none=True),
            lambda: read(ANSWER),
        )
    else:
        skipped.append("pydantic is not installed")
    if find_spec("orjson"):
        orjson = package("orjson")
        found["dict + orjson"] = (build_dict, orjson.dumps, lambda: orjson.loads(ANSWER))
    else:
        skipped.append("orjson is not installed")
    return found, skipped


class _PlainData(msgspec.Struct, rename="pascal"):
    agent_instance_id: str
    digital_human_config: str


class _PlainAnswer(msgspec.Struct, rename="pascal"):
    code: int
    message: str
    request_id: str
    data: _PlainData


def _pydantic_answer() -> Callable[[bytes], Any]:
    import pydantic

    class Data(pydantic.BaseModel):
        instance_id: str = pydantic.Field(alias="AgentInstanceId")
        config: str = pydantic.Field(alias="DigitalHumanConfig")

    class Answer(pydantic.BaseModel):
        code: int = pydantic.Field(alias="Code")
        message: str = pydantic.Field(alias="Message")
        request_id: str = pydantic.Field(alias="RequestId")
        data: Data = pydantic.Field(alias="Data")

    return Answer.model_validate_json


async def run(*, quick: bool) -> list[Table]:
    """Measure."""
    found, skipped = contenders()

    def repeat(work: Callable[[], Any]) -> Callable[[int], Any]:
        async def rounds(count: int) -> None:
            for _ in range(count):
                work()

        return rounds

    count, rounds = (200, 3) if quick else (2000, 15)
    steps = (
        {name: repeat(make) for name, (make, _, _) in found.items()},
        {name: repeat(partial(encode, make())) for name, (make, encode, _) in found.items()},
        {name: repeat(decode) for name, (_, _, decode) in found.items()},
    )
    builds, encodes, decodes = [await side_by_side(step, count=count, rounds=rounds, baseline=PLAIN) for step in steps]
    rows: list[list[str | float | None]] = [
        [name, builds[name].cpu, encodes[name].cpu, encodes[name].ratio, decodes[name].cpu] for name in found
    ]
    return [
        Table(
            part="codec",
            title="Codec: the sample request (3.2 KB, 20 messages) and its answer, microseconds",
            columns=["", "build", "encode", "x msgspec", "decode"],
            rows=rows,
            targets=[Target("checking and encoding, relative to encoding", encodes[OURS].ratio, 5.0)],
            skipped=skipped,
        )
    ]
