"""Signing, the public names, and what importing the library costs nobody."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

import zego_aigc
from zego_aigc import Signer

SECRET = "9193cc662a4c0ec135ec71fb57194b38"  # the vendor's printed example


def test_the_signature_is_the_vendors_printed_one() -> None:
    signer = Signer(12345, SECRET)
    assert signer.sign(nonce="4fd24687296dd9f3", timestamp=1615186943) == "43e5cfcca828314675f91b001390566a"


def test_the_query_holds_the_common_parameters_and_their_signature() -> None:
    query = Signer(12345, SECRET).query("QueryAgents", timestamp=1615186943, nonce="4fd24687296dd9f3")
    assert parse_qs(query, strict_parsing=True) == {
        "Action": ["QueryAgents"],
        "AppId": ["12345"],
        "SignatureNonce": ["4fd24687296dd9f3"],
        "Timestamp": ["1615186943"],
        "Signature": ["43e5cfcca828314675f91b001390566a"],
        "SignatureVersion": ["2.0"],
    }


def test_every_query_has_a_nonce_of_its_own_of_16_hex_digits() -> None:
    signer = Signer(12345, SECRET)
    nonces = {parse_qs(signer.query("QueryAgents", timestamp=1))["SignatureNonce"][0] for _ in range(1000)}
    assert len(nonces) == 1000
    assert all(len(nonce) == 16 and int(nonce, 16) >= 0 and nonce == nonce.lower() for nonce in nonces)


@pytest.mark.parametrize("app_id", [0, -1, 2**32, True, "12345", 1.5])
def test_a_signer_wants_an_app_id_of_32_bits(app_id: object) -> None:
    with pytest.raises(ValueError, match="app_id"):
        Signer(app_id, SECRET)  # type: ignore[arg-type]  # that is the point


def test_a_signer_wants_a_secret() -> None:
    with pytest.raises(ValueError, match="server_secret"):
        Signer(1, "")


HEX = "9193cc662a4c0ec135ec71fb57194b38"


@pytest.mark.parametrize(
    ("app_id", "secret", "message"),
    [
        ("12345", HEX, "app_id must be a number, not text: write 12345, or int(...) around what you read"),
        ("12345\n", HEX, "app_id must be a number, not text"),
        (HEX, 12345, "app_id and server_secret have changed places: the AppId, a number, comes first"),
        (HEX, "12345", "app_id and server_secret have changed places"),
        (12345, 67890, "server_secret must be text, not int"),
        (None, HEX, "app_id must be an integer from 1 to 4294967295: take the AppId from the ZEGOCLOUD console"),
        (12345, "", "server_secret is empty: take the ServerSecret, 32 letters and digits, from the ZEGOCLOUD console"),
        (12345, None, "server_secret must be text, not NoneType"),
        (12345, f"{HEX}\n", "server_secret begins or ends with a blank or a line break: call .strip()"),
        (12345, f"'{HEX}'", "server_secret holds a blank, a quotation mark or another character that none has"),
        (12345, "Server Secret", "server_secret holds a blank"),
        (12345, "säcret", "server_secret holds a blank, a quotation mark or another character"),
    ],
)
def test_credentials_that_cannot_be_are_refused_with_what_to_do(app_id: Any, secret: Any, message: str) -> None:
    for make in (Signer, zego_aigc.Client):
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            make(app_id, secret)
        assert HEX not in str(caught.value)


def test_a_signer_does_not_show_its_secret() -> None:
    assert SECRET not in repr(Signer(12345, SECRET))


def test_every_public_name_exists_and_is_listed() -> None:
    assert [name for name in zego_aigc.__all__ if not hasattr(zego_aigc, name)] == []
    assert set(zego_aigc.__all__) <= set(dir(zego_aigc))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"zego_aigc has no Clinet; did you mean Client\?"):
        _ = zego_aigc.Clinet  # type: ignore[attr-defined]  # what is tested
    assert not hasattr(zego_aigc, "Sandbox")


@pytest.mark.parametrize(
    ("name", "module"),
    {
        "RegisterAgent": "aiagent",
        "RTCConfig": "digitalhuman",
        "Sandbox": "sandbox",
        "CallbackRouter": "callbacks",
        "token04": "tokens",
        "Fleet": "provisioning",
        "RedisLimiter": "redis",
        "StreamTaskHandle": "handles",
    }.items(),
)
def test_a_name_that_stands_elsewhere_is_an_import_error_that_says_where(name: str, module: str) -> None:
    with pytest.raises(ImportError, match=f"^{name} is not in zego_aigc itself: from zego_aigc.{module} import {name}$"):
        exec(f"from zego_aigc import {name}")


@pytest.mark.parametrize(
    ("line", "message"),
    {
        "from zego_aigc import Clinet": "zego_aigc has no Clinet; did you mean Client?",
        "from zego_aigc.aiagent import RegisterAgnet": "zego_aigc.aiagent has no RegisterAgnet; did you mean RegisterAgent?",
        "from zego_aigc.sandbox import SandBox": "zego_aigc.sandbox has no SandBox; did you mean Sandbox?",
        "from zego_aigc.errors import RateLimit": "zego_aigc.errors has no RateLimit; did you mean RateLimited?",
        "from zego_aigc.aiagent import DriveByText": (
            "DriveByText is not in zego_aigc.aiagent: from zego_aigc.digitalhuman import DriveByText"
        ),
        "from zego_aigc.callbacks import Client": "Client is not in zego_aigc.callbacks: from zego_aigc import Client",
        "from zego_aigc.errors import JournalError": (
            "JournalError is not in zego_aigc.errors: from zego_aigc.provisioning import JournalError"
        ),
    }.items(),
)
def test_an_import_from_the_wrong_module_or_of_a_misspelt_name_says_what_was_meant(line: str, message: str) -> None:
    with pytest.raises(ImportError, match=f"^{re.escape(message)}$"):
        exec(line)


@pytest.mark.parametrize(
    "module", ["aiagent", "callbacks", "digitalhuman", "errors", "llm", "provisioning", "redis", "sandbox"]
)
def test_every_package_that_users_import_from_helps_with_names(module: str) -> None:
    with pytest.raises(ImportError, match=f"^zego_aigc.{module} has no Nothing$"):
        exec(f"from zego_aigc.{module} import Nothing")


def test_type_checkers_see_what_is_imported_late() -> None:
    block, _ = [node for node in ast.parse(Path(zego_aigc.__file__).read_text("utf-8")).body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == zego_aigc._LAZY
    assert seen.keys() <= set(zego_aigc.__all__)


@pytest.mark.parametrize(
    "code",
    [
        "import zego_aigc",
        "import zego_aigc.callbacks",
        "from zego_aigc.digitalhuman import DriveByText; from zego_aigc import Signer, Action, errors",
    ],
)
def test_what_opens_no_connection_loads_no_http_library(code: str) -> None:
    heavy = "{'aiohttp', 'anyio', 'asyncio', 'sqlite3', 'rich', 'yarl'} & set(sys.modules)"
    source = f"import sys; before = set(sys.modules); {code}; print({heavy} - before or '')"
    done = subprocess.run([sys.executable, "-c", source], check=False, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_a_client_loads_everything_before_the_first_call() -> None:
    code = """
import asyncio, sys
from zego_aigc.sandbox import Sandbox
from zego_aigc.digitalhuman import QueryDigitalHumanStreamTasks

async def main():
    async with Sandbox() as sandbox, sandbox.client() as client:
        before = set(sys.modules)
        await client.call(QueryDigitalHumanStreamTasks())
        print(sorted(name for name in set(sys.modules) - before if name.partition('.')[0] in {'aiohttp', 'anyio', 'zego_aigc'}))

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
