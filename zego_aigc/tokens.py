"""Login tokens for the browser and mobile SDKs ("token04"), made where the ServerSecret is: on your server.

A token is ``"04"`` and the base64 of: expiry (8 bytes), length of the IV (2 bytes), IV, length of the ciphertext (2 bytes),
ciphertext; numbers big-endian. The ciphertext is AES-256-CBC with PKCS #7 padding, the ServerSecret's 32 characters being the
key, over JSON that says who may log in and until when.

Vendor's page: https://www.zegocloud.com/docs/video-call/token
"""

from __future__ import annotations

import base64
import json
import os
import struct
import time
from collections.abc import Iterable

from zego_aigc.errors import ConfigurationError

__all__ = ["MAX_TTL", "room_payload", "token04"]

MAX_TTL = 366 * 86_400
"""Seconds for which a token may be valid: no token can be taken back, and a larger number is mostly one of milliseconds."""

_MAX_CIPHERTEXT = 0x7FFF
"""What fits the 2 bytes of its length, for readers that take them as signed too."""


def token04(
    app_id: int,
    user_id: str,
    server_secret: str,
    *,
    ttl: int,
    payload: str = "",
    now: float | None = None,
    nonce: int | None = None,
    iv: bytes | str | None = None,
) -> str:
    """A token with which one user logs in to a room.

    Send it to that user only, over TLS, and make a new one before it expires.

    Args:
        app_id: the project's AppId, 1 to 4294967295.
        user_id: who logs in, as the client SDK will say it.
        server_secret: the project's ServerSecret, 32 characters. It never leaves your server.
        ttl: seconds for which the token is valid, 1 to :data:`MAX_TTL`.
        payload: what :func:`room_payload` gives, to allow only certain things; empty for no such bounds.
        now: Unix time in seconds; this machine's clock unless given.
        nonce: a number of up to 31 bits; random unless given.
        iv: 16 bytes for the cipher; random unless given. Never use one twice.

    Raises:
        ConfigurationError: an argument is out of range, or the extra ``token`` is not installed. A `ValueError`, too.
    """
    if isinstance(app_id, bool) or not isinstance(app_id, int) or not 0 < app_id < 2**32:  # pyright: ignore[reportUnnecessaryIsInstance] - callers read it from the environment
        raise ConfigurationError(
            f"app_id must be an integer from 1 to {2**32 - 1}: write int(...) around what you read from a file or variable"
        )
    if not isinstance(user_id, str) or not user_id:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"user_id must be text, such as str(user.id), and not empty: it is {user_id!r}")
    if not isinstance(payload, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"payload must be text, which room_payload(room_id) makes, not a {type(payload).__name__}")
    key = server_secret.encode() if isinstance(server_secret, str) else b""  # pyright: ignore[reportUnnecessaryIsInstance]
    if len(key) != 32:
        raise ConfigurationError(
            f"server_secret must be the ServerSecret of 32 characters, not of {len(key)}, from the ZEGOCLOUD console"
        )
    if isinstance(ttl, bool) or not isinstance(ttl, int) or not 0 < ttl <= MAX_TTL:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"ttl must be a whole number of seconds from 1 to {MAX_TTL}, not {ttl!r}")
    if nonce is None:
        nonce = int.from_bytes(os.urandom(4), "big") & 0x7FFFFFFF
    elif not 0 <= nonce < 2**31:
        raise ConfigurationError(f"nonce must be a number from 0 to {2**31 - 1}, not {nonce}")
    if iv is None:
        iv = base64.urlsafe_b64encode(os.urandom(12))  # 16 characters of text: some of the vendor's own code takes it for that
    elif isinstance(iv, str):
        iv = iv.encode()
    if len(iv) != 16:
        raise ConfigurationError(f"iv must be 16 bytes, not {len(iv)}")

    created = int(time.time() if now is None else now)
    claims = {
        "app_id": app_id,
        "user_id": user_id,
        "nonce": nonce,
        "ctime": created,
        "expire": created + ttl,
        "payload": payload,
    }
    try:
        plain = json.dumps(claims, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ConfigurationError("user_id or payload holds half a surrogate pair, which UTF-8 cannot carry") from None
    ciphertext = _encrypt(plain, key, iv)
    if len(ciphertext) > _MAX_CIPHERTEXT:
        raise ConfigurationError(f"user_id and payload are too long: {len(plain)} bytes with the rest, {_MAX_CIPHERTEXT} fit")
    packed = struct.pack("!qH", created + ttl, len(iv)) + iv + struct.pack("!H", len(ciphertext)) + ciphertext
    return "04" + base64.b64encode(packed).decode()


def room_payload(room_id: str, *, login: bool = True, publish: bool = True, stream_ids: Iterable[str] | None = None) -> str:
    """A `payload` that binds a token to a room. The vendor's support has to switch its checking on for the AppId.

    Args:
        room_id: the only room that the user may log in to; empty for any.
        login: whether the user may log in.
        publish: whether the user may publish streams.
        stream_ids: the only streams that the user may publish; ``None`` for any.
    """
    privilege = {"1": int(login), "2": int(publish)}
    streams = None if stream_ids is None else list(stream_ids)
    return json.dumps({"room_id": room_id, "privilege": privilege, "stream_id_list": streams}, separators=(",", ":"))


def _encrypt(plain: bytes, key: bytes, iv: bytes) -> bytes:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.ciphers.modes import CBC
    except ImportError as error:
        raise ConfigurationError("tokens need the extra 'token': pip install 'zego_aigc[token]'") from error
    padding = 16 - len(plain) % 16
    encryptor = Cipher(AES(key), CBC(iv)).encryptor()
    return encryptor.update(plain + bytes([padding]) * padding) + encryptor.finalize()
