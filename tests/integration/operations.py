"""Every operation of the operator API: the scope it needs, whose people are let in, and to whom it shows what.

``test_matrix`` calls each in every role and with every scope. A route or a command needs one line here.
"""

from dataclasses import dataclass, field
from typing import Any

from gateway.domain.callers import Sight
from gateway.signing.keys import SoftwareKey
from tests.authorised import terms
from tests.played import NOWHERE

#: Whose people call.
BOUND = {"own": Sight("MEC01"), "counterparty": Sight("KOR01", "KOR"), "foreign": Sight("JPN01", "JPN"),
         "all": Sight(None)}  # fmt: skip
EVERY_ROLE = "viewer operator approver administrator auditor"
EVERYWHERE = "own counterparty foreign all"


@dataclass(frozen=True)
class Op:
    """An operation: the scope it needs and the roles that have it (no scope: it is for everyone, without a token).

    ``bound`` says whose people are let in, ``shown`` to whom of them the answer shows ``what``.
    """

    scope: str = ""
    roles: str = ""
    bound: str = EVERYWHERE
    shown: str | None = None
    what: str = "{transfer}"
    #: What is sent, and the statuses of those who are let in.
    body: dict[str, Any] | None = None
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    answers: tuple[int, ...] = (200,)
    #: Whether it is persons' alone: a machine that could otherwise do it is refused.
    people: bool = False
    #: Another scope that it may be called under, by whom, and whose people (as ``scope``, ``roles`` and ``bound``).
    also: tuple[str, str, str] | None = None
    #: The command that asks for it, if there is one.
    command: str = ""


ADDRESS = {"registry": "MEC01", "party": "MMR", "account": "100-1"}
WISH = {"transferring": ADDRESS, "acquiring": ADDRESS, "purpose": "NDC", "quantity": 1}
READ = ("transfers:read", EVERY_ROLE)
ACT = ("transfers:request", "operator")
ADMIN = ("access:admin", "administrator")
SIDES = "own counterparty all"
#: Who is to be added: a name and a key that nobody had, until somebody who may has added them.
NEW = {"name": "new", "registry": "MEC01", "keys": [SoftwareKey.generate().public_jwk()]}
PERSON = {"name": "one", "registry": "MEC01", "role": "viewer", "keys": [SoftwareKey.generate().public_jwk()]}
MORE = {"keys": [SoftwareKey.generate().public_jwk()]}
VOUCHING = {"keys": [SoftwareKey.generate().public_jwk()]}
LINK = {"code": "CHE01", "kind": "party", "url": NOWHERE, "parties": {"CHE01": "CHE"}, "keys": MORE["keys"]}
LINKS = ("links:admin", "administrator")
CHANGE = (*LINKS, "own all")
APPROVALS = ("approvals:read", EVERY_ROLE)
DECIDE = ("approvals:decide", "approver administrator", "own all")
AUDIT = ("audit:read", "auditor")
PROPOSALS, PROPOSED = "?type=transfer.propose", '"kind":"transfer.propose"'
HALT = ("gateway:halt", "administrator")
RUN = ("reconciliation:run", "operator")
INCONSISTENCY = {"source": "secretariat", "check_id": "II03", "party": "KOR", "units": [], "effect": False,
                 "detail": "x"}  # fmt: skip
NOTIFIED = {"version": 9, "note": "x"}
BOOKS = ("books:read", EVERY_ROLE)
VIEW = ("history:pull", "operator", "counterparty all")
VIEWED = "?source=MEC01&registry=KOR01"

TABLE = {
    "GET /healthz": Op(),
    "GET /readyz": Op(),
    "GET /openapi.json": Op(),
    "GET /api/v1/transfers": Op(*READ, shown=SIDES, command="transfers list"),
    "GET /api/v1/transfers/{transfer}": Op(*READ, SIDES, shown=SIDES, command="transfers show"),
    "GET /api/v1/transfers/{transfer}/evidence": Op(
        "audit:read", "auditor", SIDES, also=(*READ, "own counterparty"), answers=(200, 409), command="evidence get"
    ),
    "POST /api/v1/transfers": Op(
        *ACT, "own all", body=WISH, headers={"idempotency-key": "one"}, answers=(202,), command="transfers request"
    ),
    "POST /api/v1/transfers/{transfer}/end": Op(
        *ACT, "own all", body={"reason": "x"}, answers=(200, 409), command="transfers end"
    ),
    "POST /api/v1/transfers/{transfer}/resume": Op(
        *ACT, "own all", people=True, answers=(409,), command="transfers resume"
    ),
    "GET /api/v1/authorisations": Op(
        *READ, shown="counterparty all", what='"id":"authorisations-1"', command="authorisations list"
    ),
    "GET /api/v1/authorisations/{party}/{name:path}": Op(
        *READ, "counterparty all", shown="counterparty all", what='"id":"authorisations-1"',
        command="authorisations show",
    ),
    "GET /api/v1/statements": Op(
        *READ, shown="counterparty all", what='"activity":"statements-1"', command="authorisations statements"
    ),
    "POST /api/v1/authorisations": Op(
        *ACT, "counterparty all", people=True, body={"terms": terms(id="new", party="KOR")}, answers=(202,),
        command="authorisations tell",
    ),
    "POST /api/v1/authorisations/{party}/{name:path}/revoke": Op(
        *ACT, "counterparty all", people=True, body={"version": 1, "reason": "x"}, answers=(202,),
        command="authorisations revoke",
    ),
    "GET /api/v1/cases": Op(*READ, shown="counterparty all", what="{case}", command="cases list"),
    "GET /api/v1/cases/{case}": Op(
        *READ, "counterparty all", shown="counterparty all", what="{case}", command="cases show"
    ),
    "GET /api/v1/cases/{case}/findings": Op(*READ, "counterparty all", shown="counterparty all", what='"first":1'),
    "GET /api/v1/cases/{case}/trail": Op(*READ, "counterparty all", shown="all", what='"kind":"action.notice"'),
    "POST /api/v1/cases": Op(
        *RUN, "counterparty all", people=True, body=INCONSISTENCY, answers=(201,), command="cases open"
    ),
    "POST /api/v1/cases/{case}/notify": Op(
        *RUN, "counterparty all", people=True, body=NOTIFIED, answers=(409,), command="cases notify"
    ),
    "POST /api/v1/cases/{case}/respond": Op(
        *RUN, "counterparty all", people=True, body={"version": 9, "response": "x"}, answers=(409,),
        command="cases respond",
    ),
    "POST /api/v1/cases/{case}/corrected": Op(
        *RUN, "counterparty all", people=True, body={"version": 9, "submission": "x"}, answers=(409,),
        command="cases corrected",
    ),
    "POST /api/v1/cases/{case}/correct": Op(
        *RUN, "all", people=True, body={"version": 9, "reason": "x", "evidence": "x"}, answers=(409,),
        command="cases correct",
    ),
    "POST /api/v1/cases/{case}/close": Op(
        *RUN, "all", people=True, body={"version": 9, "reason": "x"}, answers=(409,), command="cases close"
    ),
    "GET /api/v1/alarms": Op(*READ, shown=SIDES, command="alarms"),
    "GET /api/v1/records": Op(*READ, shown="", command="records"),
    "GET /api/v1/links": Op("links:read", EVERY_ROLE, shown="own all", what='"code":"MEC01"', command="links list"),
    "POST /api/v1/links": Op(*LINKS, "all", body=LINK, answers=(201, 409), command="links add"),
    "GET /api/v1/links/{code}": Op("links:read", EVERY_ROLE, "own all", shown="own all", what='"code":"MEC01"'),
    "GET /api/v1/links/{code}/keys": Op("links:read", EVERY_ROLE, "own all", command="links keys list"),
    "PATCH /api/v1/links/{code}": Op(
        *LINKS, "all", people=True, body={"time_limit_hours": 48}, answers=(202,), command="links change"
    ),
    "POST /api/v1/links/{code}/test": Op(*LINKS, "all", people=True, answers=(409,), command="links test"),
    "POST /api/v1/links/{code}/suspend": Op(*CHANGE, people=True, answers=(202,), command="links suspend"),
    "POST /api/v1/links/{code}/reactivate": Op(*LINKS, "all", people=True, answers=(409,), command="links reactivate"),
    "POST /api/v1/links/{code}/close": Op(*CHANGE, people=True, answers=(202,), command="links close"),
    "POST /api/v1/links/{code}/keys": Op(
        *CHANGE, people=True, body=VOUCHING, answers=(202,), command="links keys add"
    ),
    "POST /api/v1/links/{code}/keys/{kid}/revoke": Op(
        *CHANGE, people=True, body={"reason": "superseded"}, answers=(404, 409), command="links keys revoke"
    ),
    "POST /api/v1/links/{code}/restored": Op(
        *CHANGE, people=True, body=VOUCHING | {"since": "2026-01-01T00:00:00Z"}, answers=(202,),
        command="links restored",
    ),
    "GET /api/v1/approvals": Op(*APPROVALS, shown="own all", what="{approval}", command="approvals list"),
    "GET /api/v1/approvals/{approval}": Op(
        *APPROVALS, "own all", shown="own all", what="{approval}", command="approvals show"
    ),
    "POST /api/v1/approvals/{approval}/approve": Op(
        *DECIDE, people=True, body={"sha256": "0" * 64}, answers=(409,), command="approvals approve"
    ),
    "POST /api/v1/approvals/{approval}/decline": Op(
        *DECIDE, people=True, body={"reason": "x"}, answers=(200, 409), command="approvals decline"
    ),
    "GET /api/v1/books": Op(
        "books:read", EVERY_ROLE, shown="own all", what='"registry":"MEC01"', command="books"
    ),
    "GET /api/v1/history": Op(*BOOKS, shown=SIDES, what='"number":1', command="history list"),
    "GET /api/v1/history/feeds": Op(*BOOKS, shown=SIDES, what='"registry":"KOR01"', command="history feeds"),
    "GET /api/v1/history/feeds/{source}/{registry}": Op(*BOOKS, SIDES),
    "POST /api/v1/history/feeds/{source}/{registry}/pull": Op(*VIEW, answers=(202,), command="history pull"),
    # Nobody listens where it is asked.
    "GET /api/v1/history/live/holdings": Op(*VIEW, query=VIEWED, answers=(503,), command="history holdings"),
    "GET /api/v1/history/live/records": Op(*VIEW, query=VIEWED, answers=(503,), command="history view"),
    "GET /api/v1/history/difference": Op(*VIEW, query=VIEWED, answers=(503,), command="history difference"),
    "GET /api/v1/actions": Op(*READ, shown="", command="actions"),
    "GET /api/v1/adjustments": Op("reports:read", EVERY_ROLE, shown="", what='"party"', command="adjustments"),
    "POST /api/v1/reconciliations": Op(
        *RUN, "own all", body={"link": "MEC01", "announce_seconds": 0}, answers=(202,), command="reconcile"
    ),
    "GET /api/v1/reconciliations": Op(
        *BOOKS, shown="own all", what="{reconciliation}", command="reconciliations list"
    ),
    "GET /api/v1/reconciliations/{reconciliation}": Op(
        *BOOKS, "own all", shown="own all", what="{reconciliation}", command="reconciliations show"
    ),
    "GET /api/v1/reconciliations/{reconciliation}/report": Op(
        *BOOKS, "own all", shown="own all", what="{reconciliation}"
    ),
    "GET /api/v1/strangers": Op("audit:read", "auditor", "all"),
    "GET /api/v1/keys": Op("links:read", EVERY_ROLE, command="keys list"),
    "GET /api/v1/messages/{message}/key": Op("audit:read", "auditor", "own all", command="keys which"),
    "GET /api/v1/audit/entries": Op(*AUDIT, shown=SIDES, what=PROPOSED, query=PROPOSALS, command="audit search"),
    "GET /api/v1/audit/export": Op(*AUDIT, shown=SIDES, what=PROPOSED, query=PROPOSALS, command="audit export"),
    "GET /api/v1/audit/provenance": Op(
        *AUDIT, SIDES, shown=SIDES, query="?unit={unit}", command="audit provenance"
    ),
    "GET /api/v1/audit/openapi.json": Op(),
    "POST /token": Op(answers=(400, 429), command="token"),
    "GET /jwks": Op(),
    "GET /.well-known/oauth-authorization-server": Op(),
    "GET /api/v1/clients": Op(*ADMIN, shown="own all", what='"name":"clients-1"', command="clients list"),
    "POST /api/v1/clients": Op(
        *ADMIN, "own all", body=NEW | {"scopes": ["books:read"]}, answers=(201, 409), command="clients add"
    ),
    "POST /api/v1/clients/{name}/keys": Op(
        *ADMIN, "own all", body=MORE, answers=(201, 409), command="clients keys add"
    ),
    "POST /api/v1/clients/{name}/keys/{kid}/revoke": Op(
        *ADMIN, "own all", answers=(409,), command="clients keys revoke"
    ),
    "POST /api/v1/clients/{name}/revoke": Op(*ADMIN, "own all", answers=(200, 409), command="clients revoke"),
    "GET /api/v1/people": Op(*ADMIN, shown="own all", what='"name":"people-1"', command="people list"),
    "POST /api/v1/people": Op(
        *ADMIN, "own all", people=True, body=PERSON, answers=(202,),
        command="people add",
    ),
    "POST /api/v1/people/{name}/keys": Op(
        *ADMIN, "own all", people=True, body=MORE, answers=(202, 409), command="people keys add"
    ),
    "POST /api/v1/people/{name}/keys/{kid}/revoke": Op(
        *ADMIN, "own all", answers=(409,), command="people keys revoke"
    ),
    "POST /api/v1/people/{name}/revoke": Op(*ADMIN, "own all", answers=(200, 409), command="people revoke"),
    "GET /api/v1/token-keys": Op(*ADMIN, "all", command="keys token list"),
    "POST /api/v1/token-keys/{kid}/revoke": Op(*ADMIN, "all", answers=(404,), command="keys token revoke"),
    # At last: nothing new is taken afterwards.
    "GET /api/v1/halt": Op(*READ),
    "POST /api/v1/halt": Op(*HALT, "all", body={"reason": "x"}, answers=(201, 409), command="halt"),
    "POST /api/v1/halt/lift": Op(*HALT, "all", people=True, answers=(202,)),
}  # fmt: skip
#: Commands that ask no API: what they work on is this machine's.
LOCAL = {
    *("demo", "serve", "worker", "migrate", "doctor", "checks", "nomenclature"),
    *("log verify", "log export", "log key", "history verify"),
    *("evidence verify", "evidence proof"),
    *("keys new", "keys show", "keys announce", "keys retire", "keys revoke"),
    *("keys log new", "keys log list", "keys log add", "keys log retire"),
    *("witnesses add", "witnesses remove", "witnesses watch", "witnesses list"),
}
