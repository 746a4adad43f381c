"""Ids, nonces and tokens: random, or the same in every run for a seed."""

from __future__ import annotations

import random
import uuid

__all__ = ["Ids"]


class Ids:
    """Makes what must be unique.

    Args:
        seed: makes it repeatable; None for the system's randomness.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.SystemRandom() if seed is None else random.Random(f"ids {seed}")  # noqa: S311 - repeatable by design

    def uuid(self) -> str:
        """In the form of the vendor's task, drive and request ids."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def nonce(self) -> str:
        """16 hex digits."""
        return f"{self._random.getrandbits(64):016x}"

    def token(self) -> str:
        """For an address that only its receiver may know."""
        return f"{self._random.getrandbits(192):048x}"
