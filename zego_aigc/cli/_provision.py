"""``zego-aigc provision``."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from uuid import uuid4

from zego_aigc.cli._environment import client_from_environment
from zego_aigc.cli._run import drive
from zego_aigc.errors import ConfigurationError
from zego_aigc.limits.local_quota import LocalQuota
from zego_aigc.provisioning.fleet import Fleet
from zego_aigc.provisioning.journal_file import Target
from zego_aigc.provisioning.run import Options, Provisioning

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Provision a fleet."""
    return asyncio.run(_provision(options))


async def _provision(options: argparse.Namespace) -> int:
    async with AsyncExitStack() as stack:
        client, sandbox = await _target(options, stack)
        budget = None if options.sandbox or options.quota is None else LocalQuota(options.quota, options.quota, options.quota)
        operation = Provisioning(
            client,
            Fleet(options.fleet),
            options.journal,
            Options(
                quota=budget,
                on_quota=options.on_quota,
                on_unknown=options.on_unknown,
                if_exists=options.if_exists,
                rollback=options.rollback,
                extend=options.extend,
                until=options.until,
                quota_wait=options.quota_wait,
            ),
            sandbox=sandbox,
        )
        return await drive(operation, options, title=f"Provisioning {options.fleet}", where=where(client, sandbox))


async def _target(options: argparse.Namespace, stack: AsyncExitStack) -> tuple[Client, str | None]:
    """The client, and the id of the sandbox that lives as long as this command."""
    if not options.sandbox:
        try:
            client = client_from_environment()
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}. To try it without an account, add --sandbox") from None
        return await stack.enter_async_context(client), None
    from zego_aigc.sandbox import Sandbox

    sandbox = await stack.enter_async_context(Sandbox(quota=10 if options.quota is None else options.quota))
    return await stack.enter_async_context(sandbox.client()), uuid4().hex


def where(client: Client, sandbox: str | None = None) -> str:
    """The target, in a few words."""
    if sandbox is not None:
        return "a sandbox inside this command"
    return str(Target.of(client))
