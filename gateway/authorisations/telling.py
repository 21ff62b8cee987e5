"""Takes what registries tell that moves no unit: authorisations, revocations, statements of hosts, reversals.

Everything told of one authorisation is taken one after the other (its row is locked), in the order of the message.
"""

from collections.abc import Sequence
from dataclasses import replace

from gateway import db
from gateway.authorisations import granting, statements, store
from gateway.authorisations.store import Name
from gateway.domain.actions import AuthorisationTold, HostStatement, Reversal, Revocation
from gateway.domain.authorisations import Authorised, revocation, succession
from gateway.domain.check_codes import Finding
from gateway.domain.facts import Flag
from gateway.domain.telling import Told, terms_text
from gateway.holdings import actions, flags
from gateway.holdings.actions import Record
from gateway.messages.inbox import Inbound
from gateway.messages.receipts import ItemReceipt
from gateway.signing.envelope import Item

_NAMES = {
    AuthorisationTold: "authorisation",
    Revocation: "revocation",
    HostStatement: "statement",
    Reversal: "reversal",
}


async def take(tx: db.Tx, inbound: Inbound, told: Sequence[tuple[Item, Told]]) -> dict[str, ItemReceipt]:
    """Take these items; the receipt of each, by item."""
    if not told:
        return {}
    names = {name for _, value in told if (name := _name(value)) is not None}
    if names:
        await store.open_names(tx, names)
    known = await store.known(tx, names, alone=True)
    recorded = await actions.recorded(tx, [(value.registry, value.action) for _, value in told])
    receipts: dict[str, ItemReceipt] = {}
    kept: list[Record] = []
    for item, value in told:
        key = value.registry, value.action
        before = recorded.setdefault(key, item.text) if key not in recorded else recorded[key]
        repeated = before is not item.text
        if repeated:
            other = before != item.text
            found = [Finding(2004, detail="the action id was used for another notice")] if other else []
        else:
            found = await _take(tx, inbound, item, value, known)
            if not found:
                kept.append(Record(value.registry, value.action, _NAMES[type(value)], value.at, item.text, ()))
            else:
                del recorded[key]
        receipts[item.sha256] = ItemReceipt(item, "refused" if found else "recorded", tuple(found))
    if kept:
        await actions.record(tx, kept, inbound.entry_id)
    return receipts


def _name(value: Told) -> Name | None:
    if isinstance(value, AuthorisationTold):
        return value.terms.party, value.terms.id
    return (value.party, value.reference.id) if isinstance(value, Revocation) else None


async def _take(tx: db.Tx, inbound: Inbound, item: Item, value: Told, known: dict[Name, Authorised]) -> list[Finding]:
    if isinstance(value, AuthorisationTold):
        return await _authorise(tx, inbound, item, value, known)
    if isinstance(value, Revocation):
        return await _revoke(tx, inbound, value, known)
    if isinstance(value, HostStatement):
        await statements.keep(tx, [value], inbound.message.sender, inbound.entry_id)
    if isinstance(value, Reversal) and not value.resolved:
        await flags.raise_on_units(tx, Flag.REVERSAL, value.units, inbound.entry_id)
    if isinstance(value, Reversal) and value.resolved:
        await flags.lift_from_units(tx, Flag.REVERSAL, value.units, inbound.entry_id)
    return []


async def _authorise(
    tx: db.Tx, inbound: Inbound, item: Item, value: AuthorisationTold, known: dict[Name, Authorised]
) -> list[Finding]:
    """Keep a version, and let units have it that were issued without; one told before, by whomever, is known."""
    terms, name = value.terms, (value.terms.party, value.terms.id)
    before = known.get(name)
    again = before is not None and before.version(terms.version) == terms
    found = [] if again else succession(before, terms)
    if again and value.units and before is not None and before.revoked:
        found = [Finding(5103, (), "authorisation: it is revoked")]
    if found:
        return found
    if value.units and (wrong := await granting.grant(tx, value, inbound.entry_id)):
        return wrong
    if not again:
        told_by = inbound.message.sender
        await store.add_versions(tx, [(terms, terms_text(item.value))], told_by, inbound.entry_id)
        versions = before.versions if before is not None else ()
        known[name] = replace(before or Authorised((terms,)), versions=(*versions, terms))
    return []


async def _revoke(tx: db.Tx, inbound: Inbound, value: Revocation, known: dict[Name, Authorised]) -> list[Finding]:
    name = value.party, value.reference.id
    before = known.get(name)
    if found := revocation(before, value.reference.version):
        return found
    assert before is not None  # or there were findings
    await store.revoke(tx, name, value.reason, inbound.message.sender, value.at, inbound.entry_id)
    known[name] = replace(before, revoked=True)
    return []
