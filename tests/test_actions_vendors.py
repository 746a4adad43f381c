"""The constructors for the vendors behind TTS and ASR build the documented shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from zego_aigc.aiagent import ASR, TTS, FilterText, RegisterAgent
from zego_aigc.errors import InvalidRequest
from zego_aigc.schema import validation

minimax = partial(TTS.minimax, api_key="hunter2", voice_id="v")
v3 = partial(TTS.bytedance_v3, appid="hunter2", token="hunter2", speaker="s")
flowing = partial(TTS.bytedance_flowing, appid="hunter2", token="hunter2", speaker="s")
bytedance = partial(TTS.bytedance, appid="hunter2", token="hunter2", voice_type="v")
cosyvoice = partial(TTS.cosyvoice, api_key="hunter2", model="cosyvoice-v2", voice="v")
aliyun = partial(TTS.aliyun, app_key="hunter2", ak_id="hunter2", ak_key="hunter2")

MAKERS: list[Callable[..., TTS]] = [minimax, v3, flowing, bytedance, cosyvoice, aliyun]


@pytest.mark.parametrize(
    ("tts", "vendor", "params"),
    [
        (
            minimax(speed=1.5, vol=0.5, pitch=-12, group_id="g"),
            "MiniMax",
            {
                "app": {"api_key": "hunter2", "group_id": "g"},
                "model": "speech-02-turbo",
                "voice_setting": {"voice_id": "v", "speed": 1.5, "vol": 0.5, "pitch": -12},
            },
        ),
        (
            v3(speech_rate=10, loudness_rate=-50, params={"req_params": {"audio_params": {"emotion": "happy"}}}),
            "ByteDanceV3",
            {
                "app": {"appid": "hunter2", "token": "hunter2", "resource_id": "seed-tts-2.0"},
                "req_params": {
                    "speaker": "s",
                    "audio_params": {"speech_rate": 10, "loudness_rate": -50, "emotion": "happy"},
                },
            },
        ),
        (
            flowing(resource_id="seed-icl-2.0"),
            "ByteDanceFlowing",
            {
                "app": {"appid": "hunter2", "token": "hunter2", "resource_id": "seed-icl-2.0"},
                "req_params": {"speaker": "s"},
            },
        ),
        (
            bytedance(speed_ratio=0.8, loudness_ratio=2),
            "ByteDance",
            {
                "app": {"appid": "hunter2", "token": "hunter2", "cluster": "volcano_tts"},
                "audio": {"voice_type": "v", "speed_ratio": 0.8, "loudness_ratio": 2},
            },
        ),
        (
            cosyvoice(volume=100, rate=0.5, pitch=2),
            "CosyVoice",
            {
                "app": {"api_key": "hunter2"},
                "payload": {
                    "model": "cosyvoice-v2",
                    "parameters": {"voice": "v", "volume": 100, "rate": 0.5, "pitch": 2},
                },
            },
        ),
        (
            aliyun(volume=0, speech_rate=-500, pitch_rate=500),
            "Aliyun",
            {
                "app": {"app_key": "hunter2", "ak_id": "hunter2", "ak_key": "hunter2"},
                "voice": "xiaoyun",
                "volume": 0,
                "speech_rate": -500,
                "pitch_rate": 500,
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_voice_has_its_vendors_shape(tts: TTS, vendor: str, params: Mapping[str, Any]) -> None:
    assert tts.vendor == vendor
    assert tts.params == params
    validation.encode(RegisterAgent(agent_id="a", tts=tts))


@pytest.mark.parametrize("maker", MAKERS)
def test_credentials_are_in_no_repr(maker: Callable[..., TTS]) -> None:
    assert "hunter2" not in repr(maker())


@pytest.mark.parametrize("maker", MAKERS)
def test_the_other_fields_of_tts_go_along(maker: Callable[..., TTS]) -> None:
    marks = [FilterText(begin_characters="(", end_characters=")")]
    tts = maker(url="wss://tts.example", filter_text=marks, terminator_text="#", character_filter=["*"], extra={"New": 1})
    assert (tts.url, tts.filter_text, tts.terminator_text) == ("wss://tts.example", marks, "#")
    assert (tts.character_filter, tts.extra) == (["*"], {"New": 1})


@pytest.mark.parametrize(
    ("make", "path", "fits", "past"),
    [
        (minimax, "speed", (0.5, 2), (0.49, 2.01)),
        (minimax, "vol", (0.01, 10), (0, 10.01)),
        (minimax, "pitch", (-12, 12), (-13, 13, 1.5)),
        (v3, "speech_rate", (-50, 100), (-51, 101)),
        (v3, "loudness_rate", (-50, 100), (-51, 101)),
        (flowing, "speech_rate", (-50, 100), (-51, 101)),
        (flowing, "loudness_rate", (-50, 100), (-51, 101)),
        (bytedance, "speed_ratio", (0.8, 2), (0.79, 2.01)),
        (bytedance, "loudness_ratio", (0.5, 2), (0.49, 2.01)),
        (cosyvoice, "volume", (0, 100), (-1, 101, 0.5)),
        (cosyvoice, "rate", (0.5, 2), (0.49, 2.01)),
        (cosyvoice, "pitch", (0.5, 2), (0.49, 2.01, float("nan"))),
        (aliyun, "volume", (0, 100), (-1, 101, True)),
        (aliyun, "speech_rate", (-500, 500), (-501, 501)),
        (aliyun, "pitch_rate", (-500, 500), (-501, 501)),
    ],
)
def test_documented_ranges_are_checked(
    make: Callable[..., TTS], path: str, fits: tuple[float, ...], past: tuple[float, ...]
) -> None:
    for value in fits:
        make(**{path: value})
    for value in past:
        with pytest.raises(InvalidRequest) as error:
            make(**{path: value})
        (problem,) = error.value.problems
        assert problem.path.endswith(path)
        assert problem.rule in {"range", "type"}


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(InvalidRequest) as error:
        TTS.bytedance_v3(appid="", token="", speaker="", resource_id="", speech_rate=1000)
    assert [problem.path for problem in error.value.problems] == [
        "Params.app.appid",
        "Params.app.token",
        "Params.app.resource_id",
        "Params.req_params.speaker",
        "Params.req_params.audio_params.speech_rate",
    ]
    assert error.value.action == "TTS.bytedance_v3()"


def test_more_parameters_are_merged_deeply_and_win() -> None:
    more = {"voice_setting": {"voice_id": "other", "emotion": "happy"}, "audio_setting": {"format": "pcm"}}
    assert minimax(speed=1, params=more).params == {
        "app": {"api_key": "hunter2"},
        "model": "speech-02-turbo",
        "voice_setting": {"voice_id": "other", "speed": 1, "emotion": "happy"},
        "audio_setting": {"format": "pcm"},
    }
    assert more["voice_setting"] == {"voice_id": "other", "emotion": "happy"}


@pytest.mark.parametrize(
    ("asr", "vendor", "params"),
    [
        (ASR.tencent(), "Tencent", None),
        (
            ASR.tencent(engine_model_type="16k_en", hotwords={"ZEGO": 11, "AIGC": 1}, input_sample_rate=8000),
            "Tencent",
            {"engine_model_type": "16k_en", "hotword_list": "ZEGO|11,AIGC|1", "input_sample_rate": 8000},
        ),
        (
            ASR.microsoft(language="en-US", phrase_list=["ZEGO"]),
            "Microsoft",
            {"language": "en-US", "phrase_list": ["ZEGO"]},
        ),
        (
            ASR.aliyun_paraformer(model="paraformer-realtime-v2", language_hints=["en", "zh"]),
            "AliyunParaformer",
            {"payload": {"model": "paraformer-realtime-v2", "parameters": {"language_hints": ["en", "zh"]}}},
        ),
        (
            ASR.aliyun_gummy(model="gummy-realtime-v1", source_language="en"),
            "AliyunGummy",
            {"payload": {"model": "gummy-realtime-v1", "parameters": {"source_language": "en"}}},
        ),
        (
            ASR.aliyun_fun_asr(model="fun-asr-realtime", language="ja"),
            "AliyunFunASR",
            {"payload": {"model": "fun-asr-realtime", "parameters": {"language_hints": ["ja"]}}},
        ),
        (
            ASR.aliyun_qwen_asr(language="en"),
            "AliyunQwenASR",
            {"session": {"input_audio_transcription": {"language": "en"}}},
        ),
        (
            ASR.volc_seed_asr(boosting_table_id="t", params={"corpus": {"context": "c"}}),
            "VolcSeedASR",
            {"corpus": {"boosting_table_id": "t", "context": "c"}},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_recogniser_has_its_vendors_shape(asr: ASR, vendor: str, params: Mapping[str, Any] | None) -> None:
    assert asr.vendor == vendor
    assert asr.params == params
    validation.encode(RegisterAgent(agent_id="a", asr=asr))


def test_the_other_fields_of_asr_go_along() -> None:
    assert ASR.tencent(vad_silence_segmentation=800, pause_interval=1000).to_wire() == {
        "Vendor": "Tencent",
        "VADSilenceSegmentation": 800,
        "PauseInterval": 1000,
    }


def test_hot_words_keep_to_tencents_form() -> None:
    assert ASR.tencent(hotwords={"x" * 30: 1, **{f"w{n}": 11 for n in range(127)}}).params
    for hotwords in (
        {"x" * 31: 1},
        {"": 1},
        {"a b": 1},
        {"a|b": 1},
        {"a,b": 1},
        {"a": 0},
        {"a": 12},
        {f"w{n}": 1 for n in range(129)},
    ):
        with pytest.raises(InvalidRequest) as error:
            ASR.tencent(hotwords=hotwords)
        assert [problem.path for problem in error.value.problems] == ["Params.hotword_list"]


def test_a_vendor_that_nobody_has_heard_of_passes() -> None:
    for value in (TTS(vendor="Brand-new", params={"app": {"any": "thing"}}), ASR(vendor="Brand-new")):
        field = {"tts": value} if isinstance(value, TTS) else {"asr": value}
        validation.encode(RegisterAgent(agent_id="a", **field))
