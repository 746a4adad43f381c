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
        if isinstance(app_id, bool) or not isinstance(app_id, int) or not 0 < app_id < 2**32:  # pyright: ignore[reportUnnecessaryIsInstance] - callers read it from the environment
            raise ValueError(f"app_id must be an integer from 1 to {2**32 - 1}: take the AppId from the ZEGOCLOUD console")
        if not isinstance(server_secret, str) or not server_secret:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError("server_secret must be the project's ServerSecret from the ZEGOCLOUD console; it is empty")
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
