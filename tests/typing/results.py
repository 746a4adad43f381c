"""What ``await client.call(...)`` returns for every Action, as mypy and pyright infer it."""

from __future__ import annotations

from typing import assert_type

from zego_aigc import Client, aiagent, digitalhuman


async def aiagent_results(client: Client) -> None:
    assert_type(await client.call(aiagent.RegisterAgent(agent_id="agentid")), None)
    assert_type(await client.call(aiagent.UnregisterAgent(agent_id="agentid")), None)
    assert_type(await client.call(aiagent.UpdateAgent(agent_id="agentid")), None)
    assert_type(await client.call(aiagent.ListAgents()), aiagent.AgentList)
    assert_type(await client.call(aiagent.QueryAgents(agent_ids=["agentids"])), aiagent.QueriedAgents)
    assert_type(
        await client.call(
            aiagent.CreateAgentInstance(
                agent_id="agentid",
                user_id="userid",
                rtc=aiagent.RTC(
                    room_id="roomid",
                    agent_stream_id="agentstreamid",
                    agent_user_id="agentuserid",
                    user_stream_id="userstreamid",
                ),
            )
        ),
        aiagent.CreatedAgentInstance,
    )
    assert_type(
        await client.call(
            aiagent.CreateDigitalHumanAgentInstance(
                agent_id="agentid",
                user_id="userid",
                rtc=aiagent.RTC(
                    room_id="roomid",
                    agent_stream_id="agentstreamid",
                    agent_user_id="agentuserid",
                    user_stream_id="userstreamid",
                ),
                digital_human=aiagent.DigitalHuman(),
            )
        ),
        aiagent.CreatedDigitalHumanAgentInstance,
    )
    assert_type(
        await client.call(
            aiagent.CreateLiveDigitalHumanAgentInstance(
                agent_id="agentid",
                rtc=aiagent.LiveRTC(room_id="roomid", agent_stream_id="agentstreamid", agent_user_id="agentuserid"),
                digital_human=aiagent.DigitalHuman(),
            )
        ),
        aiagent.CreatedDigitalHumanAgentInstance,
    )
    assert_type(await client.call(aiagent.UpdateAgentInstance(agent_instance_id="agentinstanceid")), None)
    assert_type(await client.call(aiagent.DeleteAgentInstance(agent_instance_id="agentinstanceid")), None)
    assert_type(
        await client.call(aiagent.SendAgentInstanceLLM(agent_instance_id="agentinstanceid", text="text")), aiagent.Round
    )
    assert_type(
        await client.call(aiagent.SendAgentInstanceTTS(agent_instance_id="agentinstanceid", text="text")), aiagent.Round
    )
    assert_type(
        await client.call(aiagent.QueryAgentInstanceStatus(agent_instance_id="agentinstanceid")),
        aiagent.QueriedAgentInstanceStatus,
    )
    assert_type(await client.call(aiagent.InterruptAgentInstance(agent_instance_id="agentinstanceid")), aiagent.Round)
    assert_type(
        await client.call(aiagent.GetAgentInstanceMsgList(agent_instance_id="agentinstanceid")), aiagent.AgentInstanceMsgList
    )
    assert_type(await client.call(aiagent.ResetAgentInstanceMsgList(agent_instance_id="agentinstanceid")), None)
    assert_type(await client.call(aiagent.AddAgentInstanceMsg(agent_instance_id="agentinstanceid")), None)
    assert_type(await client.call(aiagent.StartListening(agent_instance_id="agentinstanceid")), aiagent.Round)
    assert_type(await client.call(aiagent.StopListening(agent_instance_id="agentinstanceid")), aiagent.Round)


async def digitalhuman_results(client: Client) -> None:
    assert_type(await client.call(digitalhuman.GetDigitalHumanList()), digitalhuman.DigitalHumanList)
    assert_type(
        await client.call(digitalhuman.GetDigitalHumanInfo(digital_human_id="digitalhumanid")), digitalhuman.DigitalHumanInfo
    )
    assert_type(
        await client.call(digitalhuman.GetDigitalHumanRenderInfo(digital_human_id="digitalhumanid")),
        digitalhuman.DigitalHumanRenderInfo,
    )
    assert_type(await client.call(digitalhuman.GetTimbreList()), digitalhuman.TimbreList)
    assert_type(
        await client.call(
            digitalhuman.CreateDigitalHumanStreamTask(
                digital_human_config=digitalhuman.DigitalHumanConfig(digital_human_id="digitalhumanid"),
                rtc_config=digitalhuman.RTCConfig(room_id="roomid", stream_id="streamid"),
            )
        ),
        digitalhuman.StreamTask,
    )
    assert_type(await client.call(digitalhuman.QueryDigitalHumanStreamTasks()), digitalhuman.StreamTaskList)
    assert_type(
        await client.call(digitalhuman.GetDigitalHumanStreamTaskStatus(task_id="taskid")), digitalhuman.StreamTaskStatus
    )
    assert_type(await client.call(digitalhuman.StopDigitalHumanStreamTask(task_id="taskid")), None)
    assert_type(
        await client.call(
            digitalhuman.DriveByText(task_id="taskid", text="text", tts_config=digitalhuman.TTSConfig(timbre_id="timbreid"))
        ),
        digitalhuman.Drive,
    )
    assert_type(await client.call(digitalhuman.DriveByAudio(task_id="taskid", audio_url="audiourl")), digitalhuman.Drive)
    assert_type(
        await client.call(
            digitalhuman.DriveByRTCStream(
                task_id="taskid", rtc_config=digitalhuman.SourceRTCConfig(room_id="roomid", stream_id="streamid")
            )
        ),
        digitalhuman.Drive,
    )
    assert_type(await client.call(digitalhuman.DriveByWsStream(task_id="taskid")), digitalhuman.WsDrive)
    assert_type(await client.call(digitalhuman.DoAction(task_id="taskid", action="action")), None)
    assert_type(await client.call(digitalhuman.InterruptDriveTask(task_id="taskid")), None)
