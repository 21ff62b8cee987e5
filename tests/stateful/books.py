"""What the three nodes hold at one moment: their rows of the example's transfers, their units, their alarms.

Read from the three databases themselves, so that a registry can be looked at while it is down or frozen. The nodes
share no clock and no transaction: the first two are read again after the third, until neither has moved meanwhile,
so that all of it was true at the moment the third was read.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.stage import Stage

GATEWAY, SOURCE, ACQUIRER = "GWY01", "MEC01", "KOR01"
#: Reads until the nodes are found standing still.
READS = 100


@dataclass(frozen=True, slots=True)
class Row:
    """The gateway's row of a transfer."""

    state: str
    outcome: str | None
    has_commit: bool
    has_cancel: bool
    told_source: bool
    told_acquirer: bool
    #: Something is still to be done about it.
    is_due: bool
    waiting: str


@dataclass(frozen=True, slots=True)
class Registry:
    """One registry's side: its rows by transfer, where its units are locked ("" where not), what it has credited."""

    rows: Mapping[str, str]
    units: Mapping[int, str]
    credited: Mapping[str, int]
    proposed: Mapping[str, frozenset[int]]
    alarms: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Book:
    """The gateway's side: its rows, every live position of each unit, live claims."""

    rows: Mapping[str, Row]
    units: Mapping[int, tuple[str, ...]]
    claims: Mapping[str, frozenset[int]]
    alarms: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Books:
    """The three nodes at one moment."""

    source: Registry
    gateway: Book
    acquirer: Registry

    @property
    def transfers(self) -> list[str]:
        """Every transfer one of the three knows."""
        return sorted({*self.source.rows, *self.gateway.rows, *self.acquirer.rows})

    def state(self, transfer: str) -> str:
        """The state of the gateway's row, "absent" without one."""
        row = self.gateway.rows.get(transfer)
        return row.state if row else "absent"

    def line(self, transfer: str) -> str:
        """A transfer at the source, the gateway and the acquirer, for a person to read."""
        s, a = (r.rows.get(transfer, "-") for r in (self.source, self.acquirer))
        return f"{transfer[-6:]} {s} / {self.state(transfer)} / {a}"


class Reader:
    """Reads what belongs to one example: transfers with ids after ``marker``, units of ``series``."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._registries = {}
        for code in (SOURCE, ACQUIRER):
            name = f"{code.lower()}_{stage.database_name}"
            self._registries[code] = psycopg.connect(stage.server.dsn(name, name), autocommit=True)

    def close(self) -> None:
        """Close the connections."""
        for connection in self._registries.values():
            connection.close()

    def books(self, marker: str, series: str) -> Books:
        """The three nodes at one moment."""
        earlier = None
        for _ in range(READS):
            pair = (self._registry(SOURCE, marker, series), self._gateway(marker, series))
            if earlier is not None and pair == earlier[:2]:
                return Books(*earlier)
            earlier = (*pair, self._registry(ACQUIRER, marker, series))
            time.sleep(0.005)
        raise AssertionError("the nodes do not stand still")

    def owed(self, code: str) -> int:
        """Messages a registry has still to send, or has sent without an answer."""
        statement = "SELECT count(*) FROM sent WHERE owed AND (expires_at IS NULL OR expires_at > now())"
        found = self._registries[code].execute(statement).fetchone()
        return int(found[0]) if found else 0

    def execute(self, code: str, statement: str, parameters: Mapping[str, Any]) -> None:
        """Let something happen in a registry's database that its program does not do."""
        self._registries[code].execute(statement, parameters)  # type: ignore[arg-type]

    def _registry(self, code: str, marker: str, series: str) -> Registry:
        role = "source" if code == SOURCE else "acquirer"
        names = {"role": role, "marker": marker, "series": series}
        with self._registries[code].transaction():
            connection = self._registries[code]
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

            def rows(statement: str) -> list[tuple[Any, ...]]:
                return connection.execute(statement, names).fetchall()  # type: ignore[arg-type]

            steps = "step WHERE role = %(role)s AND step = 'propose' AND transfer > %(marker)s"
            return Registry(
                dict(rows("SELECT transfer, state FROM transfer WHERE role = %(role)s AND transfer > %(marker)s")),
                _by_unit(rows(f"SELECT first, last, coalesce(locked_by, '') FROM {_HOLDINGS}")),
                dict(rows("SELECT transfer, quantity FROM crediting WHERE transfer > %(marker)s")),
                {t: units_of(json.loads(item)["blocks"]) for t, item in rows(f"SELECT transfer, item FROM {steps}")},
                frozenset(rows("SELECT transfer, detail FROM alarm WHERE transfer > %(marker)s")),
            )

    def _gateway(self, marker: str, series: str) -> Book:
        names = {"marker": marker, "series": series}
        dsn = self._stage.server.dsn(self._stage.database_name, "gateway_owner")
        with psycopg.connect(dsn) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

            def rows(statement: str) -> list[tuple[Any, ...]]:
                return connection.execute(statement, names).fetchall()  # type: ignore[arg-type]

            positions: dict[int, tuple[str, ...]] = {}
            for unit, registry in _each(rows(f"SELECT first, last, p.registry FROM {_POSITIONS}")):
                positions[unit] = (*positions.get(unit, ()), registry)
            claims: dict[str, frozenset[int]] = {}
            for unit, transfer in _each(rows(f"SELECT first, last, transfer_id FROM {_CLAIMS}")):
                claims[transfer] = claims.get(transfer, frozenset()) | {unit}
            alarms = frozenset(rows("SELECT transfer_id, detail FROM alarm WHERE transfer_id > %(marker)s"))
            return Book({t: Row(*row) for t, *row in rows(_ROWS)}, positions, claims, alarms)


_HOLDINGS = "holding JOIN series s ON s.id = series WHERE s.name = %(series)s"
_POSITIONS = "position p JOIN unit_series s ON s.id = series_id WHERE s.series = %(series)s AND closed_by IS NULL"
_CLAIMS = "claim c JOIN unit_series s ON s.id = series_id WHERE s.series = %(series)s AND released_by IS NULL"
_ROWS = """
SELECT id, state, outcome, commit_id IS NOT NULL, cancel_id IS NOT NULL, told_source_at IS NOT NULL,
       told_acquirer_at IS NOT NULL, next_at IS NOT NULL, coalesce(waiting, '')
FROM transfer WHERE id > %(marker)s
"""


def units_of(blocks: Iterable[Mapping[str, Any]]) -> frozenset[int]:
    """The serials of blocks of one series."""
    return frozenset(n for b in blocks for n in range(b["first"], b["last"] + 1))


def _each(ranges: Iterable[tuple[int, int, str]]) -> Iterator[tuple[int, str]]:
    for first, last, value in ranges:
        for unit in range(first, last + 1):
            yield unit, value


def _by_unit(ranges: Iterable[tuple[int, int, str]]) -> dict[int, str]:
    return dict(_each(ranges))
