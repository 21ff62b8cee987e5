"""What a row of the matrix of who may do what says, and its rows about cases (``integration/test_matrix.py``)."""

from dataclasses import dataclass, field
from typing import Any

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


READ = ("transfers:read", EVERY_ROLE)
RUN = ("reconciliation:run", "operator")
INCONSISTENCY = {"source": "secretariat", "check_id": "II03", "party": "KOR", "units": [], "effect": False,
                 "detail": "x"}  # fmt: skip
NOTIFIED = {"version": 9, "note": "x"}

#: All of them are about a case of KOR01's book, the *counterparty*'s.
CASES = {
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
}  # fmt: skip

#: Reconciliations: one of MEC01 is planned.
_RUNS = ("books:read", EVERY_ROLE, "own all")
RECONCILIATIONS = {
    "POST /api/v1/reconciliations": Op(
        *RUN, "own all", body={"link": "MEC01", "announce_seconds": 0}, answers=(202,), command="reconcile"
    ),
    "GET /api/v1/reconciliations": Op(
        "books:read", EVERY_ROLE, shown="own all", what="{reconciliation}", command="reconciliations list"
    ),
    "GET /api/v1/reconciliations/{reconciliation}": Op(
        *_RUNS, shown="own all", what="{reconciliation}", command="reconciliations show"
    ),
    "GET /api/v1/reconciliations/{reconciliation}/report": Op(*_RUNS, shown="own all", what="{reconciliation}"),
}
