"""Who calls, what they may do, and what of all that is here they may see.

A caller is a person or a machine, bound to one code: a registry (a section is one), the link of a system, or none,
which means all: the gateway's own administrators and appointed auditors. What a caller may do is a set of scopes; a
person's role is a name for one. ``Sight`` is what every query of a store takes and filters by, in SQL. A refusal
(8001) is the same whether the thing does not exist or may not be seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from gateway.errors import GatewayError, Kind


class Scope(StrEnum):
    """One thing a caller may do."""

    TRANSFERS_READ = "transfers:read"
    """See transfers, actions, records of these and alarms that concern the caller's registry."""
    TRANSFERS_REQUEST = "transfers:request"
    """Ask for a transfer out of the caller's registry, end one before its commit, ask that one is resumed; ask that an
    authorisation of the registry's Party is told or revoked.
    """
    BOOKS_READ = "books:read"
    """See what the book holds for the caller's registry, and the history that was pulled for it."""
    HISTORY_PULL = "history:pull"
    """Have the history of the caller's registry pulled, and view it at its source."""
    LINKS_READ = "links:read"
    """See the caller's link: its state, capabilities, limits and keys."""
    LINKS_ADMIN = "links:admin"
    """Ask for changes of the caller's link and of its keys; others decide on them."""
    ACCESS_ADMIN = "access:admin"
    """Add and revoke clients of the caller's registry, revoke its people, and ask that some are added; persons only."""
    APPROVALS_READ = "approvals:read"
    """See what waits for a decision, and what was decided."""
    APPROVALS_DECIDE = "approvals:decide"
    """Decide on what another person has asked for."""
    GATEWAY_HALT = "gateway:halt"
    """Stop the taking of proposals; callers bound to all only."""
    AUDIT_READ = "audit:read"
    """Search the log."""
    RECONCILIATION_RUN = "reconciliation:run"
    """Run a reconciliation of the caller's registry."""
    REPORTS_READ = "reports:read"
    """Read reports of the caller's registry."""


class Role(StrEnum):
    """What a person is to their registry."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMINISTRATOR = "administrator"
    AUDITOR = "auditor"


_VIEWER = frozenset(
    {Scope.TRANSFERS_READ, Scope.BOOKS_READ, Scope.LINKS_READ, Scope.APPROVALS_READ, Scope.REPORTS_READ}
)
#: Role → what it may do.
ROLES: Mapping[Role, frozenset[Scope]] = MappingProxyType(
    {
        Role.VIEWER: _VIEWER,
        Role.OPERATOR: _VIEWER | {Scope.TRANSFERS_REQUEST, Scope.HISTORY_PULL, Scope.RECONCILIATION_RUN},
        Role.APPROVER: _VIEWER | {Scope.APPROVALS_DECIDE},
        Role.ADMINISTRATOR: _VIEWER
        | {Scope.LINKS_ADMIN, Scope.ACCESS_ADMIN, Scope.APPROVALS_DECIDE, Scope.GATEWAY_HALT},
        Role.AUDITOR: _VIEWER | {Scope.AUDIT_READ},
    }
)


@dataclass(frozen=True, slots=True)
class Sight:
    """What of the stored things is seen: what concerns ``code`` (a registry or a link), or everything.

    ``party`` is the Party whose registry that is, where it is one Party's: it sees what became of units it has first
    transferred.
    """

    code: str | None
    party: str | None = None

    @property
    def parameters(self) -> dict[str, str | None]:
        """For the statements of a store: ``:sight`` (null: everything) and ``:sight_party``."""
        return {"sight": self.code, "sight_party": self.party}

    def why(self, waiting: str | None) -> str | None:
        """Why something waits, as it is told here.

        What follows the first colon is what a peer, the way to it or this program itself has said: it is for the people
        of the peer that is named before it, and for who sees everything.
        """
        said = (waiting or "").partition(": ")[0]
        return waiting if self.code is None or self.code in said.split() else said or None

    def absent(self, detail: str, code: int) -> GatewayError:
        """The refusal of what was not found: what is true (NOT_FOUND), to whom everything would be shown."""
        return GatewayError(Kind.NOT_FOUND, detail, code=code) if self.code is None else hidden()


#: Of the relay itself, of commands on the database, and of callers bound to all.
EVERYTHING = Sight(None)


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was authenticated. ``id`` is a pseudonym, the one the log names them by.

    ``at_hand``: whoever has the database's password, and with it everything there is; as nobody in particular, or in
    the name of a person, of whom nothing else was seen.
    """

    id: str
    person: bool
    sight: Sight
    scopes: frozenset[Scope]
    at_hand: bool = False

    @property
    def named(self) -> dict[str, Any]:
        """Who that is, for an entry of the log; of one who was only at hand it says so."""
        return {"person": self.id, **self.marks}

    @property
    def marks(self) -> dict[str, bool]:
        """What such an entry says beside the name."""
        return {"at_hand": True} if self.at_hand else {}

    def require(self, scope: Scope) -> None:
        """Raise FORBIDDEN (8001) unless this caller may do this."""
        if scope not in self.scopes:
            raise GatewayError(Kind.FORBIDDEN, f"this needs the scope {scope}", code=8001)

    def require_all(self) -> None:
        """Raise FORBIDDEN (8001) unless this caller is bound to all: what concerns the gateway as a whole."""
        if self.sight.code is not None:
            raise GatewayError(Kind.FORBIDDEN, "only the gateway's own administrators may do this", code=8001)

    def require_for(self, *codes: str | None) -> None:
        """Raise FORBIDDEN (8001) unless this caller is bound to one of these, or to all."""
        if self.sight.code is not None and self.sight.code not in codes:
            raise hidden()


def hidden() -> GatewayError:
    """The refusal of what is not there or may not be seen: it does not say which."""
    return GatewayError(Kind.FORBIDDEN, "there is nothing here that you may see or act on", code=8001)
