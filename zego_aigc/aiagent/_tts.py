"""The voice of an agent."""

# ruff: noqa: PYI051 - known names help completion; any other string passes too
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypedDict

from zego_aigc.aiagent._vendors import VendorParams
from zego_aigc.errors import Problem
from zego_aigc.schema.actions import Wire
from zego_aigc.schema.constraints import Secret, Text

if TYPE_CHECKING:
    from typing import Unpack

__all__ = ["TTS", "FilterText", "RegisteredTTS", "TTSOptions"]

ByteDanceResource = Literal[
    "seed-tts-2.0", "seed-tts-1.0", "seed-tts-1.0-concurr", "seed-icl-2.0", "seed-icl-1.0", "seed-icl-1.0-concurr"
]
CosyVoiceModel = Literal[
    "cosyvoice-v3.5-plus", "cosyvoice-v3.5-flash", "cosyvoice-v3-plus", "cosyvoice-v3-flash", "cosyvoice-v2", "cosyvoice-v1"
]
MiniMaxModel = Literal[
    "speech-2.5-hd-preview",
    "speech-2.5-turbo-preview",
    "speech-02-hd",
    "speech-02-turbo",
    "speech-01-hd",
    "speech-01-turbo",
    "speech-01-240228",
    "speech-01-turbo-240228",
]

BIDIRECTIONAL_VENDORS = frozenset({"ByteDanceFlowing", "CosyVoice"})
"""Vendors that take text while they speak; TerminatorText is one character with them."""


class FilterText(Wire, frozen=True, kw_only=True):
    """A pair of marks: text between them is shown but not spoken."""

    begin_characters: str
    """The opening mark, such as ``(``."""
    end_characters: str
    """The closing mark, such as ``)``."""


class TTSOptions(TypedDict, total=False):
    """What the constructors for the vendors take beside the vendor's own parameters: the other fields of :class:`TTS`."""

    url: str | None
    filter_text: Sequence[FilterText] | None
    terminator_text: str | None
    character_filter: Sequence[str] | None
    extra: Mapping[str, Any] | None


class TTS(Wire, frozen=True, kw_only=True):
    """The speech synthesis of an agent: a vendor and that vendor's parameters.

    ``TTS.minimax()`` and its siblings know the shape that each vendor wants; ``TTS(vendor=..., params=...)`` takes
    whatever you give it. In the trial, ``zego_test`` stands for every credential.
    """

    vendor: Literal["Aliyun", "ByteDance", "ByteDanceV3", "ByteDanceFlowing", "MiniMax", "CosyVoice"] | str
    """Who speaks. It cannot change once an instance runs."""
    url: str | None = None
    """The vendor's WebSocket address; default its cluster in mainland China."""
    params: Annotated[Mapping[str, Any], Secret(("app",))]
    """``app``, the vendor's credentials, beside the vendor's own parameters, which are passed on as they are."""
    filter_text: Sequence[FilterText] | None = None
    """Text between these marks is not spoken. Tell the model in LLM.SystemPrompt what to put there. It cannot change
    once an instance runs."""
    terminator_text: Annotated[str, Text(max_chars=4)] | None = None
    """From the first place where this stands, nothing more is spoken in the round. At most 4 characters, 1 with vendors
    that stream both ways (ByteDanceFlowing, CosyVoice). It cannot change once an instance runs."""
    character_filter: Sequence[Annotated[str, Text(max_chars=2)]] | None = None
    """Strings that are never spoken, at most 2 characters each. They cannot change once an instance runs."""

    def rules(self) -> Iterable[Problem]:
        """Rules between the fields.

        - Params holds ``app``.
        - TerminatorText is one character with ByteDanceFlowing and CosyVoice.
        """
        if isinstance(self.params.get("app"), dict) and (
            self.terminator_text is None or len(self.terminator_text) <= 1 or self.vendor not in BIDIRECTIONAL_VENDORS
        ):
            return ()
        return self._problems()

    def _problems(self) -> Iterable[Problem]:
        app = self.params.get("app")
        if app is None:
            yield Problem("Params.app", "required", "is required: the vendor's credentials")
        elif not isinstance(app, Mapping):
            yield Problem("Params.app", "type", "must be an object")
        if self.terminator_text and len(self.terminator_text) > 1 and self.vendor in BIDIRECTIONAL_VENDORS:
            yield Problem(
                "TerminatorText",
                "terminator_bidirectional",
                f"must be one character with {self.vendor}, which streams both ways",
            )

    @classmethod
    def minimax(
        cls,
        *,
        api_key: str,
        voice_id: str,
        model: MiniMaxModel | str = "speech-02-turbo",
        speed: float | None = None,
        vol: float | None = None,
        pitch: int | None = None,
        group_id: str | None = None,
        params: Mapping[str, Any] | None = None,
        **options: Unpack[TTSOptions],
    ) -> Self:
        """MiniMax, which streams one way.

        Args:
            api_key: the credential.
            voice_id: which voice.
            model: which model. The vendor has no default; ours is the fast one of its second generation.
            speed: 0.5 to 2, default 1.
            vol: above 0, up to 10, default 1.
            pitch: -12 to 12, default 0.
            group_id: the account's group, where it has one.
            params: more of MiniMax's own parameters, merged in: ``{"voice_setting": {"emotion": "happy"}}``.
            **options: the other fields of TTS.

        Raises:
            InvalidRequest: something is missing or out of range.
        """
        given = VendorParams("TTS.minimax()")
        given.credential("api_key", api_key)
        given.credential("group_id", group_id, required=False)
        given.needed("model", model)
        given.needed("voice_setting.voice_id", voice_id)
        given.put("voice_setting.speed", speed, low=0.5, high=2)
        given.put("voice_setting.vol", vol, above=0, high=10)
        given.put("voice_setting.pitch", pitch, low=-12, high=12, whole=True)
        return cls(vendor="MiniMax", params=given.finish(params), **options)

    @classmethod
    def bytedance_v3(
        cls,
        *,
        appid: str,
        token: str,
        speaker: str,
        resource_id: ByteDanceResource | str = "seed-tts-2.0",
        speech_rate: float | None = None,
        loudness_rate: float | None = None,
        params: Mapping[str, Any] | None = None,
        **options: Unpack[TTSOptions],
    ) -> Self:
        """ByteDance (Volcano Engine, Doubao), third version, which streams one way.

        Args:
            appid: the credential's id.
            token: the credential.
            speaker: which voice; it must fit `resource_id`.
            resource_id: which series of voices: ``seed-tts-2.0`` (default), ``seed-tts-1.0`` and its ``-concurr``
                variant; ``seed-icl-...`` for cloned voices.
            speech_rate: -50 to 100, default 0.
            loudness_rate: -50 to 100, default 0.
            params: more of ByteDance's own parameters, merged in:
                ``{"req_params": {"audio_params": {"emotion": "happy"}}}``.
            **options: the other fields of TTS.

        Raises:
            InvalidRequest: something is missing or out of range.
        """
        given = VendorParams("TTS.bytedance_v3()")
        _bytedance_stream(given, appid, token, speaker, resource_id, speech_rate, loudness_rate)
        return cls(vendor="ByteDanceV3", params=given.finish(params), **options)

    @classmethod
    def bytedance_flowing(
        cls,
        *,
        appid: str,
        token: str,
        speaker: str,
        resource_id: ByteDanceResource | str = "seed-tts-2.0",
        speech_rate: float | None = None,
        loudness_rate: float | None = None,
        params: Mapping[str, Any] | None = None,
        **options: Unpack[TTSOptions],
    ) -> Self:
        """ByteDance, streaming both ways: it takes text while it speaks, and TerminatorText is one character.

        Args:
            appid: the credential's id.
            token: the credential.
            speaker: which voice; it must fit `resource_id`.
            resource_id: which series of voices, as for :meth:`bytedance_v3`; default ``seed-tts-2.0``.
            speech_rate: -50 to 100, default 0.
            loudness_rate: -50 to 100, default 0.
            params: more of ByteDance's own parameters, merged in.
            **options: the other fields of TTS.

        Raises:
            InvalidRequest: something is missing or out of range.
        """
        given = VendorParams("TTS.bytedance_flowing()")
        _bytedance_stream(given, appid, token, speaker, resource_id, speech_rate, loudness_rate)
        return cls(vendor="ByteDanceFlowing", params=given.finish(params), **options)

    @classmethod
    def bytedance(
        cls,
        *,
        appid: str,
        token: str,
        voice_type: str,
        cluster: Literal["volcano_tts", "volcano_mega", "volcano_icl"] | str = "volcano_tts",
        speed_ratio: float | None = None,
        loudness_ratio: float | None = None,
        params: Mapping[str, Any] | None = None,
        **options: Unpack[TTSOptions],
    ) -> Self:
        """ByteDance's older interface. Newer pages of ZEGOCLOUD no longer list it: prefer :meth:`bytedance_v3`.

        Args:
            appid: the credential's id.
            token: the credential.
            voice_type: which voice.
            cluster: ``volcano_tts`` (default), or ``volcano_mega`` and ``volcano_icl`` for cloned voices.
            speed_ratio: 0.8 to 2, default 1.
            loudness_ratio: 0.5 to 2, default 1.
            params: more of ByteDance's own parameters, merged in.
            **options: the other fields of TTS.

        Raises:
            InvalidRequest: something is missing or out of range.
        """
        given = VendorParams("TTS.bytedance()")
        given.credential("appid", appid)
        given.credential("token", token)
        given.credential("cluster", cluster)
        given.needed("audio.voice_type", voice_type)
        given.put("audio.speed_ratio", speed_ratio, low=0.8, high=2)
        given.put("audio.loudness_ratio", loudness_ratio, low=0.5, high=2)
        return cls(vendor="ByteDance", params=given.finish(params), **options)

    @classmethod
    def cosyvoice(
        cls,
        *,
        api_key: str,
        model: CosyVoiceModel | str,
        voice: str,
        volume: int | None = None,
        rate: float | None = None,
        pitch: float | None = None,
        params: Mapping[str, Any] | None = None,
        **options: Unpack[TTSOptions],
    ) -> Self:
        """CosyVoice of Aliyun Bailian, streaming both ways: it takes text while it speaks, TerminatorText is one character.

        Args:
            api_key: the credential.
            model: ``cosyvoice-v1`` to ``cosyvoice-v3.5-plus``.
            voice: which voice; it must fit the model.
            volume: 0 to 100, default 50.
            rate: 0.5 to 2, default 1.
            pitch: 0.5 to 2, default 1.
            params: more of CosyVoice's own parameters, merged in:
                ``{"payload": {"parameters": {"instruction": "cheerful"}}}``.
            **options: the other fields of TTS.

        Raises:
            InvalidRequest: something is missing or out of range.
        """
        given = VendorParams("TTS.cosyvoice()")
        given.credential("api_key", api_key)
        given.needed("payload.model", model)
        given.needed("payload.parameters.voice", voice)
        given.put("payload.parameters.volume", volume, low=0, high=100, whole=True)
        given.put("payload.parameters.rate", rate, low=0.5, high=2)
        given.put("payload.parameters.pitch", pitch, low=0.5, high=2)
        return cls(vendor="CosyVoice", params=given.finish(params), **options)

    @classmethod
    def aliyun(
        cls,
        *,
        app_key: str,
        ak_id: str,
        ak_key: str,
        voice: str = "xiaoyun",
        volume: int | None = None,
        speech_rate: int | None = None,
        pitch_rate: int | None = None,
        params: Mapping[str, Any] | None = None,
        **options: Unpack[TTSOptions],
    ) -> Self:
        """Aliyun's speech synthesis.

        Args:
            app_key: the project's AppKey.
            ak_id: the id of the access key.
            ak_key: the secret of the access key.
            voice: which voice, default ``xiaoyun``.
            volume: 0 to 100, default 50.
            speech_rate: -500 to 500, default 0.
            pitch_rate: -500 to 500, default 0.
            params: more of Aliyun's own parameters, merged in.
            **options: the other fields of TTS.

        Raises:
            InvalidRequest: something is missing or out of range.
        """
        given = VendorParams("TTS.aliyun()")
        given.credential("app_key", app_key)
        given.credential("ak_id", ak_id)
        given.credential("ak_key", ak_key)
        given.needed("voice", voice)
        given.put("volume", volume, low=0, high=100, whole=True)
        given.put("speech_rate", speech_rate, low=-500, high=500, whole=True)
        given.put("pitch_rate", pitch_rate, low=-500, high=500, whole=True)
        return cls(vendor="Aliyun", params=given.finish(params), **options)


def _bytedance_stream(
    given: VendorParams,
    appid: str,
    token: str,
    speaker: str,
    resource_id: str,
    speech_rate: float | None,
    loudness_rate: float | None,
) -> None:
    """What both streaming interfaces of ByteDance share."""
    given.credential("appid", appid)
    given.credential("token", token)
    given.credential("resource_id", resource_id)
    given.needed("req_params.speaker", speaker)
    given.put("req_params.audio_params.speech_rate", speech_rate, low=-50, high=100)
    given.put("req_params.audio_params.loudness_rate", loudness_rate, low=-50, high=100)


class RegisteredTTS(TTS, frozen=True, kw_only=True):
    """The speech synthesis as the service returns it, with nothing required. It is a :class:`TTS`."""

    vendor: str = ""
    """Who speaks."""
    params: Annotated[Mapping[str, Any], Secret(("app",))] = {}
    """``app``, the vendor's credentials, beside the vendor's own parameters."""
