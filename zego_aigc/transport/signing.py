"""Signing requests: an MD5 over AppId, nonce, ServerSecret and timestamp.

Vendor's page: https://www.zegocloud.com/docs/aiagent-server/calling-the-server-api
"""

from __future__ import annotations

import os
from hashlib import md5

__all__ = ["Signer"]


class Signer:
    """Makes the common query parameters of requests; shared by every session of an app.

    Neither the Action nor the body enters the signature, so one signer serves all. Each attempt needs a signature of
    its own, made just before it leaves: the service refuses timestamps more than 600 s off.

    Args:
        app_id: the project's AppId, 1 to 4294967295.
        server_secret: the project's ServerSecret. It appears in no repr, message or log.
    """

    __slots__ = ("__weakref__", "_prefix", "_secret", "app_id")

    def __init__(self, app_id: int, server_secret: str) -> None:
        if (problem := _app_id_problem(app_id, server_secret) or _secret_problem(server_secret)) is not None:
            raise ValueError(problem)
        self.app_id: int = app_id
        self._secret = server_secret
        self._prefix = str(app_id)

    def sign(self, *, nonce: str, timestamp: int) -> str:
        """The signature for a nonce (the vendor advises 16 lower-case hex digits) and a Unix time in seconds.

        Returns:
            32 lower-case hex digits.
        """
        return md5(f"{self._prefix}{nonce}{self._secret}{timestamp}".encode(), usedforsecurity=False).hexdigest()

    def query(self, action: str, *, timestamp: int, nonce: str | None = None) -> str:
        """The whole query string of a call to `action`, with a fresh nonce from the operating system's randomness."""
        nonce = nonce or os.urandom(8).hex()
        return (
            f"Action={action}&AppId={self._prefix}&SignatureNonce={nonce}&Timestamp={timestamp}"
            f"&Signature={self.sign(nonce=nonce, timestamp=timestamp)}&SignatureVersion=2.0"
        )

    def __repr__(self) -> str:
        return f"Signer(app_id={self.app_id})"


# Callers read both from a file or the environment, so that any type comes. No message holds what may be the secret.


def _app_id_problem(app_id: object, server_secret: object) -> str | None:
    if isinstance(app_id, int) and not isinstance(app_id, bool) and 0 < app_id < 2**32:
        return None
    if isinstance(server_secret, int) or (_is_number(server_secret) and isinstance(app_id, str) and not _is_number(app_id)):
        return "app_id and server_secret have changed places: the AppId, a number, comes first"
    if _is_number(app_id):
        return f"app_id must be a number, not text: write {app_id}, or int(...) around what you read from a file or variable"
    return f"app_id must be an integer from 1 to {2**32 - 1}: take the AppId from the ZEGOCLOUD console"


def _secret_problem(server_secret: object) -> str | None:
    source = "take the ServerSecret, 32 letters and digits, from the ZEGOCLOUD console"
    if not isinstance(server_secret, str):
        return f"server_secret must be text, not {type(server_secret).__name__}: {source}"
    if not server_secret:
        return f"server_secret is empty: {source}"
    if server_secret != server_secret.strip():
        return "server_secret begins or ends with a blank or a line break: call .strip() on what you read from a file"
    if not (server_secret.isascii() and server_secret.isprintable()) or any(mark in server_secret for mark in " \"'"):
        return f"server_secret holds a blank, a quotation mark or another character that none has: {source}"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.strip().isdecimal()
