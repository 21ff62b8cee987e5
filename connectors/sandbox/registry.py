"""What one registry process holds: who it is, whom it trusts, where its books are, how it answers.

One process is one *link*, which speaks and signs under ``code``. The international registry keeps a set of books,
a *section*, for each of its Parties: ``sections`` gives their registry codes, which addresses, notices and origins
name. Every other kind keeps its books under its own code.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from .cut_lies import CutLies
from .database import Database
from .faults import Faults
from .history_tricks import Tricks
from .keys import OwnKey, Trust
from .logs import Logs
from .units import Declined, section_of

#: Kinds of registry in which units are issued.
ISSUING = {"mechanism", "international", "services"}
#: Kinds that keep books of every Party: they track, and therefore name, the units of all of them.
OF_EVERYBODY = {"mechanism", "services"}
#: Kinds that keep a log of their own that anybody can verify.
KEEPS_LOG = {"mechanism"}


@dataclass
class Registry:
    """One registry. ``at_once``: answers with the substance; otherwise receipts first, own message later.

    ``wire`` is what it speaks with the gateway: "link" or "des".
    """

    code: str
    kind: str
    party: str
    gateway: str
    gateway_url: str
    at_once: bool
    trust: Trust
    database: Database
    logs: Logs
    #: Registry code of each section kept here → its Party.
    sections: Mapping[str, str] = field(default_factory=dict)
    #: Link code of the international registry, which speaks for all sections.
    international: str = "INT01"
    wire: str = "link"
    #: Whether nodes of a cut are told; where they are not, its positions are listed one by one.
    ranges: bool = True
    faults: Faults = field(default_factory=Faults)
    #: Synthetic history to be made at the start: of whose units, how many records.
    made: tuple[str, int] | None = None
    #: Tricks to be played on pages of history.
    tricks: Tricks = field(default_factory=Tricks)
    #: Lies to be told of cuts.
    cut_lies: CutLies = field(default_factory=CutLies)
    #: Feeds of which something is lacking here: whose, for whose books, whose Party. Whoever delivers names them again.
    lacking: set[tuple[str, str, str]] = field(default_factory=set)
    #: One rotation at a time.
    rotating: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def key(self) -> OwnKey:
        """The key this registry signs with."""
        return self.trust.own

    def books_of(self, party: str) -> str:
        """Give the registry code of the books of a Party kept here; raises ``Declined`` (4011) without a section."""
        code = section_of(party) if self.kind == "international" else self.code
        if self.kind == "international" and code not in self.sections:
            raise Declined(4011, f"there is no section of {party}")
        return code

    def has_book(self, code: str) -> bool:
        """Say whether the book of a registry code is kept here."""
        return code in self.sections if self.kind == "international" else code == self.code

    def keeps(self, address: Mapping[str, str]) -> bool:
        """Say whether an address is of books kept here: of a section and its own Party, or of this registry."""
        if self.kind == "international":
            return self.sections.get(address["registry"]) == address["party"]
        return address["registry"] == self.code

    def is_of(self, code: str, party: str) -> bool:
        """Say whether books of this code are kept here for this Party alone: its section, or its own registry."""
        if self.kind == "international":
            return self.sections.get(code) == party
        return self.kind == "party" and (code, party) == (self.code, self.party)

    def speaker(self, address: Mapping[str, str]) -> str:
        """Give the link code of who speaks, and signs, for the registry of an address."""
        is_section = address["registry"] == section_of(address["party"])
        return self.international if is_section else address["registry"]

    def names(self, host: str, transferring: str) -> bool:
        """Say whether units of ``host`` that leave the books of ``transferring`` get their identifiers here.

        The registry that tracks the first transferring Party gives them.
        """
        return self.kind in OF_EVERYBODY or host == transferring
