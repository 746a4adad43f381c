"""All that a sandbox consists of, apart from the server in front of it."""

from __future__ import annotations

from typing import Unpack

from zego_aigc.sandbox.account import Shared
from zego_aigc.sandbox.app import App
from zego_aigc.sandbox.callbacks import Outbox
from zego_aigc.sandbox.clock import Clock
from zego_aigc.sandbox.drives import SandboxDrive
from zego_aigc.sandbox.faults import Faults
from zego_aigc.sandbox.ids import Ids
from zego_aigc.sandbox.models import Models
from zego_aigc.sandbox.recording import Recording
from zego_aigc.sandbox.settings import Settings
from zego_aigc.transport.task_scope import TaskScope

__all__ = ["World"]


class World:
    """Clock, callbacks, accounts, faults and recording: what server, control API and tests work on.

    Args:
        history: how many calls are remembered, and how many callbacks.
        seed: of all randomness: faults, ids, nonces. None for ids that differ in every run.
        time: Unix seconds at which the clock stands, to be moved by ``clock.advance()`` alone; None for one that goes.
    """

    def __init__(self, *, history: int = 10_000, seed: int | None = None, time: float | None = None) -> None:
        self.scope: TaskScope = TaskScope("zego_aigc sandbox")
        """Where background tasks run."""
        self.ids: Ids = Ids(seed)
        self.clock: Clock = Clock(self._sent, start=time)
        """The sandbox's time: ``await sandbox.clock.advance(120)``."""
        self.outbox: Outbox = Outbox(self.clock, self.scope, self.ids, history)
        """The callbacks: ``sandbox.outbox.deliveries``."""
        self.models: Models = Models(self.clock, self.scope)
        """The calls of language models: ``sandbox.models.calls``."""
        self.apps: dict[int, App] = {}
        """The accounts by AppId, the first one first."""
        self.faults: Faults = Faults(seed or 0)
        """The faults that are in force."""
        self.recording: Recording = Recording(history)
        """Every request and its answer."""
        self.certificate: str = ""
        """The certificate in PEM, where it speaks TLS. It is self-made, so clients trust it only if they are given it."""
        self._ws_url = ""

    @property
    def app(self) -> App:
        """The first account."""
        return next(iter(self.apps.values()))

    @property
    def drives(self) -> dict[str, SandboxDrive]:
        """The drives of all apps by DriveId; ``sandbox.drives[drive_id].pcm`` is the audio that came over a WebSocket."""
        return {drive_id: drive for app in self.apps.values() for drive_id, drive in app.drives.items()}

    def add_app(self, app_id: int, server_secret: str, **settings: Unpack[Settings]) -> App:
        """Open another account, with limits and state of its own.

        Args:
            app_id: 1 to 4294967295.
            server_secret: what its calls are signed with.
            settings: see :class:`~zego_aigc.sandbox.Settings`.

        Raises:
            TypeError: for an unknown setting.
            ValueError: for an `app_id`, a quota or a limit out of range.
        """
        app = self.apps[app_id] = App(Shared(self.clock, self.outbox, self.models, self.ids), app_id, server_secret, **settings)
        app.ws_url = self._ws_url
        return app

    async def settled(self) -> None:
        """Wait until no callback is being sent or heard and no model is being asked, but not for retries that are due later."""
        await self._sent()
        await self.outbox.heard()

    async def _sent(self) -> None:
        # What hears of callbacks may itself wait for the clock, which waits for this.
        await self.models.settled()
        await self.outbox.settled()

    def set_ws_url(self, url: str) -> None:
        """Set the origin of WebSocket addresses."""
        self._ws_url = url
        for app in self.apps.values():
            app.ws_url = url
