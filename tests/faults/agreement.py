"""Whether all books agree: the gateway's, and each registry's own.

Judged when everything is at rest. Conservation over the gateway's book and in each registry's; every unit in
exactly one place, under one identifier, the same on both sides; every transfer with the same end everywhere, each
of its steps taken once; no registry alarmed; and whatever ``gateway doctor`` looks at.
"""

from collections import Counter
from typing import Any, NamedTuple

from gateway import cli
from tests.faults import network as networks
from tests.faults.network import REGISTRIES, Network


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
SELECT s.registry, s.name, h.first, h.last, '{code}', h.party, left(h.account, 3)::int,
  replace(i.stem, '{{}}-', ''), h.itmo_offset
FROM holding h JOIN series s ON s.id = h.series LEFT JOIN itmo_series i ON i.id = h.itmo ORDER BY 1, 2, 3
"""
_CREDITED_OTHERWISE = """
SELECT c.transfer, c.quantity, sum(j.quantity), count(*) FROM crediting c JOIN journal j
ON j.reference = c.transfer AND j.entry = 'credit' GROUP BY 1, 2 HAVING sum(j.quantity) <> c.quantity
"""
_STEPS_TWICE = "SELECT transfer_id, event, count(*) FROM transfer_event GROUP BY 1, 2 HAVING count(*) > 1"
#: The gateway's final state → the states a source and an acquirer may be in (None: never heard of it).
_ENDS = {"completed": ({"done"}, {"done"})}
_ENDED = ({"void"}, {"void", None})


async def agree(network: Network, *, doctor: bool = False, alarms: bool = False) -> None:
    """Fail on the first thing the books do not agree on. ``alarms``: a registry may have been alarmed."""
    books = (await network.operator("GET", "/api/v1/books")).json()
    assert books["conservation"] == "holds", books
    for code in REGISTRIES:
        await _conserved(network, code, alarms=alarms)
    ours = _runs(await network.rows(_POSITIONS))
    theirs = [run for code in REGISTRIES for run in _runs(await network.rows(_HOLDINGS.format(code=code), code))]
    only_ours, only_theirs = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
    assert not only_ours and not only_theirs, f"by the gateway alone: {only_ours}; by registries alone: {only_theirs}"
    await _same_ends(network)
    assert await network.rows(_STEPS_TWICE) == []
    if doctor and "doctor" in cli._COMMANDS:
        await healthy(network)


async def _conserved(network: Network, code: str, *, alarms: bool) -> None:
    own = await network.admin(code, "GET", "books")
    spent = own["held"] + own["used"] + own["cancelled"] + own["moved_out"]
    assert own["issued"] + own["moved_in"] == spent, own
    assert alarms or own["alarms"] == [], own["alarms"]
    assert await network.rows(_CREDITED_OTHERWISE, code) == []


async def _same_ends(network: Network) -> None:
    rows = {}
    for code in REGISTRIES:
        rows[code] = dict(await network.rows("SELECT transfer, state FROM transfer", code))
    here = dict(await network.rows("SELECT id, state FROM transfer WHERE state <> 'attention'"))
    for transfer, state in here.items():
        sources, acquirers = _ENDS.get(state, _ENDED)
        stand = rows["MEC01"].get(transfer), rows["KOR01"].get(transfer)
        assert stand[0] in sources and stand[1] in acquirers, (transfer, state, stand)
    held = {t for (t,) in await network.rows("SELECT id FROM transfer WHERE state = 'attention'")}
    unknown = {t: s for t, s in rows["MEC01"].items() if t not in here and t not in held}
    # Withdrawn before it was ever proposed to the gateway: nobody else needs to know.
    assert set(unknown.values()) <= {"void"}, unknown


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
