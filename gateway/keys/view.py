"""The gateway's keys as an operator sees them: when each signs, who has receipted it, and what it still owes."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway import db
from gateway.domain.callers import EVERYTHING, Sight
from gateway.keys import store
from gateway.keys.commands import Debt
from gateway.keys.store import OwnKey, Told

#: The most messages owed that are listed; of more, the oldest.
MAX_OWED = 500
#: What is unanswered by those in sight, the oldest first, and at most so much: the relay's to say.
Debts = Callable[[db.ReadTx, Sight, int], Awaitable[Sequence[Debt]]]


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key. ``until`` is set once it ``ended``: retired or revoked. ``waiting``: link → why it has not receipted."""

    kid: str
    alg: str
    not_before: datetime
    until: datetime | None
    ended: str | None
    receipted: list[str]
    waiting: dict[str, str | None]
    owes: list[Debt]


@dataclass(frozen=True, slots=True)
class Listing:
    """The keys, and whether they owe ``more`` than is listed."""

    keys: list[KeyRow]
    more: bool


async def listing(tx: db.ReadTx, debts: Debts, sight: Sight = EVERYTHING) -> Listing:
    """Every key there ever was, the oldest first, with what links in sight were told and the oldest of what is owed."""
    told = await store.told(tx, sight=sight)
    owing = await debts(tx, sight, MAX_OWED + 1)
    rows = [_row(key, told, owing[:MAX_OWED]) for key in await store.keys(tx)]
    return Listing(rows, len(owing) > MAX_OWED)


def _row(key: OwnKey, told: Sequence[Told], owing: Sequence[Debt]) -> KeyRow:
    about = [t for t in told if t.kid == key.kid and not t.ends]
    until, ended = key.retired_at, "retired" if key.retired_at else None
    if key.revoked_at is not None and key.revoked_reason is not None:
        until, ended = key.revoked_at, key.revoked_reason.value
    return KeyRow(
        key.kid,
        key.jwk["alg"],
        key.not_before,
        until,
        ended,
        [t.link for t in about if t.receipted_at is not None],
        {t.link: t.waiting for t in about if key.signs and t.receipted_at is None and t.state != "closed"},
        [debt for debt in owing if debt.kid == key.kid],
    )
