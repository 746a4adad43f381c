"""What needs an extra that is not installed says which."""

from __future__ import annotations

import subprocess
import sys

import pytest

TOKEN = "from zego_aigc.tokens import token04; token04(1, 'u', 's' * 32, ttl=60)"
REDIS = """
import asyncio
from zego_aigc.redis import RedisLimiter
asyncio.run(RedisLimiter('redis://127.0.0.1:1').acquire(1, 'A'))
"""


@pytest.mark.parametrize(
    ("package", "code", "extra"),
    [
        ("opentelemetry", "import zego_aigc.otel", "otel"),
        ("cryptography", TOKEN, "token"),
        ("redis", REDIS, "redis"),
        ("dotenv", "from zego_aigc import Client; Client.from_env(env_file='.env')", "dotenv"),
    ],
)
def test_a_package_that_is_absent_is_named_with_the_extra_that_brings_it(package: str, code: str, extra: str) -> None:
    without = f"import sys; sys.modules[{package!r}] = None\n{code}"
    done = subprocess.run([sys.executable, "-c", without], check=False, capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert f"pip install 'zego_aigc[{extra}]'" in last
