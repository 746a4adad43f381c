"""How an agent hears: its speech recognition."""

# ruff: noqa: PYI051 - known names help completion; any other string passes too
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypedDict

from zego_aigc.aiagent._vad import level_advice, pause_advice
from zego_aigc.aiagent._vendors import VendorParams
from zego_aigc.schema.actions import Wire
from zego_aigc.schema.constraints import Advice, Deprecated, Number, OneOf

if TYPE_CHECKING:
    from typing import Unpack

__all__ = ["ASR", "ASROptions", "RegisteredASR"]

TENCENT_LONGEST_SILENCE = 1500
"""The longest silence value that Tencent takes, in ms."""


class ASROptions(TypedDict, total=False):
    """What the constructors for the vendors take beside the vendor's own parameters: the other fields of :class:`ASR`."""

    vad_silence_segmentation: int | None
    pause_interval: int | None
    vad_sensitive_level: int | None
    vad_min_speech_dur: int | None
    vad_energy_threshold: float | None
    extra: Mapping[str, Any] | None


class ASR(Wire, frozen=True, kw_only=True):
    """The speech recognition of an agent: a vendor and that vendor's parameters.

    ``ASR.tencent()`` and its siblings know the shape that each vendor wants; ``ASR(vendor=..., params=...)`` takes
    whatever you give it.
    """

    vendor: (
        Literal["Tencent", "AliyunParaformer", "AliyunGummy", "Microsoft", "AliyunFunASR", "AliyunQwenASR", "VolcSeedASR"]
        | str
        | None
    ) = None
    """Who listens; default Tencent. ZEGOCLOUD's support has to enable any other."""
    params: Mapping[str, Any] | None = None
    """The vendor's own parameters, passed on as they are: language, model, hot words."""
    vad_silence_segmentation: (
        Annotated[float, Number(200, 2000), Deprecated("VAD.TurnDetectConfig.SilenceSegmentation")] | None
    ) = None
    """Silence that ends an utterance, in ms: 200 to 2000, at most 1500 with Tencent; default 500.
    Newer pages set it in VAD.TurnDetectConfig."""
    pause_interval: Annotated[float, Number(200, 2000), Deprecated("VAD.TurnDetectConfig.PauseInterval")] | None = None
    """Utterances closer than this are joined, in ms: 200 to 2000. It works only above the silence value.
    Newer pages set it in VAD.TurnDetectConfig."""
    vad_sensitive_level: (
        Annotated[int, OneOf((0, 1, 2, 3)), Deprecated("VAD.VoiceDetectConfig.SensitiveConfig.Level")] | None
    ) = None
    """How easily a sound counts as speech: a :class:`SensitiveLevel`, default 0. Newer pages set it in VAD."""
    vad_min_speech_dur: (
        Annotated[int, Number(0, 1000), Deprecated("VAD.VoiceDetectConfig.SensitiveConfig.MinSpeechDur")] | None
    ) = None
    """How long a sound must last to count as speech, in ms: 0 to 1000; with level 3 only. Newer pages set it in VAD."""
    vad_energy_threshold: (
        Annotated[float, Number(0, 1), Deprecated("VAD.VoiceDetectConfig.SensitiveConfig.EnergyThreshold")] | None
    ) = None
    """How loud a sound must be to count as speech: 0 to 1; with level 3 only. Newer pages set it in VAD."""
    hot_word: Annotated[str, Deprecated("ASR.Params")] | None = None
    """Words to favour. Newer pages set them in Params, in the vendor's form."""

    def rules(self) -> Iterable[Advice]:
        """Rules between the fields.

        - Advice: Tencent takes a VADSilenceSegmentation of at most 1500.
        - Advice: PauseInterval works only above VADSilenceSegmentation.
        - Advice: VADMinSpeechDur and VADEnergyThreshold count only with VADSensitiveLevel 3.
        """
        silence = self.vad_silence_segmentation
        if silence is not None and silence > TENCENT_LONGEST_SILENCE and self.hears_with_tencent:
            yield Advice(f"ASR.VADSilenceSegmentation: Tencent takes at most {TENCENT_LONGEST_SILENCE} ms")
        yield from pause_advice("ASR.PauseInterval", self.pause_interval, "VADSilenceSegmentation", silence)
        yield from level_advice(
            "ASR.VADSensitiveLevel", self.vad_sensitive_level, self.vad_min_speech_dur, self.vad_energy_threshold
        )

    @property
    def hears_with_tencent(self) -> bool:
        """Whether the vendor is Tencent, named or by default."""
        return self.vendor is None or self.vendor == "Tencent"

    @classmethod
    def tencent(
        cls,
        *,
        engine_model_type: str | None = None,
        hotwords: Mapping[str, int] | None = None,
        input_sample_rate: Literal[8000] | None = None,
        params: Mapping[str, Any] | None = None,
        **options: Unpack[ASROptions],
    ) -> Self:
        """Tencent, the default vendor.

        Args:
            engine_model_type: language and field, such as ``16k_en``; default ``16k_zh``.
            hotwords: words to favour with their weights, 1 to 11: at most 128 words of at most 30 characters, without
                spaces. They become ``hotword_list``.
            input_sample_rate: 8000 for audio of telephones, else unset.
            params: more of Tencent's own parameters, merged in.
            **options: the other fields of ASR.

        Raises:
            InvalidRequest: something is out of range.
        """
        given = VendorParams("ASR.tencent()")
        given.put("engine_model_type", engine_model_type)
        given.put("hotword_list", _hotword_list(given, hotwords) if hotwords else None)
        given.put("input_sample_rate", input_sample_rate)
        return cls(vendor="Tencent", params=given.finish(params) or None, **options)

    @classmethod
    def microsoft(
        cls,
        *,
        language: str | None = None,
        phrase_list: Sequence[str] | None = None,
        **options: Unpack[ASROptions],
    ) -> Self:
        """Microsoft, which takes these two parameters and no others.

        Args:
            language: such as ``en-US``.
            phrase_list: words and phrases to favour.
            **options: the other fields of ASR.
        """
        given = VendorParams("ASR.microsoft()")
        given.put("language", language)
        given.put("phrase_list", phrase_list)
        return cls(vendor="Microsoft", params=given.finish(None) or None, **options)

    @classmethod
    def aliyun_paraformer(
        cls,
        *,
        model: str | None = None,
        language_hints: Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        **options: Unpack[ASROptions],
    ) -> Self:
        """Aliyun's Paraformer. It takes no hot words.

        Args:
            model: such as ``paraformer-realtime-v2``.
            language_hints: languages to expect: ``zh``, ``en``, ``ja``, ``yue``, ``ko``, ``de``, ``fr``, ``ru``.
            params: more of Paraformer's own parameters, merged in.
            **options: the other fields of ASR.
        """
        given = VendorParams("ASR.aliyun_paraformer()")
        given.put("payload.model", model)
        given.put("payload.parameters.language_hints", language_hints)
        return cls(vendor="AliyunParaformer", params=given.finish(params) or None, **options)

    @classmethod
    def aliyun_gummy(
        cls,
        *,
        model: str | None = None,
        source_language: str | None = None,
        params: Mapping[str, Any] | None = None,
        **options: Unpack[ASROptions],
    ) -> Self:
        """Aliyun's Gummy, which newer pages of ZEGOCLOUD no longer list. It takes no hot words.

        Args:
            model: such as ``gummy-realtime-v1``.
            source_language: such as ``en``.
            params: more of Gummy's own parameters, merged in.
            **options: the other fields of ASR.
        """
        given = VendorParams("ASR.aliyun_gummy()")
        given.put("payload.model", model)
        given.put("payload.parameters.source_language", source_language)
        return cls(vendor="AliyunGummy", params=given.finish(params) or None, **options)

    @classmethod
    def aliyun_fun_asr(
        cls,
        *,
        model: Literal["fun-asr-realtime", "fun-asr-realtime-2025-11-07", "fun-asr-realtime-2025-09-15"] | str | None = None,
        language: Literal["zh", "en", "ja"] | str | None = None,
        params: Mapping[str, Any] | None = None,
        **options: Unpack[ASROptions],
    ) -> Self:
        """Aliyun's FunASR.

        Args:
            model: such as ``fun-asr-realtime``.
            language: the language to expect: ``zh``, ``en`` or ``ja``. It becomes ``language_hints``, of which the
                vendor regards the first only.
            params: more of FunASR's own parameters, merged in.
            **options: the other fields of ASR.
        """
        given = VendorParams("ASR.aliyun_fun_asr()")
        given.put("payload.model", model)
        given.put("payload.parameters.language_hints", None if language is None else [language])
        return cls(vendor="AliyunFunASR", params=given.finish(params) or None, **options)

    @classmethod
    def aliyun_qwen_asr(
        cls,
        *,
        language: str | None = None,
        params: Mapping[str, Any] | None = None,
        **options: Unpack[ASROptions],
    ) -> Self:
        """Aliyun's QwenASR.

        Args:
            language: the language to expect, such as ``en``.
            params: more of QwenASR's own parameters, merged in.
            **options: the other fields of ASR.
        """
        given = VendorParams("ASR.aliyun_qwen_asr()")
        given.put("session.input_audio_transcription.language", language)
        return cls(vendor="AliyunQwenASR", params=given.finish(params) or None, **options)

    @classmethod
    def volc_seed_asr(
        cls,
        *,
        boosting_table_id: str | None = None,
        params: Mapping[str, Any] | None = None,
        **options: Unpack[ASROptions],
    ) -> Self:
        """Volcano Engine's SeedASR. Its language cannot be chosen.

        Args:
            boosting_table_id: the table of hot words at Volcano Engine.
            params: more of SeedASR's own parameters, merged in.
            **options: the other fields of ASR.
        """
        given = VendorParams("ASR.volc_seed_asr()")
        given.put("corpus.boosting_table_id", boosting_table_id)
        return cls(vendor="VolcSeedASR", params=given.finish(params) or None, **options)


def _hotword_list(given: VendorParams, hotwords: Mapping[str, int]) -> str:
    """``word|weight,word|weight`` for Tencent."""
    if len(hotwords) > 128:
        given.refuse("hotword_list", "items", f"holds {len(hotwords)} words; at most 128 are allowed")
    for word, weight in hotwords.items():
        if not 1 <= len(word) <= 30:
            given.refuse("hotword_list", "length", f"a word must be 1 to 30 characters (got {word[:40]!r})")
        if any(letter.isspace() or letter in ",|" for letter in word):
            given.refuse("hotword_list", "characters", f"a word may hold no space, comma or bar (got {word[:40]!r})")
        if not 1 <= weight <= 11:
            given.refuse("hotword_list", "range", f"a weight must be 1 to 11 (got {weight!r} for {word[:40]!r})")
    return ",".join(f"{word}|{weight}" for word, weight in hotwords.items())


class RegisteredASR(ASR, frozen=True, kw_only=True):
    """The speech recognition as the service returns it. It is an :class:`ASR`."""
