"""Proposals: locking units for transfers and saying so, for the operator and for the gateway's requests.

Lock, row and stored message are one transaction (R12); a lock names its transfer (R14). One message carries
up to 1,000 transfers and 3,000 blocks; what exceeds that goes into the next one. A request of the gateway
keeps its id with the transfer, so that asking twice proposes once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from . import authorisations, batches, books, post, shapes, strictjson, transfers
from .authorisations import Name
from .batches import Written
from .clock import uuid7
from .database import Tx
from .envelope import Draft, Message
from .evidence import Item
from .outcomes import Outcome, finding
from .registry import Registry
from .signature import digest
from .transfers import SOURCE
from .units import Declined, Holding

#: How long the gateway may take to begin with a proposal.
PROPOSAL_TIME = timedelta(hours=24)

Authorisation = Mapping[str, Any]


@dataclass(frozen=True)
class Wish:
    """One transfer asked for: ``blocks`` name the units, otherwise ``quantity`` of any free ones go.

    ``unchecked``: whatever is there is proposed, out of any account, under no authorisation if need be.
    """

    party: str
    account: str
    acquiring: Mapping[str, str]
    purpose: str
    quantity: int
    blocks: Sequence[Mapping[str, Any]] = ()
    authorisation: Authorisation | None = None
    request: str | None = None
    unchecked: bool = False


async def propose(tx: Tx, registry: Registry, wishes: Sequence[Wish], *, each_alone: bool = False) -> list[str]:
    """Lock the units of all wishes and store the proposals; raises ``Declined`` for all or none.

    Gives the transfer ids in the order of the wishes.
    """
    ids = [f"{registry.code}-{uuid7()}" for _ in wishes]
    units = await _take(tx, wishes)
    held = [replace(unit, locked_by=i) for i, group in zip(ids, units, strict=True) for unit in group]
    await books.put(tx, held)
    entries = [("lock", i, w.party, w.account, w.quantity) for i, w in zip(ids, wishes, strict=True)]
    await books.write_journal(tx, entries)
    latest = await _latest(tx, held)
    rows, proposals = [], []
    for transfer, wish, group in zip(ids, wishes, units, strict=True):
        value = _item(registry, transfer, wish, group, latest)
        text = strictjson.dumps(value)
        names = ("transferring", "acquiring", "purpose", "quantity", "authorisation")
        rows.append((transfer, {name: value[name] for name in names}, digest(text)))
        proposals.append(Written(transfer, text, len(group)))
    await transfers.insert(tx, SOURCE, "locked", rows)
    await _keep_requests(tx, ids, wishes)
    for batch in [[p] for p in proposals] if each_alone else batches.batches(proposals):
        await say_proposals(tx, registry, {p.about: p.text for p in batch}, first_time=True)
    return ids


async def say_proposals(tx: Tx, registry: Registry, texts: Mapping[str, str], *, first_time: bool = False) -> None:
    """Store a message with these proposals, sent until there is a receipt or its time is over."""
    draft = Draft("transfer.propose", list(texts.values()), expires_in=PROPOSAL_TIME)
    message = await post.store(tx, registry, draft, owed=True)
    taken = [(transfer, "propose", text) for transfer, text in texts.items()]
    if first_time:
        await transfers.record(tx, SOURCE, message.id, taken)


async def request(tx: Tx, registry: Registry, message: Message) -> list[Outcome]:
    """Propose what the gateway's operators ask for; the same request again names the same transfer."""
    found = await tx.rows(
        "SELECT request::text AS request, transfer FROM transfer WHERE request = ANY(%s::uuid[])",
        [item.value["request"] for item in message.own],
    )
    known = {row["request"]: row["transfer"] for row in found}
    outcome = []
    for item in message.own:
        transfer = known.get(item.value["request"])
        if transfer is not None:
            outcome.append(Outcome(item, "recorded", transfer=transfer))
        else:
            outcome.append(await _follow(tx, registry, item))
    return outcome


async def _follow(tx: Tx, registry: Registry, item: Item) -> Outcome:
    value = item.value
    source = value["transferring"]
    wish = Wish(
        source["party"],
        source["account"],
        value["acquiring"],
        value["purpose"],
        value["quantity"],
        value.get("blocks", ()),
        request=value["request"],
    )
    try:
        if not registry.keeps(source):
            raise Declined(4001, "the units asked for are not of this registry")
        async with tx.connection.transaction():
            return Outcome(item, "recorded", transfer=(await propose(tx, registry, [wish]))[0])
    except Declined as error:
        return Outcome(item, "refused", [finding(error.code, error.detail)])


async def _take(tx: Tx, wishes: Sequence[Wish]) -> list[list[Holding]]:
    """Take the units of each wish, account by account and by quantity or by serials."""
    kinds: dict[tuple[str, str, bool], list[int]] = {}
    for index, wish in enumerate(wishes):
        named = sum(block["last"] - block["first"] + 1 for block in wish.blocks)
        if wish.blocks and named != wish.quantity:
            raise Declined(2009, "the quantity is not that of the blocks")
        kinds.setdefault((wish.party, wish.account, bool(wish.blocks)), []).append(index)
    checked = {(wish.party, wish.account) for wish in wishes if not wish.unchecked}
    await _check_accounts(tx, {(party, account) for party, account, _ in kinds}, checked)
    units: list[list[Holding]] = [[] for _ in wishes]
    # Particular serials first: a quantity takes any units and must not take those.
    for (party, account, by_serial), indices in sorted(kinds.items(), key=lambda kind: not kind[0][2]):
        if by_serial:
            groups = await books.take_ranges(tx, party, account, [wishes[i].blocks for i in indices])
        else:
            groups = await books.take_quantities(tx, party, account, [wishes[i].quantity for i in indices])
        for index, group in zip(indices, groups, strict=True):
            units[index] = group
    return units


async def _check_accounts(tx: Tx, accounts: set[tuple[str, str]], checked: set[tuple[str, str]]) -> None:
    is_open = await books.accounts_open(tx, accounts)
    for party, account in accounts:
        if (party, account) not in is_open:
            raise Declined(4011, f"no account {account} of {party}")
        if not is_open[party, account]:
            raise Declined(4013, f"account {account} of {party} is closed")
        if books.account_type(account) != 100 and (party, account) in checked:
            raise Declined(5122, f"units in account {account} cannot be transferred")


async def _latest(tx: Tx, units: Sequence[Holding]) -> dict[Name, int]:
    """Give the latest version known here of each authorisation that units not first transferred yet are under."""
    refs = [authorisations.ref_of(unit.attributes) for unit in units if not unit.first_transferred]
    return await authorisations.latest(tx, {ref[:2] for ref in refs if ref})


def _authorisation(unit: Holding, latest: Mapping[Name, int]) -> Authorisation | None:
    """Say what a unit moves under: until it is first transferred changes apply to it, afterwards they do not."""
    ref = authorisations.ref_of(unit.attributes)
    if ref is None:
        return None
    party, name, version = ref
    return {"id": name, "version": version if unit.first_transferred else latest.get((party, name), version)}


def _item(
    registry: Registry, transfer: str, wish: Wish, units: Sequence[Holding], latest: Mapping[Name, int]
) -> dict[str, Any]:
    if len(units) > shapes.MAX_BLOCKS:
        raise Declined(2005, "the transfer would have more than 3,000 blocks")
    under = [wish.authorisation or _authorisation(unit, latest) for unit in units]
    if not wish.unchecked and (not under[0] or any(one != under[0] for one in under)):
        raise Declined(5101, "the units are not under one authorisation")
    return {
        "kind": "propose",
        "transfer": transfer,
        **({"request": wish.request} if wish.request else {}),
        "transferring": {"registry": registry.books_of(wish.party), "party": wish.party, "account": wish.account},
        "acquiring": dict(wish.acquiring),
        "purpose": wish.purpose,
        "authorisation": under[0],
        "quantity": wish.quantity,
        "blocks": [unit.block() for unit in units],
    }


async def _keep_requests(tx: Tx, ids: Sequence[str], wishes: Sequence[Wish]) -> None:
    asked = [(i, wish.request) for i, wish in zip(ids, wishes, strict=True) if wish.request]
    for transfer, request_id in asked:
        await tx.execute(
            "UPDATE transfer SET request = %s WHERE role = 'source' AND transfer = %s", request_id, transfer
        )
