"""What an error of redis-py means: that Redis is gone for now, or that it is set up wrongly. Takes values and returns values.

A Redis that answers may still be of no use for a moment: a primary that was demoted, too few replicas, memory or disk full, a
long script of somebody else. All this passes, so callers wait as for a Redis that is gone, and updates are kept. Only what a
person has to mend is an error: a wrong password, rights that are missing, keys that hold something else, the wrong kind of
client. Redis up to version 6 wraps what a script met into "Error running script", so the code is looked for in there too.
"""

from __future__ import annotations

import re

__all__ = ["error_code", "set_up_problem"]

_BY_CLASS = {
    "AuthenticationError": "NOAUTH",
    "AuthenticationWrongNumberOfArgsError": "NOAUTH",
    "AuthorizationError": "NOAUTH",
    "NoPermissionError": "NOPERM",
    "MovedError": "MOVED",
    "ReadOnlyError": "READONLY",
    "OutOfMemoryError": "OOM",
    "MasterDownError": "MASTERDOWN",
    "ClusterDownError": "CLUSTERDOWN",
    "ClusterCrossSlotError": "CROSSSLOT",
    "TryAgainError": "TRYAGAIN",
    "BusyLoadingError": "LOADING",
}
"""Classes of redis-py that take the code off their message."""

_CODE = re.compile(r"(?:^|\s-|: )(NOAUTH|WRONGPASS|NOPERM|WRONGTYPE|MOVED|CROSSSLOT)\b")
_UNKNOWN_COMMAND = re.compile(r"unknown command|unknown subcommand", re.IGNORECASE)


def error_code(error: BaseException) -> str:
    """The code of an error that a person has to mend, such as ``NOPERM``; the class's name otherwise."""
    name = type(error).__name__
    if name in _BY_CLASS:
        return _BY_CLASS[name]
    text = str(error)
    if found := _CODE.search(text):
        return "NOAUTH" if found[1] == "WRONGPASS" else found[1]
    if "no permissions to" in text or "user executing the script can't" in text:  # in a script: without the code
        return "NOPERM"
    return "UNKNOWN_COMMAND" if _UNKNOWN_COMMAND.search(text) else name


def set_up_problem(error: BaseException, prefix: str) -> str | None:
    """What is wrong with the set-up, and what mends it; None where the error passes by itself.

    Args:
        error: of redis-py.
        prefix: what the keys begin with.
    """
    match error_code(error):
        case "NOAUTH":
            return (
                f"Redis refuses the user or the password ({error}): put the right ones into the URL, "
                "redis://user:password@host:6379/0, or into the client that you pass"
            )
        case "NOPERM":
            return (
                f"Redis knows the user, but its ACL does not allow what is needed ({error}): allow it the keys ~{prefix}:* and "
                f"~{{{prefix}:*, and the commands +eval +evalsha +time +info +@read +@write, with ACL SETUSER"
            )
        case "WRONGTYPE":
            return (
                f"a key that begins with {prefix!r} holds something else ({error}): another program uses it. Choose another "
                "prefix=... (the same in all processes), or another database"
            )
        case "MOVED" | "CROSSSLOT":
            return (
                f"this Redis is a node of a cluster ({error}): pass a redis.asyncio.RedisCluster instead of a URL or a "
                "redis.asyncio.Redis"
            )
        case "UNKNOWN_COMMAND":
            return f"this server does not do what is needed ({error}): use Redis 6.2 or newer, or Valkey, with EVAL enabled"
        case _:
            return None
