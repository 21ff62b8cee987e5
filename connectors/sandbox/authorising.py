"""What a host Party decides, in one transaction with the notice of it: authorising, changing, revoking, stating.

A change is the next version. Nothing is policed but that a version is written once: whether versions are skipped,
terms make sense or a revocation is of anything is for the gateway to judge, and tests send it what it must refuse.
"""

from collections.abc import Sequence

from . import authorisations, books, history, notices, strictjson
from .authorisations import Ref, Version
from .database import Tx
from .registry import Registry
from .units import Declined, Holding


async def authorise(tx: Tx, registry: Registry, version: Version, *, announce: bool) -> None:
    """Write a version, put units held here under it, and tell it unless it is to be told later.

    Raises ``Declined``: 2004 for a version that is known, 4003 or 4005 for units not held or locked.
    """
    party, name, number = version.ref
    if version.ref in await authorisations.terms(tx, [(party, name)]):
        raise Declined(2004, "this version of the authorisation is known here")
    (told,) = await authorisations.write(tx, registry, [version])
    if version.units:
        under = {"authorisation": {"id": name, "version": number}}
        before = await books.take_anywhere(tx, version.units)
        after = await books.relabel(tx, before, under)
        await books.put(tx, after)
        await _write_history(tx, told, before, after)
    if announce:
        await notices.tell(tx, registry, [], await authorisations.take_untold(tx, [(party, name)]))


async def _write_history(tx: Tx, told: str, before: Sequence[Holding], after: Sequence[Holding]) -> None:
    """Write what an authorisation did with units, and right after it what was never for anybody while they had none."""
    item = strictjson.loads(told)
    event = history.Event(item["registry"], item["action"], "authorisation", item["at"])
    new = [now for was, now in zip(before, after, strict=True) if was.attributes["authorisation"] is None]
    earlier = await history.under_authorisation(tx, new)
    await history.write(tx, [*history.in_place(event, after, first_transfer=False), *earlier])


async def only_say(tx: Tx, registry: Registry, version: Version) -> None:
    """Tell of a version without writing it: what is known and held here stays."""
    told = authorisations.tells(registry.books_of(version.ref[0]), version)
    await notices.tell(tx, registry, [], [told])


async def revoke(tx: Tx, registry: Registry, ref: Ref, reason: str) -> str:
    """Note and tell the end of an authorisation, after what was not told of it yet; gives the action."""
    party, name, version = ref
    await tx.execute(
        "UPDATE authorisation SET revoked = true WHERE party = %s AND id = %s AND version = %s", party, name, version
    )
    members = {"party": party, "authorisation": {"id": name, "version": version}, "reason": reason}
    told = notices.write("revocation", registry.books_of(party), notices.new_action(), members)
    await notices.tell(tx, registry, [told], await authorisations.take_untold(tx, [(party, name)]))
    return told.about


async def state(tx: Tx, registry: Registry, party: str, activity: str, says: str, came: str | None) -> str:
    """Tell what a host states of an activity, and where that ``came`` from if it did; gives the action."""
    members = {"party": party, "activity": activity, "says": says, **({"transitioned_from": came} if came else {})}
    told = notices.write("statement", registry.books_of(party), notices.new_action(), members)
    await notices.tell(tx, registry, [told])
    return told.about
