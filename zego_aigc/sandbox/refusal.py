"""How the sandbox says no: with a code of the vendor's."""

from __future__ import annotations

__all__ = ["Refusal"]


class Refusal(Exception):
    """A call is answered with a ``Code`` other than 0.

    Args:
        code: the vendor's code.
        message: what is wrong, for the answer's ``Message``; the code's name stands before it.
        status: the HTTP status. The vendor documents none for refused calls; the sandbox uses 200 by default.
    """

    def __init__(self, code: int, message: str = "", *, status: int = 200) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status
