"""The examination: every check, what it walks over, and the one transaction in which all of it is read.

A check is a function of one thing and the scene that yields what it finds; its name is the function's, its rule
the first line of its docstring. To add one, write the function and name it in ``WALKS``, beside the others of
its walk; a walk over other things is one more line.

Checked, in one transaction that sees one moment and may not write, while workers work. The moment is the
database's; ``now`` judges leases only. Fails with ``Kind.UNAVAILABLE`` like every reader.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from gateway import db
from gateway.doctor import (
    authorisation_store,
    authorisations,
    book,
    book_store,
    case_store,
    cases,
    grounds,
    history,
    keys,
    letters,
    notifications,
    recordings,
    records,
    scene,
    store,
    transfers,
    tree,
    viewers,
)
from gateway.doctor.report import Remark, Report, Result
from gateway.doctor.scene import Own, Scene
from gateway.errors import GatewayError, Kind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Walk(Generic[T]):
    """All things of one sort, one after the other, and the checks that look at each."""

    things: Callable[[db.ReadTx, Scene], AsyncIterator[T]]
    checks: tuple[Callable[[T, Scene], Iterable[Remark]], ...]


async def _cases(tx: db.ReadTx, _scene: Scene) -> AsyncIterator[transfers.Case]:
    async for found in store.transfers(tx):
        yield transfers.read(found)


WALKS: tuple[Walk[Any], ...] = (
    Walk(
        _cases,
        (
            transfers.course,
            transfers.proposals,
            transfers.words_heard,
            transfers.words_said,
            transfers.commit_and_cancel,
            grounds.chain,
            transfers.claims,
            transfers.units_held,
            transfers.due,
            transfers.leases,
            grounds.resumptions,
            transfers.attention,
        ),
    ),
    Walk(lambda tx, _: store.viewers(tx), (viewers.viewers,)),
    Walk(letters.letters, (letters.messages, letters.own_keys, letters.statements, letters.receipts)),
    Walk(lambda tx, _: store.entries(tx), (records.log,)),
    Walk(tree.trees, (tree.tree,)),
    Walk(keys.keys, (keys.keys_as_logged,)),
    Walk(lambda tx, _: store.replay_keys(tx), (records.replay_keys,)),
    Walk(lambda tx, _: store.streams(tx), (records.streams,)),
    Walk(lambda tx, _: store.requests(tx), (records.requests,)),
    Walk(lambda tx, _: store.owed(tx), (records.owed,)),
    Walk(lambda tx, _: store.approvals(tx), (records.approvals,)),
    Walk(lambda tx, _: store.actions(tx), (recordings.actions_recorded,)),
    Walk(lambda tx, _: store.disposals(tx), (notifications.disposals_notified,)),
    Walk(
        lambda tx, _: store.records(tx),
        (recordings.record_texts, notifications.notification_texts, recordings.records_due),
    ),
    Walk(lambda tx, _: store.record_messages(tx), (recordings.record_messages,)),
    Walk(lambda tx, _: store.alarms(tx), (records.alarms,)),
    Walk(lambda tx, _: authorisation_store.authorisations(tx), (authorisations.drawn,)),
    Walk(lambda tx, _: authorisation_store.reliances(tx), (authorisations.reliances,)),
    Walk(lambda tx, _: authorisation_store.told(tx), (authorisations.told,)),
    Walk(lambda tx, _: book_store.first_here(tx), (book.first_transfers_here,)),
    Walk(book.movements, (book.positions,)),
    Walk(lambda tx, _: book_store.accounted(tx), (book.accounts,)),
    Walk(lambda tx, _: book_store.series(tx), (book.series,)),
    Walk(book.books, (book.conservation,)),
    Walk(history.feeds, (history.history,)),
    Walk(lambda tx, _: case_store.cases(tx), (cases.cases,)),
    Walk(lambda tx, _: case_store.flags(tx), (cases.case_flags,)),
)


async def examine(
    database: db.Database, own: Own, now: datetime | None = None, *, walks: Sequence[Walk[Any]] = WALKS
) -> Report:
    """Examine the whole database of the gateway ``own``, or what some walks go over.

    ``now`` is the gateway's clock, if not this machine's.
    """
    at = now or datetime.now(UTC)
    async with database.reading() as tx:
        await store.one_moment(tx)
        around = await scene.at(tx, own, at)
        return Report(at, tuple([result for walk in walks for result in await _walked(tx, walk, around)]))


def walks_of(names: Collection[str]) -> tuple[Walk[Any], ...]:
    """The walks to which these checks belong; raises MALFORMED for the name of none."""
    found = tuple(walk for walk in WALKS if {_name(check) for check in walk.checks} & set(names))
    unknown = sorted(set(names) - {_name(check) for walk in found for check in walk.checks})
    if unknown:
        every = ", ".join(_name(check) for walk in WALKS for check in walk.checks)
        raise GatewayError(Kind.MALFORMED, f"there is no check {unknown[0]!r}; there are {every}")
    return found


def _name(check: Callable[..., Iterable[Remark]]) -> str:
    return check.__name__.replace("_", " ")


async def _walked(tx: db.ReadTx, walk: Walk[Any], around: Scene) -> list[Result]:
    results = [Result(_name(check), str(check.__doc__).splitlines()[0]) for check in walk.checks]
    async for thing in walk.things(tx, around):
        for check, result in zip(walk.checks, results, strict=True):
            result.add(check(thing, around))
    return results
