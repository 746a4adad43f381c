"""Login tokens, against answers of OpenSSL and against a reader written from the format's description."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import sys
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st

from zego_aigc.errors import ConfigurationError
from zego_aigc.tokens import MAX_TTL, room_payload, token04

SECRET = "fa94dd0f974cf2e293728a526b028271"


def read(token: str, secret: str = SECRET) -> tuple[int, bytes, dict[str, Any]]:
    assert token[:2] == "04"
    packed = base64.b64decode(token[2:], validate=True)
    expire, iv_size = struct.unpack_from("!qh", packed)
    iv = packed[10 : 10 + iv_size]
    (size,) = struct.unpack_from("!h", packed, 10 + iv_size)
    ciphertext = packed[12 + iv_size :]
    assert len(ciphertext) == size
    decryptor = Cipher(AES(secret.encode()), CBC(iv)).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    plain = unpadder.update(decryptor.update(ciphertext) + decryptor.finalize()) + unpadder.finalize()
    return expire, iv, json.loads(plain)


@pytest.mark.parametrize(
    ("arguments", "ttl", "token"),
    [
        (
            {"app_id": 1234567, "user_id": "demo", "nonce": 1804289383, "iv": "abcdefgh01234567"},
            3600,
            (
                "04AAAAAGlVxxAAEGFiY2RlZmdoMDEyMzQ1NjcAcERseC2EmbW68/sNHIihcv5Ky43yVNKXBf9E9K1jfnm+izyufrceI3q5IqxmZjoh1KQrGL9X7Vevd"
                "DPyabmmAgCyGF/3ngD0croo7LwppmKapUArYO7uLB5j8GoPPwAE8XCK1HfgJvJgRbVYIhT6BnQ="
            ),
        ),
        (
            {"app_id": 4294967295, "user_id": "用户_1", "nonce": 0, "iv": b"0123456789abcdef", "payload": "x"},
            1,
            (
                "04AAAAAGlVuQEAEDAxMjM0NTY3ODlhYmNkZWYAcD/Uc1rAq8Y+dZqAif7X31LfHlcXCTwAWm6kivaHiRcARyOlpaqBXLPFQGqQ4ks/HVwSTcx3nK9Xt"
                "+q4hf5IS52W9FEcvSWr/yvgdfSbNVNnVb4tzzVB1irkLspeRZ00pnj5fhErRpqMAggVBlQDMyk="
            ),
        ),
    ],
)
def test_a_token_is_what_openssl_makes_of_the_same_facts(arguments: dict[str, Any], ttl: int, token: str) -> None:
    assert token04(**arguments, server_secret=SECRET, ttl=ttl, now=1767225600.9) == token


@given(
    app_id=st.integers(1, 2**32 - 1),
    user_id=st.text(min_size=1, max_size=40),
    ttl=st.integers(1, MAX_TTL),
    payload=st.text(max_size=200),
    now=st.floats(0, 4e9),
    nonce=st.integers(0, 2**31 - 1),
    iv=st.binary(min_size=16, max_size=16),
)
def test_whatever_goes_in_can_be_read_again(
    app_id: int, user_id: str, ttl: int, payload: str, now: float, nonce: int, iv: bytes
) -> None:
    token = token04(app_id, user_id, SECRET, ttl=ttl, payload=payload, now=now, nonce=nonce, iv=iv)
    expire, read_iv, claims = read(token)
    assert (expire, read_iv) == (int(now) + ttl, iv)
    assert claims == {
        "app_id": app_id,
        "user_id": user_id,
        "nonce": nonce,
        "ctime": int(now),
        "expire": int(now) + ttl,
        "payload": payload,
    }


def test_time_nonce_and_iv_are_this_machines_unless_given() -> None:
    tokens = {token04(1, "u", SECRET, ttl=60) for _ in range(20)}
    assert len(tokens) == 20
    expire, iv, claims = read(tokens.pop())
    assert abs(expire - 60 - time.time()) < 5
    assert iv.isascii()
    assert 0 <= claims["nonce"] < 2**31


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"app_id": 0}, "app_id"),
        ({"app_id": 2**32}, "app_id"),
        ({"app_id": "1"}, "app_id"),
        ({"app_id": True}, "app_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "\ud800"}, "surrogate"),
        ({"server_secret": ""}, "32 characters, not of 0"),
        ({"server_secret": SECRET + "0"}, "32 characters, not of 33"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": -1}, "ttl"),
        ({"ttl": MAX_TTL + 1}, "ttl"),
        ({"ttl": 1.5}, "ttl"),
        ({"nonce": -1}, "nonce"),
        ({"nonce": 2**31}, "nonce"),
        ({"iv": b"short"}, "iv"),
        ({"payload": "x" * 40_000}, "too long"),
    ],
)
def test_what_cannot_work_is_refused_by_name_and_the_secret_is_not_shown(wrong: dict[str, Any], names: str) -> None:
    arguments: dict[str, Any] = {"app_id": 1, "user_id": "u", "server_secret": SECRET, "ttl": 60} | wrong
    with pytest.raises(ConfigurationError, match=names) as caught:
        token04(**arguments)
    assert SECRET not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_room_payload_says_what_is_allowed() -> None:
    assert json.loads(room_payload("r1", publish=False)) == {
        "room_id": "r1",
        "privilege": {"1": 1, "2": 0},
        "stream_id_list": None,
    }
    assert json.loads(room_payload("", stream_ids=["s1", "s2"]))["stream_id_list"] == ["s1", "s2"]


def test_without_the_extra_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from zego_aigc.errors import ConfigurationError\n"
        "from zego_aigc.tokens import token04\n"
        "try: token04(1, 'u', 'x' * 32, ttl=1)\n"
        "except ConfigurationError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'zego_aigc[token]'" in result.stdout
