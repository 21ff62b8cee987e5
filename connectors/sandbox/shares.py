"""The shares that are deducted at issuance where the operator says nothing else.

Of the mechanism: 2 % for overall mitigation (OMGE), 5 % as the share of proceeds for adaptation (SOP), from which
hosts that are least developed countries or small island developing States are exempt (CMA 6 decision on Article 6.4;
its text was not available, public summaries were). Other kinds of registry deduct nothing.
"""

from dataclasses import dataclass

#: Least developed countries: list of the UN Committee for Development Policy as of December 2024, 44 countries.
_LEAST_DEVELOPED = (
    "AFG AGO BDI BEN BFA BGD CAF COD COM DJI ERI ETH GIN GMB GNB HTI KHM KIR LAO LBR LSO MDG MLI MMR MOZ MRT "
    "MWI NER NPL RWA SDN SEN SLB SLE SOM SSD TCD TGO TLS TUV TZA UGA YEM ZMB"
)
#: Small island developing States: list of UN-OHRLLS, 37 members of the United Nations, Cook Islands and Niue.
_SMALL_ISLANDS = (
    "ATG BHS BLZ BRB COK COM CPV CUB DMA DOM FJI FSM GNB GRD GUY HTI JAM KIR KNA LCA MDV MHL MUS NIU NRU PLW "
    "PNG SGP SLB STP SUR SYC TLS TON TTO TUV VCT VUT WSM"
)
EXEMPT = frozenset(_LEAST_DEVELOPED.split()) | frozenset(_SMALL_ISLANDS.split())


@dataclass(frozen=True)
class Shares:
    """Percent of the gross quantity: cancelled for overall mitigation, of proceeds, and put into the buffer."""

    omge: int
    sop: int
    buffer: int = 0

    def of(self, gross: int) -> tuple[int, int, int]:
        """Give the three quantities, each rounded up; how the mechanism rounds is not known."""
        return -(-gross * self.omge // 100), -(-gross * self.sop // 100), -(-gross * self.buffer // 100)


def usual(kind: str, host: str) -> Shares:
    """Give what a kind of registry deducts from units of a host."""
    if kind != "mechanism":
        return Shares(0, 0)
    return Shares(omge=2, sop=0 if host in EXEMPT else 5)
