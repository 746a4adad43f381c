"""PCM audio: what it looks like, and turning one form into another (extra ``audio``). Pure."""

# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false
# (soxr has no types of its own, and numpy is there with the extra only)
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.errors import ConfigurationError, InvalidRequest, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["AudioFormat", "Converter", "drive_format"]


class AudioFormat(msgspec.Struct, frozen=True):
    """What PCM bytes mean: samples interleaved by channel, little-endian, of whole numbers."""

    sample_rate: int
    """Samples a second of each channel."""
    width: int = 2
    """Bytes of a sample: 1 (unsigned, as WAV files have it), 2, 3 or 4 (signed)."""
    channels: int = 1
    """1 or 2."""

    @property
    def frame(self) -> int:
        """Bytes of one sample of all channels."""
        return self.width * self.channels

    def seconds(self, size: int) -> float:
        """How long so many bytes last."""
        return size / (self.frame * self.sample_rate)

    def problems(self) -> Iterable[str]:
        """What is wrong with it."""
        if not 1000 <= self.sample_rate <= 768_000:
            yield f"sample_rate must be 1000 to 768000 Hz (got {self.sample_rate})"
        if self.width not in {1, 2, 3, 4}:
            yield f"width must be 1, 2, 3 or 4 bytes (got {self.width})"
        if self.channels not in {1, 2}:
            yield f"channels must be 1 or 2 (got {self.channels})"


def drive_format(*, sample_rate: int, channels: int, voice_channel: int | None, source: AudioFormat | None) -> AudioFormat:
    """The format that a drive takes.

    Raises:
        InvalidRequest: the service does not take it, or `source` is no format.
    """
    problems: list[Problem] = []
    for path, value, known in (("SampleRate", sample_rate, (16000, 24000)), ("Channel", channels, (1, 2))):
        if value not in known:
            other = f"must be {' or '.join(map(str, known))} (got {value}); source=AudioFormat(...) says what else you write"
            problems.append(Problem(path, "choice", other))
    if voice_channel is not None:
        if voice_channel not in {0, 1, 2}:
            problems.append(Problem("VoiceChannel", "choice", f"must be 0 (both), 1 (left) or 2 (right) (got {voice_channel})"))
        elif voice_channel and channels != 2:
            problems.append(Problem("VoiceChannel", "channels", "chooses between two channels: Channel must be 2"))
    problems += [Problem("source", "format", text) for text in (source.problems() if source is not None else ())]
    if problems:
        raise InvalidRequest(problems, action="DriveByWsStream")
    return AudioFormat(sample_rate, 2, channels)


class Converter:
    """Turns PCM of one format into that of another, piece by piece.

    Between equal formats it only joins samples that were cut in half. Everything else needs the extra ``audio``: numpy, and
    soxr for other sample rates.

    Args:
        source: what comes in.
        target: what goes out; 2 bytes wide.

    Raises:
        ConfigurationError: the extra ``audio`` is needed and not installed.
    """

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        self._source = source
        self._target = target
        self._rest = b""
        self._np: Any = None
        self._resampler: Any = None
        if source == target:
            return
        try:
            import numpy as np

            self._np = np
            if source.sample_rate != target.sample_rate:
                import soxr  # type: ignore[import-untyped] # it has no types

                self._resampler = soxr.ResampleStream(source.sample_rate, target.sample_rate, target.channels, dtype="float32")
        except ImportError as error:
            raise ConfigurationError(
                f"turning {source} into {target} needs the extra 'audio': pip install 'zego_aigc[audio]'"
            ) from error

    def feed(self, pcm: bytes | bytearray | memoryview, *, last: bool = False) -> bytes:
        """What can be made of the bytes so far. With `last`, of all of them; a cut sample at the very end is dropped."""
        audio = self._rest + bytes(pcm)
        whole = len(audio) - len(audio) % self._source.frame
        self._rest = b"" if last else audio[whole:]
        audio = audio[:whole]
        if self._np is None:
            return audio
        samples = self._mixed(self._samples(audio))
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=last)
        scaled = self._np.rint(self._np.clip(samples, -1.0, 32767 / 32768) * 32768)
        result: bytes = scaled.astype("<i2").tobytes()
        return result

    def _samples(self, audio: bytes) -> Any:
        """As numbers from -1 to 1, a row for each moment."""
        np = self._np
        match self._source.width:
            case 1:
                values = (np.frombuffer(audio, np.uint8).astype(np.float32) - 128) / 128
            case 2:
                values = np.frombuffer(audio, "<i2").astype(np.float32) / 2**15
            case 3:
                padded = np.zeros((len(audio) // 3, 4), np.uint8)
                padded[:, 1:] = np.frombuffer(audio, np.uint8).reshape(-1, 3)
                values = padded.view("<i4").reshape(-1).astype(np.float32) / 2**31
            case _:
                values = np.frombuffer(audio, "<i4").astype(np.float32) / 2**31
        return values.reshape(-1, self._source.channels)

    def _mixed(self, samples: Any) -> Any:
        """With the target's channels: one becomes two equal ones, two become their mean."""
        np = self._np
        if self._source.channels < self._target.channels:
            samples = np.repeat(samples, 2, axis=1)
        elif self._source.channels > self._target.channels:
            samples = samples.mean(axis=1, keepdims=True, dtype=np.float32)
        return samples
