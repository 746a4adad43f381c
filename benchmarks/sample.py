"""The request that calls and codecs are measured with: CreateDigitalHumanAgentInstance with every block and 20 messages.

Written twice, as a user of each side would write it: with classes, the library's or their twins, and as a dict.
"""

from __future__ import annotations

from typing import Any

from zego_aigc import aiagent

APP_ID = 1234567890
SERVER_SECRET = "0123456789abcdef0123456789abcdef"

ENDPOINT = "https://ark.cn-beijing.volces.com/api/v3/chat/completions"
PROMPT = (
    "You are a patient guide in a museum of technology. Answer in two sentences at most, in the language of the visitor. "
    "Say plainly when you do not know something."
)
HISTORY = [
    (
        "user" if turn % 2 == 0 else "assistant",
        f"Turn {turn}: what was said before, at about the length of one sentence or two.",
    )
    for turn in range(20)
]
HOT_WORDS = "ZEGOCLOUD|10,digital human|8"
VOICE: dict[str, Any] = {
    "app": {"api_key": "zego_test"},
    "model": "speech-02-turbo",
    "voice_setting": {"voice_id": "female-shaonv", "speed": 1.0, "vol": 1.0},
}


def build(types: Any = aiagent) -> Any:
    """With the classes of a module or namespace."""
    return types.CreateDigitalHumanAgentInstance(
        agent_id="museum-guide",
        user_id="visitor_4711",
        rtc=types.RTC(
            room_id="room_4711",
            agent_stream_id="agent_stream_4711",
            agent_user_id="agent_4711",
            user_stream_id="user_stream_4711",
        ),
        llm=types.LLM(
            url=ENDPOINT,
            api_key="sk-0123456789abcdef",
            model="doubao-1-5-pro-32k-250115",
            system_prompt=PROMPT,
            temperature=0.7,
            top_p=0.9,
            params={"max_tokens": 512},
        ),
        tts=types.TTS(vendor="MiniMax", params=VOICE),
        asr=types.ASR(hot_word=HOT_WORDS),
        vad=types.VAD(turn_detect_config=types.TurnDetectConfig(silence_segmentation=500, pause_interval=1200)),
        message_history=types.MessageHistory(
            sync_mode=1, window_size=20, messages=[types.Message(role=role, content=content) for role, content in HISTORY]
        ),
        callback_config=types.CallbackConfig(
            asr_result=1, llm_result=1, interrupted=1, user_speak_action=1, agent_speak_action=1
        ),
        advanced_config=types.AdvancedConfig(interrupt_mode=0, max_idle_time=120),
        digital_human=types.DigitalHuman(digital_human_id="dh_0001", config_id="mobile", encode_code="H264"),
    )


def build_dict() -> dict[str, Any]:
    """By hand."""
    return {
        "AgentId": "museum-guide",
        "UserId": "visitor_4711",
        "RTC": {
            "RoomId": "room_4711",
            "AgentStreamId": "agent_stream_4711",
            "AgentUserId": "agent_4711",
            "UserStreamId": "user_stream_4711",
        },
        "LLM": {
            "Url": ENDPOINT,
            "ApiKey": "sk-0123456789abcdef",
            "Model": "doubao-1-5-pro-32k-250115",
            "SystemPrompt": PROMPT,
            "Temperature": 0.7,
            "TopP": 0.9,
            "Params": {"max_tokens": 512},
        },
        "TTS": {"Vendor": "MiniMax", "Params": VOICE},
        "ASR": {"HotWord": HOT_WORDS},
        "VAD": {"TurnDetectConfig": {"SilenceSegmentation": 500, "PauseInterval": 1200}},
        "MessageHistory": {
            "SyncMode": 1,
            "WindowSize": 20,
            "Messages": [{"Role": role, "Content": content} for role, content in HISTORY],
        },
        "CallbackConfig": {"ASRResult": 1, "LLMResult": 1, "Interrupted": 1, "UserSpeakAction": 1, "AgentSpeakAction": 1},
        "AdvancedConfig": {"InterruptMode": 0, "MaxIdleTime": 120},
        "DigitalHuman": {"DigitalHumanId": "dh_0001", "ConfigId": "mobile", "EncodeCode": "H264"},
    }
