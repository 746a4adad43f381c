"""The ``ZEGO_*`` variables of a client, and the ``.env`` file that may hold them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from zego_aigc.errors import ConfigurationError

__all__ = ["account", "options", "read_env_file", "with_variable"]

OPTIONS = {
    "callback_secret": "ZEGO_CALLBACK_SECRET",
    "region": "ZEGO_REGION",
    "aiagent_url": "ZEGO_AIAGENT_URL",
    "digitalhuman_url": "ZEGO_DIGITALHUMAN_URL",
}
"""Options of a client, and the variables that set them."""

HOSTS = frozenset({"region", "aiagent_url"})
"""Two ways to name one host."""


def read_env_file(path: str | os.PathLike[str], *, option: str = "env_file", extra: str = "dotenv") -> dict[str, str]:
    """The variables of a ``.env`` file.

    Args:
        path: of the file.
        option: how the caller names it, for messages.
        extra: what to install where the reader is missing.

    Raises:
        ConfigurationError: the file cannot be read, or python-dotenv is not installed.
    """
    if not isinstance(path, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"{option} must be the path of a file, such as '.env', not {path!r}")
    try:
        from dotenv import dotenv_values
    except ImportError:
        raise ConfigurationError(f"{option} needs python-dotenv: pip install 'zego_aigc[{extra}]'") from None
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            values = dotenv_values(stream=file)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"cannot read {option} {os.fspath(path)}: {reason} (from {Path.cwd()})") from None
    return {name: value for name, value in values.items() if value is not None}


def account(environ: Mapping[str, str]) -> tuple[int, str]:
    """AppId and ServerSecret.

    Raises:
        ConfigurationError: naming the variables that are missing or malformed.
    """
    missing = [name for name in ("ZEGO_APP_ID", "ZEGO_SERVER_SECRET") if not environ.get(name, "").strip()]
    if missing:
        raise ConfigurationError(
            f"set {' and '.join(missing)} in the environment: AppId and ServerSecret stand in the ZEGOCLOUD console, "
            "under the project's basic information. Without an account, 'zego-aigc sandbox' runs a stand-in and prints them"
        )
    try:
        return int(environ["ZEGO_APP_ID"]), environ["ZEGO_SERVER_SECRET"].strip()
    except ValueError:
        raise ConfigurationError("ZEGO_APP_ID must be a number: the AppId from the ZEGOCLOUD console") from None


def options(environ: Mapping[str, str], given: Collection[str]) -> dict[str, str]:
    """The options of a client that are set, except for those that the caller has `given`.

    A host that the caller gives rules out the environment's, whichever way either is named.
    """
    hidden = {*given, *HOSTS} if not HOSTS.isdisjoint(given) else {*given}
    found = {option: environ.get(name, "").strip() for option, name in OPTIONS.items() if option not in hidden}
    return {option: value for option, value in found.items() if value}


def with_variable(message: str, given: Collection[str]) -> str:
    """A message about an option, which names the variable that has set it unless the caller has `given` it."""
    option = message.partition(" ")[0]
    return message if option in given or option not in OPTIONS else f"{OPTIONS[option]}: {message}"
