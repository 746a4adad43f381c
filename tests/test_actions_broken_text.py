"""Text that was cut in the middle of a character: it costs that character, and nothing else of the answer."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zego_aigc.aiagent import AgentInstanceMsgList, CreatedAgentInstance
from zego_aigc.calls.response import Response
from zego_aigc.schema.decoding import decode_json
from zego_aigc.transport.envelope import Envelope, Unreadable, read
from zego_aigc.transport.http import Answer

BROKEN = {
    "the first half of an emoji": (rb"Hi \ud83d", "Hi \ufffd"),
    "the second half": (rb"Hi \uDE00!", "Hi \ufffd!"),
    "a half before a whole one": (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
    "a half before another escape": (rb"\ud83d\n", "\ufffd\n"),
    "two of three bytes": (b"ok \xe4\xbd", "ok \ufffd"),
    "a half as bytes": (b"ok \xed\xa0\xbd", "ok \ufffd\ufffd\ufffd"),
    "a byte that UTF-8 has not": (b"\xffok", "\ufffdok"),
    "a backslash before what looks like one": (rb"\\ud83d" + b"\xff", "\\ud83d\ufffd"),
}


@pytest.mark.parametrize(("written", "meant"), BROKEN.values(), ids=BROKEN)
def test_a_message_list_with_broken_text_is_read(written: bytes, meant: str) -> None:
    body = b'{"Code":0,"Data":{"Total":1,"MessageList":[{"Role":"user","Content":"%s"}]},"RequestId":"r"}' % written
    envelope: Envelope[AgentInstanceMsgList] = read(body, AgentInstanceMsgList)
    assert envelope.data is not None
    assert envelope.request_id == "r"
    assert [message.content for message in envelope.data.message_list] == [meant]


@pytest.mark.parametrize(("written", "meant"), BROKEN.values(), ids=BROKEN)
def test_broken_text_that_nobody_decides_on_does_not_cost_the_id_of_what_was_made(written: bytes, meant: str) -> None:
    body = b'{"Code":0,"Data":{"AgentInstanceId":"42"},"Message":"%s"}' % written
    envelope = read(body, CreatedAgentInstance)
    assert envelope.data == CreatedAgentInstance(agent_instance_id="42")
    assert envelope.message == meant
    assert Response(None, None, Answer(200, {}, body), 1, 0.0).data == {"AgentInstanceId": "42"}


def test_a_refusal_with_broken_text_keeps_its_code() -> None:
    envelope = read(b'{"Code":410001009,"Message":"no agent \xff"}', None)
    assert (envelope.code, envelope.message) == (410001009, "no agent \ufffd")


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read(b'\xef\xbb\xbf{"Code":0}', None).code == 0


@pytest.mark.parametrize("body", [b"", b"\xff", b'{"Code":0', b'{"Code":"\xff"}', b'{"Code":0,"Message":"\xff}'])
def test_what_is_broken_otherwise_stays_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read(body, None)


@given(st.text(st.characters(exclude_categories=[])))
def test_any_python_text_comes_back_with_its_halves_replaced(text: str) -> None:
    # What json writes has every half of a pair as an escape, and every whole pair as two.
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert decode_json(json.dumps(text).encode()) == whole


@given(st.binary(max_size=30))
def test_any_bytes_inside_a_text_cost_no_more_than_themselves(raw: bytes) -> None:
    plain = bytes(byte for byte in raw if byte not in b'"\\' and byte >= 0x20)
    assert decode_json(b'{"a":"%s","b":1}' % plain) == {"a": plain.decode("utf-8", "replace"), "b": 1}


def test_sound_text_is_decoded_once() -> None:
    assert decode_json(b"[1]") == msgspec.json.decode(b"[1]")
