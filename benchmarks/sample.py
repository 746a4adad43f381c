"""The request that calls and codecs are measured with: CreateDigitalHumanAgentInstance with every block and 20 messages.

Written twice, as a user of each side would write it: with classes, the library's or their twins, and as a dict.
"""

from __future__ import annotations

from collections.abc import Callable
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


CLASSES = (
    "CreateDigitalHumanAgentInstance",
    "RTC",
    "LLM",
    "TTS",
    "ASR",
    "VAD",
    "TurnDetectConfig",
    "MessageHistory",
    "Message",
    "CallbackConfig",
    "AdvancedConfig",
    "DigitalHuman",
)


def builder(types: Any) -> Callable[[], Any]:
    """What makes the request of the classes of a module or namespace. It has imported their names, as programs do."""
    (
        create,
        rtc,
        llm,
        tts,
        asr,
        vad,
        turn_detect_config,
        message_history,
        message,
        callback_config,
        advanced_config,
        digital_human,
    ) = (getattr(types, name) for name in CLASSES)

    def build() -> Any:
        return create(
            agent_id="museum-guide",
            user_id="visitor_4711",
            rtc=rtc(
                room_id="room_4711",
                agent_stream_id="agent_stream_4711",
                agent_user_id="agent_4711",
                user_stream_id="user_stream_4711",
            ),
            llm=llm(
                url=ENDPOINT,
                api_key="sk-0123456789abcdef",
                model="doubao-1-5-pro-32k-250115",
                system_prompt=PROMPT,
                temperature=0.7,
                top_p=0.9,
                params={"max_tokens": 512},
            ),
            tts=tts(vendor="MiniMax", params=VOICE),
            asr=asr(hot_word=HOT_WORDS),
            vad=vad(turn_detect_config=turn_detect_config(silence_segmentation=500, pause_interval=1200)),
            message_history=message_history(
                sync_mode=1, window_size=20, messages=[message(role=role, content=content) for role, content in HISTORY]
            ),
            callback_config=callback_config(
                asr_result=1, llm_result=1, interrupted=1, user_speak_action=1, agent_speak_action=1
            ),
            advanced_config=advanced_config(interrupt_mode=0, max_idle_time=120),
            digital_human=digital_human(digital_human_id="dh_0001", config_id="mobile", encode_code="H264"),
        )

    return build


build = builder(aiagent)
"""With the library's classes."""


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
