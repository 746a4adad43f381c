"""Why a callback is refused.

::

    ZegoError
     +-- CallbackError
          +-- MalformedCallback   not the vendor's shape
          +-- BadSignature        not signed with the secret
          +-- StaleCallback       signed too long ago, or in the future
          +-- ReplayedCallback    its signature came before, with another body

Neither the secret nor the signature that was expected is in any of them.
"""

from __future__ import annotations

from zego_aigc.errors import ZegoError

__all__ = ["BadSignature", "CallbackError", "MalformedCallback", "ReplayedCallback", "StaleCallback"]


class CallbackError(ZegoError):
    """A callback that is not to be trusted."""


class MalformedCallback(CallbackError, ValueError):
    """The body is no JSON object, or lacks what the signature is made of."""


class BadSignature(CallbackError):
    """The signature was not made with this CallbackSecret."""


class StaleCallback(CallbackError):
    """The signature is right, but too old or from the future."""

    age: float
    """Seconds since it was signed, by this machine's clock; negative for a callback from the future."""


class ReplayedCallback(CallbackError):
    """A callback with this signature was taken before, with another body: the sender has seen one of yours and forges others.

    Take callbacks over HTTPS only, and rotate the CallbackSecret in the console.
    """
