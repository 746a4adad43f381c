"""Sound requests with ids of one's choice, for tests that care about what becomes of them."""

from __future__ import annotations

from zego_aigc import aiagent, digitalhuman

__all__ = ["live", "llm", "register", "rtc", "stream", "talking", "voice"]


def llm(key: str = "sk-of-the-test") -> aiagent.LLM:
    return aiagent.LLM(url="https://llm.example/v1/chat/completions", model="m-1", api_key=key)


def register(agent_id: str = "guide", **fields: object) -> aiagent.RegisterAgent:
    return aiagent.RegisterAgent.from_wire({"AgentId": agent_id, "Name": "Guide", **fields})


def rtc(name: str = "1") -> aiagent.RTC:
    return aiagent.RTC(
        room_id=f"room-{name}", agent_stream_id=f"agent-{name}", agent_user_id=f"bot-{name}", user_stream_id=f"user-{name}"
    )


def voice(name: str = "1", agent_id: str = "guide") -> aiagent.CreateAgentInstance:
    return aiagent.CreateAgentInstance(agent_id=agent_id, user_id="visitor", rtc=rtc(name))


def talking(name: str = "1", agent_id: str = "guide") -> aiagent.CreateDigitalHumanAgentInstance:
    return aiagent.CreateDigitalHumanAgentInstance(
        agent_id=agent_id, user_id="visitor", rtc=rtc(name), digital_human=aiagent.DigitalHuman(digital_human_id="human")
    )


def stream(name: str = "1") -> digitalhuman.CreateDigitalHumanStreamTask:
    return digitalhuman.CreateDigitalHumanStreamTask(
        digital_human_config=digitalhuman.DigitalHumanConfig(digital_human_id="human"),
        rtc_config=digitalhuman.RTCConfig(room_id=f"room-{name}", stream_id=f"stream-{name}"),
    )


def live(name: str = "1", agent_id: str = "guide") -> aiagent.CreateLiveDigitalHumanAgentInstance:
    return aiagent.CreateLiveDigitalHumanAgentInstance(
        agent_id=agent_id,
        rtc=aiagent.LiveRTC(room_id=f"room-{name}", agent_stream_id=f"agent-{name}", agent_user_id=f"bot-{name}"),
        digital_human=aiagent.DigitalHuman(digital_human_id="human"),
    )
