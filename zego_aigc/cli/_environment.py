"""Whom the command line calls."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from zego_aigc.errors import ConfigurationError

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["client_from_environment", "credentials"]


def client_from_environment(**options: Any) -> Client:
    """A client for the account in the environment.

    Raises:
        ConfigurationError: naming the variables that are missing or malformed.
    """
    import logging

    from zego_aigc.client import Client

    # What the library logs, the command line says in its own words.
    logging.getLogger("zego_aigc").addHandler(logging.NullHandler())
    return Client.from_env(**options)


def credentials() -> tuple[int, str] | None:
    """AppId and ServerSecret from the environment; None when neither is set.

    Raises:
        ConfigurationError: only one of the variables is set, or ZEGO_APP_ID is not the number of an app.
    """
    app_id = os.environ.get("ZEGO_APP_ID", "").strip()
    secret = os.environ.get("ZEGO_SERVER_SECRET", "").strip()
    if not app_id and not secret:
        return None
    if not app_id or not secret:
        raise ConfigurationError(f"set {'ZEGO_SERVER_SECRET' if app_id else 'ZEGO_APP_ID'} as well, or neither of the two")
    if not app_id.isdecimal() or not 0 < int(app_id) < 2**32:
        raise ConfigurationError("ZEGO_APP_ID must be a number from 1 to 4294967295: the AppId from the ZEGOCLOUD console")
    return int(app_id), secret
