"""What the environment sets."""

from __future__ import annotations

import os
import secrets
from typing import Self

import msgspec

from zego_aigc import ConfigurationError


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    app_id: int
    server_secret: str
    callback_secret: str
    public_url: str
    """Where the service reaches this app: for its callbacks and its model."""
    llm_api_key: str
    """What the service shows to the model's endpoint."""
    redis_url: str | None = None
    """Needed for several workers."""
    registry_path: str = "conversations.db"
    """Without Redis: where it is noted what is live."""
    worker_lease: float = 15.0
    """Seconds without a sign of life after which a worker counts as dead, and the others end the conversations that it had."""
    sandbox_url: str | None = None
    """Set where the service is the sandbox: what the user says can be typed then."""
    live_per_visitor: int = 1
    """Conversations that a visitor may have at the same time."""

    @classmethod
    def from_env(cls) -> Self:
        environ = os.environ
        names = ("ZEGO_APP_ID", "ZEGO_SERVER_SECRET", "ZEGO_CALLBACK_SECRET", "PUBLIC_URL", "LLM_API_KEY")
        if missing := [name for name in names if not environ.get(name, "").strip()]:
            raise ConfigurationError(
                f"set {', '.join(missing)} in the environment, or start with 'python -m examples.fastapi_app'"
            )
        return cls(
            app_id=int(environ["ZEGO_APP_ID"]),
            server_secret=environ["ZEGO_SERVER_SECRET"],
            callback_secret=environ["ZEGO_CALLBACK_SECRET"],
            public_url=environ["PUBLIC_URL"].rstrip("/"),
            llm_api_key=environ["LLM_API_KEY"],
            redis_url=environ.get("REDIS_URL") or None,
            registry_path=environ.get("REGISTRY_PATH") or "conversations.db",
            worker_lease=float(environ.get("WORKER_LEASE") or 15),
            sandbox_url=environ.get("ZEGO_SANDBOX_URL") or None,
            live_per_visitor=int(environ.get("LIVE_PER_VISITOR") or 1),
        )


def new_id() -> str:
    """An id that nobody guesses."""
    return secrets.token_hex(16)
