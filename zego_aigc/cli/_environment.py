"""The account that the command line calls, and the way there."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import urlsplit

from zego_aigc.environment import read_env_file
from zego_aigc.errors import ConfigurationError

if TYPE_CHECKING:
    from zego_aigc.calls.client_options import ClientOptions
    from zego_aigc.client import Client

__all__ = ["client_from_options", "credentials", "load_env_file", "quota_from_options"]


def load_env_file(path: str) -> None:
    """Set the variables of a ``.env`` file that are not set yet.

    Raises:
        ConfigurationError: it cannot be read, or the extra ``cli`` is not installed.
    """
    for name, value in read_env_file(path, option="--env-file", extra="cli").items():
        os.environ.setdefault(name, value)


@asynccontextmanager
async def client_from_options(options: argparse.Namespace, **more: Unpack[ClientOptions]) -> AsyncGenerator[Client]:
    """A client for the account in the environment, with its limiter in one process or in Redis.

    Raises:
        ConfigurationError: naming the variables that are missing or malformed.
    """
    from zego_aigc.client import Client

    # What the library logs, the command line says in its own words.
    logging.getLogger("zego_aigc").addHandler(logging.NullHandler())
    async with AsyncExitStack() as stack:
        if (url := _redis(options)) is not None:
            from zego_aigc.redis import RedisLimiter

            try:
                limiter = RedisLimiter(url, **({} if options.rate is None else {"limit": options.rate}))
            except ValueError as error:
                raise ConfigurationError(f"--redis {urlsplit(url).hostname or url}: {error}") from None
            more["limiter"] = await stack.enter_async_context(limiter)
        elif options.rate is not None:
            from zego_aigc.limits.local_limiter import LocalLimiter

            more["limiter"] = LocalLimiter(options.rate)
        more["proxy"] = _proxy(options)
        client = Client.from_env(**more)
        yield await stack.enter_async_context(client)


@asynccontextmanager
async def quota_from_options(options: argparse.Namespace) -> AsyncGenerator[Any]:
    """Places for live instances, if ``--quota`` says how many there are; counted in Redis where that is used."""
    if options.quota is None:
        yield None
    elif (url := _redis(options)) is not None:
        from zego_aigc.redis import RedisQuota

        app_id, _ = credentials() or (0, "")
        async with RedisQuota(
            url, app_id=app_id, agents=options.quota, digital_humans=options.quota, streams=options.quota
        ) as quota:
            yield quota
    else:
        from zego_aigc.limits.local_quota import LocalQuota

        yield LocalQuota(options.quota, options.quota, options.quota)


def _redis(options: argparse.Namespace) -> str | None:
    return options.redis or os.environ.get("ZEGO_REDIS_URL", "").strip() or None


def _proxy(options: argparse.Namespace) -> str | None:
    """The proxy to go through."""
    proxy: str = options.proxy or os.environ.get("ZEGO_PROXY", "").strip()
    if proxy == "env":
        proxy = _usual_proxy()
    return proxy or None


def _usual_proxy() -> str:
    """What the usual variables say of the services' host; nothing where they leave it out."""
    from urllib.request import getproxies, proxy_bypass

    target = urlsplit(os.environ.get("ZEGO_AIAGENT_URL", "").strip() or "https://aigc-aiagent-api.zegotech.cn")
    proxies = getproxies()
    if proxy_bypass(target.netloc):
        return ""
    return proxies.get(target.scheme, proxies.get("all", ""))


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
