"""Whether all books agree: the gateway's, and each registry's own.

Judged when everything is at rest. Conservation over the gateway's book and in each registry's; every unit in
exactly one place, under one identifier, the same on both sides, section by section; every transfer with the same end
everywhere, each of its steps taken once; INT01's records exactly the actions that were completed; no registry
alarmed; every history alike (``histories``); and whatever ``gateway doctor`` looks at.
"""

import asyncio
import json
from collections import Counter
from typing import Any, NamedTuple
from urllib.parse import quote

from gateway.domain.transfers import Event
from tests.faults import histories
from tests.faults import network as networks
from tests.faults.linking import FOLLOWING
from tests.faults.load import NOWHERE
from tests.faults.members import REGISTRIES, SECTIONS, section
from tests.faults.network import Network


class Run(NamedTuple):
    """Units that lie together: of which series, held by whom, named how."""

    registry: str
    series: str
    first: int
    last: int
    holder: tuple[Any, ...]


_POSITIONS = """
SELECT s.registry, s.series, p.first, p.last, p.registry, p.party, p.account_type::int, i.stem, p.itmo_offset
FROM position p JOIN unit_series s ON s.id = p.series_id LEFT JOIN itmo_series i ON i.id = p.itmo_series_id
WHERE p.closed_by IS NULL ORDER BY 1, 2, 3
"""
_HOLDINGS = """
SELECT s.registry, s.name, h.first, h.last, {place}, h.party, left(h.account, 3)::int,
  replace(i.stem, '{{}}-', ''), h.itmo_offset
FROM holding h JOIN series s ON s.id = h.series LEFT JOIN itmo_series i ON i.id = h.itmo ORDER BY 1, 2, 3
"""
_CREDITED_OTHERWISE = """
SELECT c.transfer, c.quantity, sum(j.quantity), count(*) FROM crediting c JOIN journal j
ON j.reference = c.transfer AND j.entry = 'credit' GROUP BY 1, 2 HAVING sum(j.quantity) <> c.quantity
"""
#: The actions of transfers and of notices, with what a record of them says beside its text, and its section's Party.
_COMPLETED = """
SELECT t.id || '/transfer', CASE WHEN (s.item::jsonb ->> 'first_transfer')::boolean THEN 'First transfer'
         ELSE 'Transfer' END, t.transferring_party, t.quantity
  FROM transfer t JOIN transfer_step s ON s.transfer_id = t.id AND s.step = 'released' WHERE t.state = 'completed'
UNION ALL
SELECT id || '/acquisition', 'Acquisition', acquiring_party, quantity FROM transfer WHERE state = 'completed'
UNION ALL
SELECT registry || '/' || action, initcap(type), item::jsonb ->> 'party', quantity
  FROM action WHERE type IN ('use', 'cancellation')
"""
_WAYS = """
SELECT DISTINCT transferring_registry, transferring_account, acquiring_registry, state,
  (SELECT string_agg(DISTINCT f ->> 'code', ' ') FROM jsonb_array_elements(findings) f) FROM transfer
"""
#: A proposal may wait for more than one cut of its books.
_STEPS_TWICE = (
    "SELECT transfer_id, event, count(*) FROM transfer_event"
    f" WHERE event NOT IN ('{Event.HELD_BY_RECONCILIATION}', '{Event.WINDOW_OPENED}') GROUP BY 1, 2 HAVING count(*) > 1"
)
#: The code of a registry's alarm that a promised leaf was not published in time.
BROKEN = 8005
#: The gateway's final state → the states a source and an acquirer may be in (None: never heard of it).
_ENDS = {"completed": ({"done"}, {"done"})}
_ENDED = ({"void"}, {"void", None})


async def agree(network: Network, *, doctor: bool = False, alarms: bool = False) -> None:
    """Fail on the first thing the books do not agree on. ``alarms``: a registry may have been alarmed."""
    books = (await network.operator("GET", "/api/v1/books")).json()
    assert books["conservation"] == "holds", books
    await asyncio.gather(*(_conserved(network, code, alarms=alarms) for code in REGISTRIES))
    ours = _runs(await network.rows(_POSITIONS))
    theirs = [run for code in REGISTRIES for run in await _held(network, code)]
    only_ours, only_theirs = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
    assert not only_ours and not only_theirs, f"by the gateway alone: {only_ours}; by registries alone: {only_theirs}"
    await _same_ends(network)
    await _refused(network)
    await _recorded(network)
    await asyncio.gather(*(_promised(network, code) for code in FOLLOWING))
    assert await network.rows(_STEPS_TWICE) == []
    if doctor:
        await histories.alike(network)
        await healthy(network)


async def _conserved(network: Network, code: str, *, alarms: bool) -> None:
    own = await network.admin(code, "GET", "books")
    spent = own["held"] + own["used"] + own["cancelled"] + own["moved_out"]
    assert own["issued"] + own["moved_in"] == spent, own
    # Who stops the gateway for a minute breaks its promises; that every leaf is there in the end is ``_promised``.
    others = [alarm for alarm in own["alarms"] if alarm["code"] != BROKEN]
    assert alarms or others == [], others
    assert await network.rows(_CREDITED_OTHERWISE, code) == []


async def _promised(network: Network, code: str) -> None:
    """Whatever the gateway has promised to a registry is in its log."""

    async def there() -> bool:
        await network.admin(code, "POST", "follow")
        found = await network.admin(code, "GET", "promises")
        return not found["open"] and all(one["leaf_index"] is not None for one in found["broken"])

    await network.until(there, f"all that was promised to {code} is in the log")


async def _held(network: Network, code: str) -> list[Run]:
    place = "h.party || '99'" if code == "INT01" else f"'{code}'"
    return _runs(await network.rows(_HOLDINGS.format(place=place), code))


async def _same_ends(network: Network) -> None:
    own = "SELECT transfer, role, state FROM transfer"
    rows = {(code, role, t): s for code in REGISTRIES for t, role, s in await network.rows(own, code)}
    here = await network.rows("SELECT id, source, acquirer, state FROM transfer WHERE state <> 'attention'")
    for transfer, source, acquirer, state in here:
        sources, acquirers = _ENDS.get(state, _ENDED)
        stand = rows.get((source, "source", transfer)), rows.get((acquirer, "acquirer", transfer))
        assert stand[0] in sources and stand[1] in acquirers, (transfer, state, stand)
    known = {t for (t,) in await network.rows("SELECT id FROM transfer")}
    # Withdrawn before it was ever proposed to the gateway: nobody else needs to know.
    unknown = {key: state for key, state in rows.items() if key[2] not in known}
    assert {(role, state) for (_, role, _), state in unknown.items()} <= {("source", "void")}, unknown


async def _refused(network: Network) -> None:
    """What is no arrow was refused, with its code, unless its source took it back or its units were claimed before."""
    found = await network.rows(_WAYS)
    for name, arrow in NOWHERE.items():
        way = (section(arrow.party) if arrow.source == "INT01" else arrow.source, arrow.account, arrow.to)
        for state, codes in [(state, codes) for *taken, state, codes in found if tuple(taken) == way]:
            named = state == "refused" and set(codes.split()) & {str(arrow.code), "4005"}
            assert named or state == "cancelled", (name, state, codes)


async def _recorded(network: Network) -> None:
    """Every completed action of a Party with a section is recorded there once, as it was, and nothing else is."""
    done = {row for row in await network.rows(_COMPLETED) if row[2] in SECTIONS}
    kept = await _records(network)
    theirs = {(r["action"], r["type"], r["party"], r["quantity"]) for r in kept}
    assert theirs == done, f"by the gateway alone: {done - theirs}; by INT01 alone: {theirs - done}"
    assert all(r["section"] == section(r["party"]) for r in kept)
    texts = dict(
        await network.rows("SELECT action, item FROM action_record WHERE (kind, state) = ('record', 'recorded')")
    )
    assert {r["action"]: r["item"] for r in kept} == texts
    assert all(sum(b["last"] - b["first"] + 1 for b in json.loads(r["item"])["blocks"]) == r["quantity"] for r in kept)
    summed = {"count": len(done), "quantity": sum(quantity for *_, quantity in done)}
    assert (await network.admin("INT01", "GET", "books"))["records"] == summed


async def _records(network: Network) -> list[dict[str, Any]]:
    """What INT01 has recorded, by its own account."""
    found: list[dict[str, Any]] = []
    while True:
        after = found[-1]["action"] if found else ""
        page = (await network.admin("INT01", "GET", f"records?after={quote(after)}"))["records"]
        if not page:
            return found
        found += page


def _runs(rows: list[tuple[Any, ...]]) -> list[Run]:
    """Neighbouring units of one holder as one run, so that it does not matter how a book cuts them."""
    runs: list[Run] = []
    for registry, series, first, last, *holder in rows:
        run = Run(registry, series, first, last, tuple(holder))
        if runs and runs[-1][:2] == run[:2] and runs[-1].last + 1 == first and runs[-1].holder == run.holder:
            run = run._replace(first=runs.pop().first)
        runs.append(run)
    return runs


async def healthy(network: Network) -> None:
    """``gateway doctor`` finds nothing."""
    ended, said = await networks.run(network, "doctor")
    assert ended == 0, said
