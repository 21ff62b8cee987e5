"""The one error type of the gateway, and the kinds it comes in.

Raised anywhere, turned into a problem document in exactly one place (``web/problems.py``) and into an exit
code in one other (``cli``). A finding of a check is a value (``domain.checks.Finding``), not an exception:
only what stops the work at hand is raised. No HTTP status stands on an error; the edge decides that.
Unknown exceptions are reported as ``internal`` and leak nothing.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Why the work stopped, in the words of whoever has to react."""

    MALFORMED = "malformed"
    UNSUPPORTED = "unsupported"
    UNAUTHENTICATED = "unauthenticated"
    UNTRUSTED = "untrusted"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    LIMIT = "limit"
    INVARIANT = "invariant"


class GatewayError(Exception):
    """Something stopped the work. ``code`` is a code of the check table where one applies."""

    def __init__(
        self, kind: Kind, detail: str, *, code: int | None = None, context: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.code = code
        self.context = dict(context or {})


def invariant(holds: bool, detail: str) -> None:
    """Raise an INVARIANT error unless ``holds``: a fault of this program, never of its input."""
    if not holds:
        raise GatewayError(Kind.INVARIANT, detail)
