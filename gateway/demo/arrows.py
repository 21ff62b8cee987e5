"""The demo's story as data: every arrow between the systems, and what is refused.

Public are the quantities of the first A6.4ER issuance and of the completed Article 6.2 transfers (as known in August
2026), the vintages of TH014, MV002, PW001 and of the second E-Bus issuance, and the one authorisation that is named.
Synthetic are all serials, accounts, identifiers, cooperative approaches, other authorisations and vintages, how a
quantity is divided between two vintages or several transfers, and whatever says so.
"""

from typing import Any

from gateway.demo.members import section
from gateway.demo.plan import Arrow, Authorisation, Lot, Move

#: PoA 10471, Myanmar: 58,428 t issued, of which 2 %, rounded up, are cancelled for overall mitigation in global
#: emissions. Myanmar is a least developed country, so no share of proceeds is taken.
FIRST_ISSUANCE = Lot(
    "MEC01", "MEC01", "MMR", "MMR-A64", 2021, "PoA 10471", Authorisation("MMR-SYNTHETIC-2026-1"),
    gross=58_428, omge_percent=2,
)  # fmt: skip
RELAYED_TONNES = 57_259
TRANSFERS = 10

#: Kenya is neither a least developed country nor a small island: 5 % are the share of proceeds for adaptation.
KENYA = Lot(
    "MEC01", "MEC01", "KEN", "KEN-A64-SYNTHETIC", 2022, "synthetic activity", Authorisation("KEN-SYNTHETIC-1"),
    net=1_000, omge_percent=2, sop_percent=5,
)  # fmt: skip
#: A6.4ERs are of this cooperative approach, by a draft decision, as reported; unverified.
A64_APPROACH = "CA0001"


def _defined(definition: str) -> Lot:
    """Kenyan units for other purposes than the NDC alone, first transferred as ``definition`` says."""
    name = definition.split()[0].upper()
    given = Authorisation(f"KEN-SYNTHETIC-{name}", purposes="OIMP", definition=definition)
    return Lot(
        "MEC01", "MEC01", "KEN", f"KEN-{name}-SYNTHETIC", 2022, "synthetic activity", given,
        net=100, omge_percent=2, sop_percent=5,
    )  # fmt: skip


#: A lot under each definition of first transfer for other purposes than the NDC.
DEFINED = tuple(map(_defined, ("Authorisation", "Issuance", "Use or Cancellation")))
#: Of the last, so many tonnes are cancelled where they have come: that is their first transfer.
CANCELLED = 50
_CONTRIBUTION = Lot(
    "MEC01", "MEC01", "KEN", "KEN-CONTRIBUTION-SYNTHETIC", 2022, "synthetic activity", None,
    net=10, omge_percent=2, sop_percent=5,
)  # fmt: skip


def _outcomes(
    link: str, party: str, name: str, vintage: int, quantity: int, authorisation: str | None, approach: str,
    activity: str, **attributes: Any,
) -> Lot:  # fmt: skip
    """Mitigation outcomes issued as units: in the Party's section, or by the additional registry services."""
    origin = section(party) if link == "INT01" else link
    return Lot(
        link, origin, party, f"{party}-{name}-{vintage}", vintage, activity,
        Authorisation(authorisation) if authorisation else None, gross=quantity,
        attributes={"unit_type": "MO", "cooperative_approach": approach, **attributes},
    )  # fmt: skip


def _bus(vintage: int, quantity: int, name: str = "EBUS") -> Lot:
    bus = {"sector": "Transportation", "activity_type": "Transport"}
    return _outcomes(
        "INT01", "THA", name, vintage, quantity, "THA-CHE-SYNTHETIC-1", "CA9001", "Bangkok E-Bus Programme", **bus
    )


def _credits(
    party: str, projects: str, vintage: int, quantity: int, approach: str, authorisation: str | None = None
) -> Lot:
    """Outcomes of projects of the Joint Crediting Mechanism, whose credits underlie the units."""
    name = projects.split()[0]
    stem = f"{name}-{vintage}-SYNTHETIC"
    underlying = {"registry": "JCM", "first": f"{stem}-1", "last": f"{stem}-{quantity}"}
    return _outcomes(
        "INT01", party, name, vintage, quantity, authorisation or f"JCM-{party}-SYNTHETIC-1", approach, projects,
        sector="Energy generation", activity_type="Solar", underlying=underlying,
    )  # fmt: skip


_FIRST_BUSES = _bus(2022, 1_916)
_LATER_BUSES = ((_bus(2023, 24_717), 24_717), (_bus(2024, 25_000), 25_000))
_SPARE_BUSES = _bus(2024, 10, "EBUS-SYNTHETIC")
_COOKSTOVES = _outcomes(
    "SRV01", "GHA", "COOKSTOVES", 2023, 11_733, "GHA-CHE-SYNTHETIC-1", "CA9002",
    "Transformative Cookstove Activity in Rural Ghana", sector="Energy generation",
    activity_type="Energy Efficiency households",
)  # fmt: skip
_UNAUTHORISED = _outcomes(
    "SRV01", "GHA", "UNAUTHORISED-SYNTHETIC", 2023, 10, None, "CA9002", "synthetic activity",
    sector="Energy generation", activity_type="Energy Efficiency households",
)  # fmt: skip
_THAILAND = _credits("THA", "TH014", 2021, 1_009, "CA9003", "JCM-TH-JP-2018-3026-01401")
_MALDIVES = tuple((_credits("MDV", "MV002", year, n, "CA9004"), n) for year, n in ((2021, 200), (2022, 233)))
_PALAU = _credits("PLW", "PW001 to PW004", 2021, 194, "CA9005")
_MONGOLIA = _credits("MNG", "MN003 MN004 MN006 MN007", 2022, 86_564, "CA9006")


def _first_transfers() -> tuple[Move, ...]:
    share = -(-RELAYED_TONNES // TRANSFERS)
    quantities = [min(share, RELAYED_TONNES - begun) for begun in range(0, RELAYED_TONNES, share)]
    return tuple(
        Move(Arrow.MECHANISM_TO_PARTY, "MEC01", "MEC01", "MMR", "KOR01", "KOR", ((FIRST_ISSUANCE, quantity),))
        for quantity in quantities
    )


def _from_section(party: str, to: str, *parts: tuple[Lot, int]) -> Move:
    return Move(Arrow.SECTION_TO_PARTY, "INT01", section(party), party, to, to[:3], parts)


_UNAUTHORISED_MOVE = Move(
    Arrow.UNAUTHORISED, "SRV01", "SRV01", "GHA", "GHA99", "GHA", ((_UNAUTHORISED, 10),), "IMP", 5133,
    claimed=Authorisation("GHA-SYNTHETIC-NOT-GIVEN"),
)  # fmt: skip

#: Units that nobody authorised stay in the mechanism registry, whatever its proposal says.
_CONTRIBUTION_MOVE = Move(
    Arrow.CONTRIBUTION, "MEC01", "MEC01", "KEN", "JPN01", "JPN", ((_CONTRIBUTION, 10),), code=5101,
    claimed=Authorisation("KEN-SYNTHETIC-NOT-GIVEN"),
)  # fmt: skip

#: The first issuance goes to Korea.
FIRST = _first_transfers()
#: What begins where it was issued.
THEN = (
    Move(Arrow.MECHANISM_TO_SECTION, "MEC01", "MEC01", "KEN", "SWE99", "SWE", ((KENYA, 1_000),)),
    _from_section("THA", "CHE01", (_FIRST_BUSES, 1_916)),
    _from_section("THA", "CHE01", *_LATER_BUSES),
    _from_section("THA", "JPN01", (_THAILAND, 1_009)),
    _from_section("MDV", "JPN01", *_MALDIVES),
    _from_section("PLW", "JPN01", (_PALAU, 194)),
    _from_section("MNG", "JPN01", (_MONGOLIA, 86_564)),
    Move(Arrow.SERVICES_TO_SECTION, "SRV01", "SRV01", "GHA", "GHA99", "GHA", ((_COOKSTOVES, 11_733),), "IMP"),
    Move(Arrow.SECTION_TO_SECTION, "INT01", "THA99", "THA", "GHA99", "GHA", ((_SPARE_BUSES, 10),), code=4017),
    _UNAUTHORISED_MOVE,
    *(
        Move(Arrow.MECHANISM_TO_PARTY, "MEC01", "MEC01", "KEN", "JPN01", "JPN", ((lot, lot.net or 0),), "OP")
        for lot in DEFINED
    ),
    _CONTRIBUTION_MOVE,
)
#: What moves on from where that has brought it.
AT_LAST = (
    _from_section("GHA", "CHE01", (_COOKSTOVES, 11_733)),
    Move(Arrow.PARTY_TO_SECTION, "CHE01", "CHE01", "CHE", "SWE99", "SWE", ((_FIRST_BUSES, 100),)),
    Move(Arrow.PARTY_TO_PARTY, "KOR01", "KOR01", "KOR", "JPN01", "JPN", ((FIRST_ISSUANCE, 500),)),
    Move(Arrow.BACK_INTO_MECHANISM, "KOR01", "KOR01", "KOR", "MEC01", "MMR", ((FIRST_ISSUANCE, 10),), code=5150),
)
EVERY = (*FIRST, *THEN, *AT_LAST)
#: Tonnes that arrive, each time they do.
TONNES = sum(move.quantity for move in EVERY if move.code is None)
