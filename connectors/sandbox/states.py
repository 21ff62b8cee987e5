"""States of units as texts, and their SHA-256: all that is compared of a unit (section 14 of the link contract).

A state is kept by what it is made of; its text is written when somebody asks for it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .database import Row, Tx, columns

_CANONICAL = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def text_of(party: str, account_type: int, attributes: Mapping[str, Any], stem: str | None, offset: int | None) -> str:
    """Write the state of units, as RFC 8785 JSON; ``stem`` has ``{}`` for the serial."""
    return _text(party, account_type, _CANONICAL.encode(attributes), stem, offset)


def _text(party: str, account_type: int, attributes: str, stem: str | None, offset: int | None) -> str:
    named = "null" if stem is None else f'{{"offset":{offset},"stem":{_CANONICAL.encode(stem.replace("-{}", ""))}}}'
    return f'{{"account_type":{account_type},"attributes":{attributes},"itmo":{named},"party":"{party}"}}'


class States:
    """The states met in one transaction: each is hashed once, and kept once."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._attributes: dict[int, str] = {}
        self._stems: dict[int, str] = {}
        self._hashes: dict[tuple[Any, ...], bytes] = {}
        self._unkept: list[tuple[Any, ...]] = []

    async def of(self, rows: Sequence[Row]) -> list[bytes]:
        """Give the hash of the state of each holding, by party, account, attributes, itmo and itmo_offset."""
        members = [(r["party"], int(r["account"][:3]), r["attributes"], r["itmo"], r["itmo_offset"]) for r in rows]
        new = {made for made in members if made not in self._hashes}
        await self._learn({made[2] for made in new}, {made[3] for made in new if made[3] is not None})
        for made in new:
            party, account_type, attributes, itmo, offset = made
            text = _text(party, account_type, self._attributes[attributes], self._stems.get(itmo), offset)
            self._hashes[made] = hashlib.sha256(text.encode()).digest()
            self._unkept.append((self._hashes[made], *made))
        return [self._hashes[made] for made in members]

    async def keep(self) -> None:
        """Write what new states are made of."""
        await self._tx.execute(
            "INSERT INTO book_state (hash, party, account_type, attributes, itmo, itmo_offset)"
            " SELECT * FROM unnest(%b::bytea[], %s::text[], %s::int[], %s::int[], %s::int[], %s::bigint[])"
            " ON CONFLICT DO NOTHING",
            *columns(self._unkept, 6),
        )
        self._unkept.clear()

    async def _learn(self, attributes: set[int], stems: set[int]) -> None:
        unknown = list(attributes - self._attributes.keys())
        if unknown:
            found = await self._tx.rows("SELECT id, attributes FROM unit_attributes WHERE id = ANY(%s)", unknown)
            self._attributes |= {row["id"]: _CANONICAL.encode(row["attributes"]) for row in found}
        unknown = list(stems - self._stems.keys())
        if unknown:
            found = await self._tx.rows("SELECT id, stem FROM itmo_series WHERE id = ANY(%s)", unknown)
            self._stems |= {row["id"]: row["stem"] for row in found}


async def texts(tx: Tx, hashes: Iterable[bytes]) -> list[str]:
    """Give the texts of states, in the order asked for; one that never was here has none."""
    found = await tx.rows(
        "SELECT s.hash, s.party, s.account_type, a.attributes, i.stem, s.itmo_offset FROM unnest(%b::bytea[])"
        " WITH ORDINALITY AS w (hash, n) JOIN book_state s ON s.hash = w.hash"
        " JOIN unit_attributes a ON a.id = s.attributes LEFT JOIN itmo_series i ON i.id = s.itmo ORDER BY w.n",
        list(hashes),
    )
    return [text_of(r["party"], r["account_type"], r["attributes"], r["stem"], r["itmo_offset"]) for r in found]
