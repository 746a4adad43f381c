"""Compressed bodies, for servers that hand them on as they came. Pure."""

from __future__ import annotations

import zlib

__all__ = ["BadEncoding", "inflate"]


class BadEncoding(Exception):
    """The body is not encoded as its header says, or in a way that is not known here."""


def inflate(body: bytes, encoding: str, max_size: int) -> bytes | None:
    """The plain body; None where it would be larger than `max_size`.

    Args:
        body: as received.
        encoding: the request's Content-Encoding.
        max_size: bytes.

    Raises:
        BadEncoding: the body is broken, or the encoding is neither gzip nor deflate.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip" | "deflate":
            decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # finds out itself which of the two it is
        case other:
            raise BadEncoding(f"the encoding {other!r} is not known")
    try:
        plain = decoder.decompress(body, max_size + 1)
    except zlib.error as error:
        raise BadEncoding(str(error)) from None
    if len(plain) > max_size:
        return None
    if not decoder.eof:
        raise BadEncoding("the body is cut short")
    return plain
