"""Fixtures for suites of applications: ``zego_sandbox`` and ``zego_client``."""

from __future__ import annotations

__all__: list[str] = []
