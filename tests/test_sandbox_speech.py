"""From a model's text to what is spoken: sentences that do not depend on how the text was cut into pieces, and filters."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zego_aigc.sandbox.speech import Sentence, Sentences, SpeechFilter

MARKS = ("[[", "]]")

PIECES = ["Hello", "a", " ", "  ", ".", "!", "?", "...", "。", "\n", "3.5", "[[", "]]", "[", "]", "[[{}]]", "[[a. b]]", "é"]

TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def sentences(*pieces: str, marks: tuple[str, str] | None = MARKS) -> list[Sentence]:
    cutter = Sentences(marks)
    found = [sentence for piece in pieces for sentence in cutter.feed(piece)]
    return [*found, *cutter.flush()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello there. All well?", ["Hello there. ", "All well?"]),
        ("It costs 3.5 euros. Really?! Yes...", ["It costs 3.5 euros. ", "Really?! ", "Yes..."]),
        ("你好。吃了吗？好！", ["你好。", "吃了吗？", "好！"]),  # noqa: RUF001 - full-width marks are meant
        ("One line\nanother", ["One line\n", "another"]),
        ("", []),
    ],
)  # fmt: skip
def test_a_text_is_cut_into_sentences(text: str, expected: list[str]) -> None:
    assert [sentence.text for sentence in sentences(text)] == expected


def test_metadata_belongs_to_its_sentence_and_its_full_stops_end_none() -> None:
    assert sentences('[[{"a": "x. y"}]]Hello. [[1]]There[[2]].') == [
        Sentence("Hello. ", ('{"a": "x. y"}',)),
        Sentence("There.", ("1", "2")),
    ]
    assert sentences("[[never closed. Hello") == [Sentence("[[never closed. Hello")]
    assert sentences("[[a]] b.", marks=None) == [Sentence("[[a]] b.")]


@given(TEXTS, st.lists(st.integers(0, 60), max_size=6))
def test_how_a_text_arrives_changes_nothing(text: str, cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[start:end] for start, end in itertools.pairwise(edges)]
    whole = sentences(text)
    in_pieces = sentences(*pieces)
    assert "".join(sentence.text for sentence in in_pieces) == "".join(sentence.text for sentence in whole)
    assert [one for sentence in in_pieces for one in sentence.metadata] == [
        one for sentence in whole for one in sentence.metadata
    ]
    assert in_pieces == whole


@given(TEXTS)
def test_without_marks_no_character_is_lost(text: str) -> None:
    assert "".join(sentence.text for sentence in sentences(text, marks=None)) == text


FILTERS: dict[str, Any] = {
    "FilterText": [{"BeginCharacters": "(", "EndCharacters": ")"}, {"BeginCharacters": "<<", "EndCharacters": ">>"}],
    "CharacterFilter": ["*", "--"],
}


@given(st.text("ab()<>*-# ", max_size=30), st.integers(0, 30))
def test_filters_work_across_the_pieces_of_a_round(text: str, cut: int) -> None:
    whole, parts = SpeechFilter(FILTERS), SpeechFilter(FILTERS)
    spoken = whole.spoken(text)
    assert not set("*()") & set(spoken.replace(")", ""))
    if not any(text[max(0, cut - 1) : cut + 1] == mark for mark in ("<<", ">>", "--")):
        assert parts.spoken(text[:cut]) + parts.spoken(text[cut:]) == spoken


@given(st.text("ab#", max_size=20))
def test_a_terminator_ends_the_speech_of_its_round(text: str) -> None:
    assert SpeechFilter({"TerminatorText": "#"}).spoken(text) == text.partition("#")[0]


@given(st.text(max_size=20))
def test_without_filters_everything_is_spoken(text: str) -> None:
    assert SpeechFilter({}).spoken(text) == text
