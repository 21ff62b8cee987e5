"""A long history for trials of speed, made at the start on request: synthetic, and true in form alone.

Half of the records are issuances of ten units each, the other half their uses, all under one authorisation, in a
series of their own and of no holding: nobody has these units. Made once, before anything is answered: texts and hashes
in the database, digests here, in as many transactions as it takes; one that dies on the way goes on where it was.
"""

from typing import Any

from . import feeds, history, own_log
from .database import Tx
from .registry import Registry

#: What shows in every record that it is invented.
NAME = "SYNTHETIC-HISTORY"
#: Records made, and places given, in one transaction.
BATCH = 100_000
#: Units of one block.
QUANTITY = 10

#: Numbers and texts that nothing else in a record is, in place of what is another in each.
_FIRST, _LAST, _TRANSACTION, _AT = 8_999_999_999_999_991, 8_999_999_999_999_992, "@transaction@", "@at@"
_HOLES = {str(_FIRST): "%1$s", str(_LAST): "%2$s", _TRANSACTION: "%3$s", _AT: "%4$s"}
_MAKE = """
INSERT INTO history (text, sha256, at, registry, series, first, last, authorised, host, comes_from, comes_to)
SELECT text, sha256(convert_to(text, 'UTF8')), at, %s, %s, first, last, true, %s, CASE odd WHEN 1 THEN %s END, %s
  FROM (SELECT n, n & 1 AS odd, at, first, first + %s - 1 AS last,
               format(CASE n & 1 WHEN 0 THEN %s ELSE %s END, first, first + %s - 1, %s || '-' || n + 1,
                      to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) AS text
          FROM (SELECT n, (n >> 1) * %s + 1 AS first, timestamptz '2026-01-01T00:00:00Z' + n * interval '1 second' AS at
                  FROM generate_series(%s::bigint, %s::bigint) AS n) AS numbered) AS made
 ORDER BY n
"""


async def make(registry: Registry, party: str, count: int) -> None:
    """Make so many records in all of units of ``party``, with their places in its feed and in this registry's log."""
    code = registry.books_of(party)
    while await registry.database.run("start.history", lambda tx: _make(tx, code, party, count)):
        pass
    while await registry.database.run("start.history", lambda tx: _place(tx, party)):
        pass
    if registry.logs.own is not None:
        await own_log.publish(registry, registry.logs.own)


async def _make(tx: Tx, code: str, party: str, count: int) -> bool:
    row = await tx.one("SELECT count(*) AS made FROM history WHERE registry = %s AND series = %s", code, NAME)
    made = row["made"] if row else 0
    upto = min(made + BATCH, count)
    issuance, use = (_template(code, party, kind) for kind in ("issuance", "use"))
    units = (QUANTITY, issuance, use, QUANTITY, NAME, QUANTITY)
    if made < upto:
        await tx.execute(_MAKE, code, NAME, party, party, party, *units, made, upto - 1)
    return upto < count


def _template(code: str, party: str, kind: str) -> str:
    """Write a record with holes for PostgreSQL's ``format``."""
    attributes: dict[str, Any] = {
        "unit_type": "A6.4ER",
        "first_transferring_party": party,
        "vintage": 2021,
        "cooperative_approach": "CA0001",
        "metric": "GHG",
        "mitigation_type": "Emission reductions",
        "sector": "Energy generation",
        "activity_type": "Energy Efficiency households",
        "activity": NAME,
        "authorisation": {"id": NAME, "version": 1},
    }
    block = {"origin": {"registry": code, "series": NAME}, "first": _FIRST, "last": _LAST, "attributes": attributes}
    held, used = ({"registry": code, "party": party, "account": account} for account in ("100-1", "200-1"))
    ends = {"to": held} if kind == "issuance" else {"from": held, "to": used, "purpose": "NDC", "year": 2026}
    text = history.Event(code, _TRANSACTION, kind, _AT).record(block, first_transfer=False, **ends).text
    for mark, hole in _HOLES.items():
        text = text.replace(mark, hole)
    return text


async def _place(tx: Tx, party: str) -> bool:
    """Give places to what was made and has none, a batch at most; gives whether there were any."""
    end, _ = await feeds.place(tx, party)
    rows = await tx.rows(
        "SELECT h.id, h.sha256 FROM history h WHERE h.series = %s AND NOT EXISTS"
        " (SELECT FROM feed_entry e WHERE e.party = %s AND e.record = h.id) ORDER BY h.id LIMIT %s",
        NAME,
        party,
        BATCH,
    )
    places = list(feeds.beyond(end, (bytes(row["sha256"]) for row in rows)))
    await feeds.put(tx, party, [(row["id"], place) for row, place in zip(rows, places, strict=True)])
    return bool(rows)
