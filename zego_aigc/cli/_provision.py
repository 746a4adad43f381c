"""``zego-aigc provision``."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from uuid import uuid4

from zego_aigc.cli._environment import client_from_options, quota_from_options
from zego_aigc.cli._fleet import open_fleet
from zego_aigc.cli._run import drive
from zego_aigc.errors import ConfigurationError
from zego_aigc.provisioning.fleet import Fleet
from zego_aigc.provisioning.journal_file import Target
from zego_aigc.provisioning.options import Options
from zego_aigc.provisioning.run import Provisioning

if TYPE_CHECKING:
    from zego_aigc.client import Client
    from zego_aigc.limits.quota import Quota

__all__ = ["run", "where"]


def run(options: argparse.Namespace) -> int:
    """Provision a fleet."""
    with open_fleet(options.fleet) as fleet:
        return asyncio.run(_provision(options, fleet))


async def _provision(options: argparse.Namespace, fleet: Fleet) -> int:
    async with AsyncExitStack() as stack:
        client, quota, sandbox = await _target(options, stack)
        operation = Provisioning(
            client,
            fleet,
            options.journal,
            Options(
                quota=quota,
                on_quota=options.on_quota,
                on_unknown=options.on_unknown,
                if_exists=options.if_exists,
                rollback=options.rollback,
                extend=options.extend,
                until=options.until,
                quota_wait=options.quota_wait,
                refresh=options.refresh,
                update=options.update,
                prune=options.prune,
            ),
            sandbox=sandbox,
        )
        return await drive(operation, options, title=f"Provisioning {fleet}", where=where(client, sandbox))


async def _target(options: argparse.Namespace, stack: AsyncExitStack) -> tuple[Client, Quota | None, str | None]:
    """The client, its places, and the id of the sandbox that lives as long as this command."""
    if not options.sandbox:
        try:
            client = await stack.enter_async_context(client_from_options(options))
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{error}; or add --sandbox, for one that lives as long as this command, with a journal for the trial alone"
            ) from None
        return client, await stack.enter_async_context(quota_from_options(options)), None
    from zego_aigc.limits.local_quota import LocalQuota
    from zego_aigc.sandbox import Sandbox

    limit: int | None = options.quota
    quota = None if limit is None else LocalQuota(limit, limit, limit)  # as for an account: a trial goes as the real run does
    sandbox = await stack.enter_async_context(Sandbox(quota=10 if limit is None else limit))
    return await stack.enter_async_context(sandbox.client()), quota, uuid4().hex


def where(client: Client, sandbox: str | None = None) -> str:
    """The target, in a few words."""
    if sandbox is not None:
        return "a sandbox inside this command"
    return str(Target.of(client))
