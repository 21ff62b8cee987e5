"""Who takes part in the demo: each registry's code, kind and Party, and the books behind its link.

Registry codes are those of the figure's systems; that a section is written ``PPP99`` is a synthetic convention.
"""

from dataclasses import dataclass

from gateway.domain.parties import PARTIES

GATEWAY = "GWY01"


@dataclass(frozen=True, slots=True)
class Member:
    """A system of the demo: its link code, kind, Party or Parties, and how it answers the gateway."""

    code: str
    kind: str
    party: str = ""
    #: The Parties that have a section here: the international registry only.
    sections: tuple[str, ...] = ()
    answer: str = "reply"

    @property
    def keeps_log(self) -> bool:
        """Whether the registry keeps a transparency log of its own: the mechanism registry does."""
        return self.kind == "mechanism"

    @property
    def registries(self) -> dict[str, str | None]:
        """The books behind the link, each with its Party; the mechanism registry keeps those of every Party."""
        if self.sections:
            return {section(party): party for party in self.sections}
        return {self.code: self.party or None}


def section(party: str) -> str:
    """The code of a Party's section of the international registry."""
    return f"{party}99"


#: Korea's registry first receipts, then sends its own message; the others answer in the response.
_WITH_OWN_REGISTRY = (
    Member("KOR01", "party", "KOR", answer="message"),
    Member("CHE01", "party", "CHE"),
    Member("JPN01", "party", "JPN"),
)
_MECHANISM = Member("MEC01", "mechanism")
#: Korea has its own registry and has its actions recorded in the international registry all the same.
_SECTIONS = tuple(sorted(PARTIES - {member.party for member in _WITH_OWN_REGISTRY} | {"KOR"}))

#: Every system of the figure.
EVERYONE = (
    _MECHANISM, Member("INT01", "international", sections=_SECTIONS), *_WITH_OWN_REGISTRY, Member("SRV01", "services"),
)  # fmt: skip
#: Those between whom real blocks move.
FOR_BLOCKS = (_MECHANISM, *_WITH_OWN_REGISTRY)
