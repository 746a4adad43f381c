"""From the bytes of an answer to what it says."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (free-form JSON)
from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from zego_aigc.schema.decoding import dec_hook, declared, decode_json
from zego_aigc.schema.naming import wire
from zego_aigc.schema.redaction import MASK

__all__ = ["Envelope", "Unreadable", "clean", "excerpt", "read"]

DataT = TypeVar("DataT")


class Envelope(msgspec.Struct, Generic[DataT], rename=wire):
    """What every answer looks like. Only ``Code`` decides; the HTTP status of a refusal is not documented."""

    code: int
    message: str | None = None
    request_id: str | None = None
    data: DataT | None = None


class Unreadable(Exception):
    """The bytes are not an answer of the service. The message says why, without quoting them."""


@functools.cache
def _decoder(result: Any) -> msgspec.json.Decoder[Envelope[Any]]:
    return msgspec.json.Decoder(Envelope[Any] if result is None else Envelope[result], dec_hook=dec_hook)


def read(body: bytes, result: Any) -> Envelope[Any]:
    """Decode an answer; `result` is the type of its ``Data`` (None: there is none, Any: leave it as it is).

    Unknown fields are passed over, and ``null`` means the same as an absent key.

    Raises:
        Unreadable: for anything that is not an answer of the service.
    """
    try:
        envelope = _decoder(result).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_loosely(body, result)
    if envelope.code != 0 or (envelope.data is None and result is not None and result is not Any):
        return _read_loosely(body, result)
    return envelope


def _read_loosely(body: bytes, result: Any) -> Envelope[Any]:
    """For refusals, whose ``Data`` may be anything, and for answers with broken text or null where a value belongs."""
    try:
        fields = decode_json(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable("it is not JSON") from error
    if not isinstance(fields, dict) or not isinstance(code := fields.get("Code"), int) or isinstance(code, bool):
        raise Unreadable("it has no numeric Code")
    message, request_id, data = fields.get("Message"), fields.get("RequestId"), fields.get("Data")
    envelope = Envelope[Any](
        code,
        message if isinstance(message, str) else None,
        request_id if isinstance(request_id, str) else None,
        data,
    )
    if code == 0 and result is not None and result is not Any:
        # One of the vendor's pages tables a result's fields beside Code, its examples put them into Data.
        source = data if data is not None else fields
        try:
            envelope.data = msgspec.convert(declared(result, source), result, dec_hook=dec_hook)
        except msgspec.ValidationError as error:
            raise Unreadable(f"its Data is not as documented: {error}") from error
    return envelope


def clean(text: str, most: int) -> str:
    """A text as one line without control characters, cut to `most` characters."""
    text = _one_line(text[: most * 16])  # there may be megabytes of it
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def excerpt(body: bytes, scrub: Callable[[str], str] = str, most: int = 200) -> str:
    """The beginning of a body as one clean line: tags and control characters gone, cut to `most` characters.

    Strings in JSON are masked unless their key says that they are a message: an answer that is broken or of an unexpected
    shape may hold credentials or a token anywhere. `scrub` takes known secrets out; it sees more than is shown, so that
    none is shown in part.
    """
    text = scrub(body[: most * 32].decode("utf-8", "replace"))[: most * 16]
    text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<[^>]*>", " ", text)
    text = _one_line(text)
    if re.search(r'[{\[,]\s*"', text):
        text = _masked(text)
    return clean(text, most)


_MESSAGES = frozenset({"message", "msg", "error", "reason", "detail", "title", "status", "requestid", "request_id"})


def _masked(text: str) -> str:
    key = ""

    def shown(string: re.Match[str]) -> str:
        nonlocal key
        if string[2]:
            key = string[1].lower()
        return string[0] if string[2] or key in _MESSAGES else f'"{MASK}"'

    return re.sub(r'"((?:[^"\\]|\\.)*)(?:"(\s*:)?|$)', shown, text)
