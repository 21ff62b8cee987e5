"""When units are first transferred (2/CMA.3 annex paragraph 2; its text was not available, quotations were).

Authorised for NDC use: by the first international transfer towards an NDC. Authorised for other international
mitigation purposes alone: as the first transferring Party has defined it, by the authorisation, by the issuance, or
by use or cancellation, and never by moving. Once for every unit.
"""

from collections.abc import Mapping
from typing import Any

from .authorisations import Terms
from .registry import Registry
from .units import Holding

#: Purposes of an authorisation that leave NDC use out.
_NO_NDC = {"OIMP", "IMP", "OP"}
#: Definitions by which units have been first transferred once they are issued.
_BEFORE_MOVING = {"Authorisation", "Issuance"}


def by_issuance(terms: Terms) -> bool:
    """Say whether units under these terms are ITMOs as soon as they are issued."""
    return terms.get("purposes") in _NO_NDC and terms.get("first_transfer_definition") in _BEFORE_MOVING


def by_leaving(registry: Registry, transfer: Mapping[str, Any], unit: Holding) -> bool:
    """Say whether a unit that leaves by this transfer (its terms) is first transferred by it, here.

    Units of the registry services are first transferred by leaving them, wherever they go.
    """
    host = unit.attributes["first_transferring_party"]
    abroad = transfer["purpose"] == "NDC" and transfer["acquiring"]["party"] != host
    here = registry.names(host, transfer["transferring"]["party"])
    return here and not unit.first_transferred and (abroad or registry.kind == "services")
