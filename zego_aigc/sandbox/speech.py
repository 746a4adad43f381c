"""From a model's text to what is spoken: sentences, metadata, and what the TTS settings leave out. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

__all__ = ["Sentence", "Sentences", "SpeechFilter"]

FULL_WIDTH_ENDS = "。！？"  # noqa: RUF001 - these marks are meant


class Sentence(NamedTuple):
    """A sentence as it is said."""

    text: str
    """Without the metadata."""
    metadata: tuple[str, ...] = ()
    """What stood between the marks in it."""


class Sentences:
    """Cuts a text that arrives in pieces into sentences, and takes the metadata out of it.

    Args:
        marks: LLMMetaInfo's opening and closing marks, if it has them.
    """

    def __init__(self, marks: tuple[str, str] | None = None) -> None:
        self._marks = marks
        self._rest = ""
        # A full stop ends a sentence only before a blank, so that 3.5 is one word; full-width marks need none.
        end = rf"[.!?]+(?=\s)\s*|[.!?]*[{FULL_WIDTH_ENDS}][.!?{FULL_WIDTH_ENDS}]*\s*|\n+"
        self._end = re.compile(end)
        self._meta = re.compile(f"{re.escape(marks[0])}(.*?){re.escape(marks[1])}", re.DOTALL) if marks else None

    def feed(self, piece: str) -> Iterator[Sentence]:
        """Take a piece in; the sentences that are complete with it."""
        self._rest += piece
        start = 0
        while (found := self._next_end(start)) is not None:
            if found == len(self._rest):  # more of the same mark may come
                break
            sentence, start = self._rest[start:found], found
            yield self._sentence(sentence)
        self._rest = self._rest[start:]

    def flush(self) -> Iterator[Sentence]:
        """The text is over; what is left of it."""
        rest, self._rest = self._rest, ""
        if rest:
            start = 0
            while (found := self._next_end(start, rest)) is not None and found < len(rest):
                yield self._sentence(rest[start:found])
                start = found
            yield self._sentence(rest[start:])

    def _next_end(self, start: int, text: str | None = None) -> int | None:
        """Where the sentence that begins at `start` ends; None while that is not known."""
        text = self._rest if text is None else text
        position = start
        while (end := self._end.search(text, position)) is not None:
            if self._marks is None or (opened := text.find(self._marks[0], position, end.start())) < 0:
                return end.end()
            closed = text.find(self._marks[1], opened + len(self._marks[0]))
            if closed < 0:
                return None
            position = closed + len(self._marks[1])  # marks within the metadata do not count
        return None

    def _sentence(self, text: str) -> Sentence:
        if self._meta is None:
            return Sentence(text)
        return Sentence(self._meta.sub("", text), tuple(self._meta.findall(text)))


class SpeechFilter:
    """What of a round's text is spoken, by TTS.FilterText, TerminatorText and CharacterFilter.

    Args:
        tts: the TTS object in wire form.
    """

    def __init__(self, tts: Mapping[str, Any]) -> None:
        self._pairs: list[tuple[str, str]] = [
            (pair["BeginCharacters"], pair["EndCharacters"])
            for pair in tts.get("FilterText") or ()
            if pair.get("BeginCharacters") and pair.get("EndCharacters")
        ]
        self._terminator: str = tts.get("TerminatorText") or ""
        self._characters: list[str] = [text for text in tts.get("CharacterFilter") or () if text]
        self._until = ""
        self._over = False

    def spoken(self, text: str) -> str:
        """What of the round's next piece of text is spoken."""
        if not (self._pairs or self._terminator or self._characters):
            return text
        said: list[str] = []
        position = 0
        while position < len(text) and not self._over:
            if self._until:
                end = text.find(self._until, position)
                if end < 0:
                    break
                position, self._until = end + len(self._until), ""
            elif self._terminator and text.startswith(self._terminator, position):
                self._over = True
            elif (pair := self._opened(text, position)) is not None:
                position, self._until = position + len(pair[0]), pair[1]
            elif (unspoken := next((one for one in self._characters if text.startswith(one, position)), None)) is not None:
                position += len(unspoken)
            else:
                said.append(text[position])
                position += 1
        return "".join(said)

    def _opened(self, text: str, position: int) -> tuple[str, str] | None:
        return next((pair for pair in self._pairs if text.startswith(pair[0], position)), None)
