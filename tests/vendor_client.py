"""A client of the two services written from the vendor's pages alone: hashlib, json and an HTTP library.

Nothing of `zego_aigc` is used, so that a mistake that library and sandbox share would show.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

import aiohttp

RTC = {"RoomId": "room-1", "AgentStreamId": "agent-stream-1", "AgentUserId": "agent-1", "UserStreamId": "user-stream-1"}

LLM = {"Url": "https://llm.invalid/v1/chat/completions", "ApiKey": "key", "Model": "m", "SystemPrompt": "Be brief."}

TTS = {"Vendor": "MiniMax", "Params": {"app": {"api_key": "key"}, "model": "speech"}}


class VendorClient:
    """Signs as the vendor's page says and decides on ``Code`` only."""

    def __init__(self, url: str, app_id: int, server_secret: str, session: aiohttp.ClientSession, now: Any) -> None:
        self.url = url
        self.app_id = app_id
        self.server_secret = server_secret
        self.session = session
        self.now = now

    def query(self, action: str, **changes: str | None) -> dict[str, str]:
        """The common parameters; `changes` replace some, None leaves one out."""
        nonce = changes.get("SignatureNonce") or secrets.token_hex(8)
        timestamp = changes.get("Timestamp") or str(int(self.now()))
        text = f"{self.app_id}{nonce}{self.server_secret}{timestamp}"
        query = {
            "Action": action,
            "AppId": str(self.app_id),
            "SignatureNonce": nonce,
            "Timestamp": timestamp,
            "Signature": hashlib.md5(text.encode()).hexdigest(),
            "SignatureVersion": "2.0",
            **changes,
        }
        return {key: value for key, value in query.items() if value is not None}

    async def call(self, action: str, body: Any = None, **changes: str | None) -> dict[str, Any]:
        """The whole answer."""
        content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        headers = {"Content-Type": "application/json"}
        async with self.session.post(
            f"{self.url}/", params=self.query(action, **changes), data=content, headers=headers
        ) as got:
            answer: dict[str, Any] = json.loads(await got.read())
            return answer

    async def code(self, action: str, body: Any = None, **changes: str | None) -> int:
        """Only the Code."""
        code: int = (await self.call(action, body, **changes))["Code"]
        return code

    async def do(self, action: str, body: Any = None) -> Any:
        """The Data of a call that must succeed."""
        answer = await self.call(action, body)
        assert answer["Code"] == 0, answer
        return answer.get("Data")

    # --- what most tests begin with ----------------------------------------------------------------------------------

    async def agent(self, agent_id: str = "agent", **fields: Any) -> str:
        await self.do("RegisterAgent", {"AgentId": agent_id, "Name": "Guide", "LLM": LLM, "TTS": TTS, **fields})
        return agent_id

    async def voice(self, *, rtc: Mapping[str, str] | None = None, **fields: Any) -> str:
        body = {"AgentId": "agent", "UserId": "user", "RTC": {**RTC, **(rtc or {})}, **fields}
        identity: str = (await self.do("CreateAgentInstance", body))["AgentInstanceId"]
        return identity

    async def live(self, **fields: Any) -> str:
        rtc = {key: value for key, value in RTC.items() if key != "UserStreamId"}
        body = {"AgentId": "agent", "RTC": rtc, "DigitalHuman": {"DigitalHumanId": "h"}, **fields}
        identity: str = (await self.do("CreateLiveDigitalHumanAgentInstance", body))["AgentInstanceId"]
        return identity

    async def task(self, stream_id: str = "s", **fields: Any) -> str:
        body = {"DigitalHumanConfig": {"DigitalHumanId": "h"}, "RTCConfig": {"RoomId": "r", "StreamId": stream_id}, **fields}
        identity: str = (await self.do("CreateDigitalHumanStreamTask", body))["TaskId"]
        return identity


def digital_human(number: int = 1, **fields: Any) -> dict[str, Any]:
    """The body of a digital human's creation, with ids of its own."""
    rtc = {
        "RoomId": f"room-{number}",
        "AgentStreamId": f"stream-{number}",
        "AgentUserId": f"agent-{number}",
        "UserStreamId": f"user-stream-{number}",
    }
    return {"AgentId": "agent", "UserId": "user", "RTC": rtc, "DigitalHuman": {"DigitalHumanId": "h"}, **fields}
