"""Voice activity detection: what counts as speech, and where an utterance ends."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Annotated

from zego_aigc.schema.actions import Wire
from zego_aigc.schema.constraints import Advice, Number, OneOf

__all__ = ["VAD", "SensitiveConfig", "SensitiveLevel", "TurnDetectConfig", "VoiceDetectConfig", "level_advice", "pause_advice"]

DEFAULT_SILENCE = 500
"""What the service takes for an unset silence value, in ms."""


class SensitiveLevel(enum.IntEnum):
    """How easily a sound counts as speech. The pairs are energy threshold and least duration in ms."""

    MEDIUM = 0
    """(0.2, 0)"""
    LOW = 1
    """(0.4, 100)"""
    HIGH = 2
    """(0.1, 0)"""
    CUSTOM = 3
    """As MinSpeechDur and EnergyThreshold say."""


class TurnDetectConfig(Wire, frozen=True, kw_only=True):
    """Where an utterance ends. 500 alone suits short turns, 500 with a pause of 1000 to 1500 mixed ones, 1000 long ones."""

    silence_segmentation: Annotated[int, Number(200, 2000)] | None = None
    """Silence that ends an utterance, in ms: 200 to 2000, default 500."""
    pause_interval: Annotated[int, Number(200, 2000)] | None = None
    """Utterances closer than this are joined, in ms: 200 to 2000. It works only above SilenceSegmentation."""

    def rules(self) -> Iterable[Advice]:
        """Rules between the fields.

        - Advice: PauseInterval works only above SilenceSegmentation.
        """
        return pause_advice(
            "VAD.TurnDetectConfig.PauseInterval", self.pause_interval, "SilenceSegmentation", self.silence_segmentation
        )


class SensitiveConfig(Wire, frozen=True, kw_only=True):
    """How easily a sound counts as speech."""

    level: Annotated[int, OneOf((0, 1, 2, 3))] | None = None
    """A :class:`SensitiveLevel`: 0 medium (default), 1 low, 2 high, 3 as the other two fields say."""
    min_speech_dur: Annotated[int, Number(0, 1000)] | None = None
    """How long a sound must last, in ms: 0 to 1000. With level 3 only."""
    energy_threshold: Annotated[float, Number(0, 1)] | None = None
    """How loud a sound must be: 0 to 1. With level 3 only."""

    def rules(self) -> Iterable[Advice]:
        """Rules between the fields.

        - Advice: MinSpeechDur and EnergyThreshold count only with Level 3.
        """
        return level_advice(
            "VAD.VoiceDetectConfig.SensitiveConfig.Level", self.level, self.min_speech_dur, self.energy_threshold
        )


class VoiceDetectConfig(Wire, frozen=True, kw_only=True):
    """What counts as speech."""

    sensitive_config: SensitiveConfig | None = None
    """How easily a sound counts as speech."""


class VAD(Wire, frozen=True, kw_only=True):
    """Voice activity detection: what counts as speech, and where an utterance ends."""

    turn_detect_config: TurnDetectConfig | None = None
    """Where an utterance ends."""
    voice_detect_config: VoiceDetectConfig | None = None
    """What counts as speech."""


def pause_advice(path: str, pause: float | None, rival: str, silence: float | None) -> tuple[Advice, ...]:
    """A pause that is not longer than the silence does nothing."""
    if pause is None or pause > (DEFAULT_SILENCE if silence is None else silence):
        return ()
    default = f" (default {DEFAULT_SILENCE} ms)" if silence is None else ""
    return (Advice(f"{path} has an effect only above {rival}{default}"),)


def level_advice(path: str, level: int | None, least: int | None, threshold: float | None) -> tuple[Advice, ...]:
    """The details count only with the custom level."""
    if (least is None and threshold is None) or level == SensitiveLevel.CUSTOM:
        return ()
    return (Advice(f"{path} is not 3 (custom): the service ignores duration and energy threshold"),)
