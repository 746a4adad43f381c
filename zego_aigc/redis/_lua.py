"""Lua that begins the scripts of limiter, quota and register. Times are in microseconds."""

from __future__ import annotations

__all__ = ["CLOCK", "SERVER"]

CLOCK = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
"""
"""The server's time, which is the only one that counts."""

SERVER = """
-- Which server this is. Another one than before may lack the newest entries: a replica that was promoted while it lagged, or
-- the same one after a restart. Where INFO is not allowed that is not noticed.
local about = redis.pcall('INFO', 'server')
local server = type(about) == 'string' and string.match(about, 'run_id:(%w+)') or ''
"""
"""Which server keeps the books."""
