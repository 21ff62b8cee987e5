"""Whether an offer is accepted: decided by the account, the units and a small policy, never by a person.

The policy is a setting of the registry: ``decide`` (false: offers wait until their time is over),
``refuse_parties`` (first transferring Parties whose units are refused, 5904) and, for a source,
``refuse_release`` (acquiring Parties to which nothing is released any more, 5904).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from . import books, clock, outcomes, strictjson, transfers
from .books import plain
from .database import Tx
from .evidence import Item
from .outcomes import Finding, Statement, finding
from .registry import Registry
from .signature import digest
from .transfers import ACQUIRER

#: Unit types an account of type 100 may hold here.
UNIT_TYPES = {"A6.4ER", "MO"}
#: Offers decided in one transaction.
DECIDE_ROWS = 1000

_POLICY: dict[str, Any] = {"decide": True, "refuse_parties": [], "refuse_release": []}


@dataclass(frozen=True)
class Answer:
    """The text of an answer and the state it leads to."""

    state: str
    text: str


async def policy(tx: Tx) -> dict[str, Any]:
    """Give the policy in force."""
    row = await tx.one("SELECT value FROM setting WHERE name = 'policy'")
    return {**_POLICY, **(row["value"] if row else {})}


async def set_policy(tx: Tx, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Change the policy; gives the one then in force."""
    changed = {**await policy(tx), **changes}
    await tx.execute(
        "INSERT INTO setting (name, value) VALUES ('policy', %s::jsonb)"
        " ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value",
        plain(changed),
    )
    tx.wakes_duties = True
    return changed


async def deciding(tx: Tx) -> bool:
    """Say whether offers are decided as they come."""
    return bool((await policy(tx))["decide"])


def terms_of(proposal: Item) -> dict[str, Any]:
    """Give what the row of a transfer remembers of its proposal."""
    names = ("transferring", "acquiring", "purpose", "quantity", "authorisation")
    return {name: proposal.value[name] for name in names}


def closed_here(transfer: str, offer_sha256: str) -> str:
    """Write the answer to an offer, or a settle, of a transfer that was closed here before."""
    return _answer(transfer, offer_sha256, "closed-here", [finding(3003, "closed here")])


async def decide(tx: Tx, registry: Registry, offers: Mapping[str, tuple[Item, Item]]) -> dict[str, Answer]:
    """Decide (offer, proposal) pairs whose rows are ``offered``, and move the rows on."""
    accounts = await books.accounts_open(
        tx, [(p.value["acquiring"]["party"], p.value["acquiring"]["account"]) for _, p in offers.values()]
    )
    refused = set((await policy(tx))["refuse_parties"])
    answers = {}
    for transfer, (offer, proposal) in offers.items():
        findings = _findings(registry, offer, proposal, accounts, refused)
        state = "rejected" if findings else "accepted"
        answers[transfer] = Answer(state, _answer(transfer, offer.sha256, state, findings))
    for state in ("accepted", "rejected"):
        moved = [transfer for transfer, answer in answers.items() if answer.state == state]
        await transfers.advance(tx, ACQUIRER, state, moved, ["offered"])
    return answers


async def decide_waiting(tx: Tx, registry: Registry) -> int:
    """Decide offers that were receipted first, or whose time is over (3005); gives how many there were."""
    found = await tx.rows(
        "SELECT t.transfer, o.item AS offer, p.item AS proposal FROM transfer t"
        " JOIN step o ON o.transfer = t.transfer AND o.role = t.role AND o.step = 'offer'"
        " JOIN step p ON p.transfer = t.transfer AND p.role = t.role AND p.step = 'propose'"
        " WHERE t.role = 'acquirer' AND t.state = 'offered' AND (%s OR t.answer_by <= %s)"
        " ORDER BY t.transfer LIMIT %s FOR UPDATE OF t SKIP LOCKED",
        await deciding(tx),
        clock.present(),
        DECIDE_ROWS,
    )
    if found:
        offers = {row["transfer"]: (_stored(row["offer"]), _stored(row["proposal"])) for row in found}
        answers = await decide(tx, registry, offers)
        await outcomes.say(tx, registry, [Statement(t, "answer", a.text, True) for t, a in answers.items()])
    return len(found)


def _stored(text: str) -> Item:
    return Item(text, digest(text), strictjson.loads(text))


def _answer(transfer: str, offer_sha256: str, answer: str, findings: Sequence[Finding]) -> str:
    members = {"kind": "answer", "transfer": transfer, "offer": offer_sha256, "answer": answer}
    return strictjson.dumps({**members, "findings": list(findings)})


def _findings(
    registry: Registry, offer: Item, proposal: Item, accounts: Mapping[tuple[str, str], bool], refused: set[str]
) -> list[Finding]:
    acquiring, blocks = proposal.value["acquiring"], proposal.value["blocks"]
    is_open = accounts.get((acquiring["party"], acquiring["account"]))
    found = []
    if datetime.fromisoformat(offer.value["answer_by"]) <= clock.present():
        found.append(finding(3005, "the time to answer is over"))
    if not registry.keeps(acquiring):
        found.append(finding(5902, f"no books of {acquiring['party']} are kept here as {acquiring['registry']}"))
    elif is_open is None:
        found.append(finding(5902, "account unknown"))
    elif not is_open:
        found.append(finding(5906, "account closed"))
    types = {block["attributes"]["unit_type"] for block in blocks}
    if books.account_type(acquiring["account"]) != 100 or not types <= UNIT_TYPES:
        found.append(finding(5903, "account not eligible for these units"))
    if any(block["attributes"]["first_transferring_party"] in refused for block in blocks):
        found.append(finding(5904, "refused by the Party's policy"))
    if sum(block["last"] - block["first"] + 1 for block in blocks) != proposal.value["quantity"]:
        found.append(finding(2009, "the quantity is not that of the blocks"))
    return found
