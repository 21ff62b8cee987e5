"""Who takes part in a network of the fault tests, and which units each is given. All of it is synthetic.

Of the Parties one has a registry and a section (KOR), one a registry alone (CHE), the others a section alone; MEC01
keeps Myanmar's units and SRV01 Ghana's. Units that are used or cancelled lie in accounts from which nothing is ever
proposed: a unit that comes back from a proposal may be thought to be proposed a moment longer by the gateway.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.stage import AUTHORISATION


@dataclass(frozen=True)
class Member:
    """A registry: of which kind, whose (a Party's own), and whether it answers in the reply or by its own message."""

    kind: str
    party: str = ""
    answer: str = "reply"


#: Parties with a section in INT01, which is the registry THA99 and so on.
SECTIONS = ("MMR", "THA", "GHA", "KOR", "SWE")
#: Those that may take part, by code.
MEMBERS = {
    "MEC01": Member("mechanism"),
    "KOR01": Member("party", "KOR", "message"),
    "CHE01": Member("party", "CHE"),
    "SRV01": Member("services"),
    "INT01": Member("international", answer="message"),
    "JPN01": Member("party", "JPN"),
}
#: Those that do.
REGISTRIES = ("MEC01", "KOR01", "CHE01", "SRV01", "INT01")
#: Those that acquire units, and those that may propose to give them away.
ACQUIRERS, SOURCES = ("KOR01", "CHE01", "INT01"), ("MEC01", "KOR01", "SRV01", "INT01")
#: How each answers: in the reply, or by a message of its own.
USUAL = {code: MEMBERS[code].answer for code in REGISTRIES}
MIRRORED = {code: "message" if answer == "reply" else "reply" for code, answer in USUAL.items()}
#: Another way: over another wire than the link protocol, whose path this is; and a network in which two of five do.
OTHER_WIRE = "des"
MIXED = USUAL | {"CHE01": OTHER_WIRE, "INT01": OTHER_WIRE}

#: Accounts: what is proposed, what is used and cancelled, what is not authorised; and KOR01's that does not exist.
PROPOSED, OWN, UNAUTHORISED, NO_ACCOUNT = "100-1", "100-5", "100-2", "100-9"
STOCK = 100_000


def issuance(party: str, series: str, account: str = PROPOSED, net: int = STOCK, **changes: Any) -> dict[str, Any]:
    """An issuance of which so much is left."""
    wanted = {"activity": "PoA 10471", "party": party, "net": net, "vintage": 2021, "series": series}
    wanted |= {"account": account, "authorisation": AUTHORISATION}
    return wanted | changes


#: Which units come into being where.
ISSUES: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "MEC01": [issuance("MMR", "MMR-A64", net=10 * STOCK), issuance("MMR", "MMR-OWN", OWN)],
    "INT01": [issuance("THA", "THA-MO"), issuance("THA", "THA-OWN", OWN)],
    "SRV01": [issuance("GHA", "GHA-MO"), issuance("GHA", "GHA-RAW", UNAUTHORISED, authorisation=None)],
}
#: What KOR01, which issues nothing, has from MEC01 before a test begins: into which account how much.
KOREAN = {PROPOSED: STOCK, OWN: STOCK // 10}


def address(registry: str, account: str = PROPOSED) -> dict[str, str]:
    """An account of the Party whose registry, or section, it is."""
    return {"registry": registry, "party": "MMR" if registry == "MEC01" else registry[:3], "account": account}


def section(party: str) -> str:
    """The registry code of a Party's section."""
    return f"{party}99"
