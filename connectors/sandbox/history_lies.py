"""Lies about history: what a registry may tell in one Party's feed that did not happen, or tell otherwise than before.

A correction is none: it is a further record, as it should be. The others break what the contract promises, and what
forbids it in the database is put aside for as long as the lie takes.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from . import clock, feeds, history, notices, strictjson
from .database import Tx
from .feeds import Entry, Place
from .signature import digest
from .units import Declined

#: Hosts of units that a Party may not see: the first that is not itself.
OTHERS = ("FJI", "TON")
#: Members that an event without a change of account has not.
_MOVES = ("from", "to", "purpose", "year", "corrects")


@dataclass(frozen=True)
class Wish:
    """In whose feed to lie; about which record (0: the last), how many, what it is to say instead."""

    party: str
    number: int = 0
    count: int = 1
    changes: Mapping[str, Any] | None = None


async def tell(tx: Tx, lie: str, wish: Wish) -> dict[str, Any]:
    """Tell a lie; gives the end of the feed. Raises ``Declined`` where there is nothing to lie about."""
    while (await feeds.place(tx, wish.party))[1]:
        pass
    await LIES[lie](tx, wish, await _entry(tx, wish))
    end, _ = await feeds.place(tx, wish.party)
    return {"number": end.number}


async def _entry(tx: Tx, wish: Wish) -> Entry:
    end, _ = await feeds.place(tx, wish.party)
    number = wish.number or end.number
    found = await feeds.read(tx, wish.party, number - 1, end.number, 1) if number else []
    if not found:
        raise Declined(3001, "there is no such record in this feed")
    return found[0]


async def _correct(tx: Tx, wish: Wish, entry: Entry) -> None:
    value = {**strictjson.loads(entry.text), **(wish.changes or {"purpose": "other"}), "corrects": digest(entry.text)}
    seen = await tx.rows(
        "SELECT party FROM feed f WHERE EXISTS (SELECT FROM feed_entry e WHERE e.party = f.party AND e.record = %s)",
        entry.record,
    )
    await history.write(tx, [history.of(value)], [row["party"] for row in seen])


async def _future(tx: Tx, wish: Wish, entry: Entry) -> None:
    ahead = clock.stamp(clock.present() + timedelta(days=1))
    await history.write(tx, [_invented(entry, at=ahead)], [wish.party])


async def _contradict(tx: Tx, wish: Wish, entry: Entry) -> None:
    block = strictjson.loads(entry.text)["block"]
    attributes = {**block["attributes"], "activity": f"not {block['attributes']['activity']}"}
    await history.write(tx, [_invented(entry, block={**block, "attributes": attributes})], [wish.party])


async def _foreign(tx: Tx, wish: Wish, entry: Entry) -> None:
    block = {name: value for name, value in strictjson.loads(entry.text)["block"].items() if name != "itmo"}
    host = next(party for party in OTHERS if party != wish.party)
    origin = {**block["origin"], "series": "FOREIGN-SYNTHETIC"}
    attributes = {**block["attributes"], "first_transferring_party": host}
    await history.write(
        tx, [_invented(entry, block={**block, "origin": origin, "attributes": attributes})], [wish.party]
    )


def _invented(entry: Entry, **changes: Any) -> history.Record:
    """Write an authorisation that nobody gave, of the units of a record."""
    said = {name: value for name, value in strictjson.loads(entry.text).items() if name not in _MOVES}
    said |= {"type": "authorisation", "transaction": notices.new_action(), "at": clock.now(), "first_transfer": False}
    return history.of({**said, **changes})


async def _rewrite(tx: Tx, wish: Wish, entry: Entry) -> None:
    value = strictjson.loads(entry.text)
    record = history.of({**value, **(wish.changes or {"first_transfer": not value["first_transfer"]})})
    await _unguarded(tx, "history", "UPDATE history SET text = %s, sha256 = %s WHERE id = %s",
                     record.text, record.sha256, entry.record)  # fmt: skip
    holding = await tx.rows(
        "SELECT f.party, e.number FROM feed f JOIN feed_entry e ON e.party = f.party AND e.record = %s", entry.record
    )
    for row in holding:
        await _chain_anew(tx, row["party"], row["number"])


async def _chain_anew(tx: Tx, party: str, number: int) -> None:
    """Compute the digests of a feed again from a record on."""
    before = await feeds.at(tx, party, number - 1)
    rows = await tx.rows(
        "SELECT h.sha256 FROM feed_entry e JOIN history h ON h.id = e.record WHERE e.party = %s AND e.number >= %s"
        " ORDER BY e.number",
        party,
        number,
    )
    places = list(feeds.beyond(before or feeds.START, (bytes(row["sha256"]) for row in rows)))
    await _unguarded(
        tx,
        "feed_entry",
        "UPDATE feed_entry e SET digest = n.digest FROM unnest(%s::bigint[], %b::bytea[]) AS n (number, digest)"
        " WHERE e.party = %s AND e.number = n.number",
        [place.number for place in places],
        [place.digest for place in places],
        party,
    )
    await feeds.set_end(tx, party, places[-1])


async def _truncate(tx: Tx, wish: Wish, entry: Entry) -> None:
    end, _ = await feeds.place(tx, wish.party)
    left = await feeds.at(tx, wish.party, max(end.number - wish.count, 0))
    await _unguarded(tx, "feed_entry", "DELETE FROM feed_entry WHERE party = %s AND number > %s", wish.party,
                     _known(left).number)  # fmt: skip
    await feeds.set_end(tx, wish.party, _known(left))


def _known(place: Place | None) -> Place:
    if place is None:
        raise Declined(3001, "the feed does not go that far")
    return place


async def _unguarded(tx: Tx, table: str, statement: str, *parameters: Any) -> None:
    """Change what stays: its triggers are away for this one statement, and nobody else writes meanwhile."""
    await tx.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    await tx.execute(statement, *parameters)
    await tx.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


LIES: Mapping[str, Callable[[Tx, Wish, Entry], Awaitable[None]]] = {
    "correct": _correct,
    "rewrite": _rewrite,
    "truncate": _truncate,
    "future": _future,
    "foreign": _foreign,
    "contradict": _contradict,
}
