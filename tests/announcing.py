"""What registries announce of their own units, as values, and what the rules make of it. Synthetic data."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.authorisations import rulings
from gateway.authorisations.rulings import Drawn
from gateway.domain import identifiers as ids
from gateway.domain.actions import ActionType, Disposal, FirstTransferred, Issuance, OpeningPosition, Towards
from gateway.domain.authorisations import Authorised
from gateway.domain.facts import Held
from gateway.domain.identifiers import AccountType
from gateway.domain.levies import Rounding
from gateway.domain.units import Block
from gateway.holdings.announced import Announced, Moving, Ruling, announced
from gateway.signing.envelope import Item
from tests.proposing import MEC01

AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
MMR = ids.parse_party("MMR")


def announce(value: Moving) -> Announced:
    """A value as an item of a notice brings it; the item's text is not looked at."""
    return announced(Item("{}", value.action, {"kind": "action"}), value)


def drawn(*known: Authorised) -> Drawn:
    return Drawn({(a.current.party, a.current.id): a for a in known})


def ruled(
    value: Moving,
    there: Sequence[Sequence[Held]],
    known: Drawn,
    *,
    stated: Mapping[tuple[str, str], str] | None = None,
    rounding: Rounding | None = None,
) -> Ruling:
    """What the rules say of an item whose units lie in ``there``."""
    return rulings.rule(announce(value), there, drawn=known, stated=stated or {}, rounding=rounding)


def held(block: Block, **members: Any) -> list[Held]:
    """The units of a block in one piece: in Myanmar's holding account at MEC01, never moved."""
    return [Held(MEC01, MMR, AccountType.HOLDING, block, **members)]


def issued(*positions: tuple[Block, AccountType], action: str = "A-1") -> Issuance:
    placed = tuple(OpeningPosition(MEC01, MMR, ids.Account(kind, 1), block) for block, kind in positions)
    return Issuance(action, AT, MEC01, placed, synthetic=True)


def disposed(block: Block, purpose: Towards, party: ids.PartyCode = MMR, **members: Any) -> Disposal:
    """Use where the purpose has a type of account for it, cancellation where not."""
    used = {Towards.NDC: AccountType.USE_NDC, Towards.IMP: AccountType.USE_IMP}
    gone = {Towards.OP: AccountType.CANCELLATION_OP, Towards.OMGE: AccountType.CANCELLATION_OMGE}
    kind = ActionType.USE if purpose in used else ActionType.CANCELLATION
    to = (used | gone).get(purpose, AccountType.CANCELLATION_OTHER)
    place = {"registry": MEC01, "action": "A-1"} | members
    return Disposal(
        at=AT, type=kind, party=party, account=ids.Account(AccountType.HOLDING, 1), to_account=ids.Account(to, 1),
        blocks=(block,), purpose=purpose, **place,
    )  # fmt: skip


def first_transferred(block: Block, subtype: str, action: str = "A-1") -> FirstTransferred:
    return FirstTransferred(action, AT, MEC01, MMR, subtype, (block,))
