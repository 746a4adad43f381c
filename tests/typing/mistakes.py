# mypy: ignore-errors
"""Mistakes that type checkers find before anything runs: each marked line must be an error to mypy and to pyright."""

from __future__ import annotations

import zego_aigc
from zego_aigc import Client, aiagent, digitalhuman
from zego_aigc.handles import StreamTaskHandle
from zego_aigc.sandbox import LiveSandbox, Sandbox


async def missing_fields(client: Client) -> None:
    await client.call(aiagent.RegisterAgent())  # error
    await client.call(aiagent.RegisterAgent(name="n"))  # error
    aiagent.LLM(url="u")  # error
    aiagent.RTC(room_id="r", agent_stream_id="s", agent_user_id="u")  # error
    digitalhuman.RTCConfig(room_id="r")  # error
    digitalhuman.CreateDigitalHumanStreamTask(rtc_config=digitalhuman.RTCConfig(room_id="r", stream_id="s"))  # error


async def wrong_fields(client: Client) -> None:
    await client.call(aiagent.RegisterAgent(agent_id="a", nmae="n"))  # error
    await client.call(aiagent.RegisterAgent(agent_id=1))  # error
    await client.call(aiagent.RegisterAgent("a"))  # error
    aiagent.LLM(url="u", model="m", temperature="hot")  # error
    aiagent.AdvancedConfig(disable_tts=1)  # error
    aiagent.CallbackConfig(llm_result=True)  # error
    aiagent.CallbackConfig(llm_result=2)  # error
    aiagent.SendAgentInstanceTTS(agent_instance_id="i", text="t", priority="Urgent")  # error
    aiagent.MessageHistory(messages=["hello"])  # error
    aiagent.UpdateAgentInstance(agent_instance_id="i", rtc=aiagent.CDN(url="u"))  # error
    digitalhuman.DriveByRTCStream(task_id="t", rtc_config=digitalhuman.RTCConfig(room_id="r", stream_id="s"))  # error
    aiagent.TTS.minimax(api_key="k", voice_id="v", volume=3)  # error
    aiagent.TTS.minimax(voice_id="v")  # error
    aiagent.ASR.tencent(input_sample_rate=44100)  # error


async def wrong_results(client: Client) -> None:
    task = await client.call(
        digitalhuman.CreateDigitalHumanStreamTask(
            digital_human_config=digitalhuman.DigitalHumanConfig(digital_human_id="d"),
            rtc_config=digitalhuman.RTCConfig(room_id="r", stream_id="s"),
        )
    )
    print(task.agent_instance_id)  # error
    task.task_id = "other"  # error
    await client.call({"AgentId": "a"})  # error
    await client.call(aiagent.LLM(url="u", model="m"))  # error


async def missing_awaits_and_methods(client: Client, task: StreamTaskHandle) -> None:
    print(client.call(aiagent.ListAgents()).agents)  # error
    client.register_agent(agent_id="a")  # error
    await client.list_agents()  # error
    task.say("Hello!")  # error
    for _ in client.list_agents():  # error
        pass
    async with client.start(aiagent.CreateAgentInstance(agent_id="a", user_id="u", rtc=TALK)):  # error
        pass
    with client:  # error
        pass
    async with client.call(aiagent.ListAgents()):  # error
        pass
    print((await client.call(aiagent.ListAgents()))["Agents"])  # error


def wrong_names() -> None:
    zego_aigc.Clinet(1, "s")  # error
    zego_aigc.RegisterAgent(agent_id="a")  # error
    aiagent.DriveByText(task_id="t", text="t")  # error


async def wrong_options(client: Client, task: StreamTaskHandle, sandbox: Sandbox) -> None:
    Client.from_env(timout=3)  # error
    Client.from_env(timeout="3")  # error
    Client(1, "s", retries=3)  # error
    sandbox.client(timout=3)  # error
    client.agent(agent_id="a", user_id="u")  # error
    client.stream_task(digital_human_config={"DigitalHumanId": "d"}, rtc_config=RTC)  # error
    client.live_digital_human_agent(agent_id="a", digital_human=aiagent.DigitalHuman(digital_human_id="d"), asr=None)  # error
    async with client.agent(agent_id="a", user_id="u", rtc=TALK) as agent:
        await agent.say("Hello!", prioritty="High")  # error
        await agent.say("Hello!", priority="Urgent")  # error
        await agent.ask("Hello?", system_promt="Be brief.")  # error
        await agent.update(vad=None)  # error
    await task.drive_text("Hello!")  # error
    await task.drive_audio("https://files.example/hello.mp3", interupt_mode=1)  # error
    sandbox.emit("ASRResult", Text={1, 2})  # error
    sandbox.recording.save("calls.jsonl", actions=aiagent.ListAgents)  # error
    LiveSandbox(ports=1)  # error


RTC = digitalhuman.RTCConfig(room_id="r", stream_id="s")
TALK = aiagent.RTC(room_id="r", agent_stream_id="s", agent_user_id="a", user_stream_id="u")


async def no_mistakes(client: Client, sandbox: Sandbox) -> None:
    sandbox.emit("ASRResult", Text="Hello", Round=1, Words=[{"Word": "Hello", "End": 0.5}])
    sandbox.recording.save("calls.jsonl", action=aiagent.ListAgents, since=0.0)
    LiveSandbox(quota=3, port=0)
    await client.call(aiagent.RegisterAgent(agent_id="a", llm=aiagent.LLM(url="u", model="m", temperature=1)))
    aiagent.TTS(vendor="Brand-new", params={"app": {"any": "thing"}})
    aiagent.MessageHistory(sync_mode=aiagent.SyncMode.MESSAGES, messages=(aiagent.Message.user("hi"),))
    aiagent.DigitalHuman(digital_human_id="d", config_id="tv", extra={"NewField": 1})
    (agent,) = (await client.call(aiagent.QueryAgents(agent_ids=["a"]))).agents
    await client.call(aiagent.UpdateAgent(agent_id="a", llm=agent.llm))
    history = (await client.call(aiagent.GetAgentInstanceMsgList(agent_instance_id="i"))).message_list
    aiagent.MessageHistory(sync_mode=1, messages=history)
    digitalhuman.DriveByAudio(task_id="t", audio_url="u", voice_channel=digitalhuman.VoiceChannel.LEFT)
    async with (
        Client.from_env(timeout=3, env_file=".env") as other,
        other.agent(agent_id="a", user_id="u", rtc=TALK) as instance,
    ):
        await instance.say("Hello!", priority="High")
        await instance.update(llm=agent.llm)
    async with other.stream_task(
        digital_human_config=digitalhuman.DigitalHumanConfig(digital_human_id="d"), rtc_config=RTC, ttl=60
    ) as task:
        await task.drive_text("Hello!", digitalhuman.TTSConfig(timbre_id="t"), interrupt_mode=1)
