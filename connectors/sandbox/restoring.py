"""Falling back to a backup, unnoticed or known, and coming back from it.

Known (R15, R16): the registry signs with a new key, serves and sends nothing, asks the gateway about everything
that may have moved since, and goes forward only: what is released, done, void or credited here stays. Unnoticed:
it goes on under the same key as if nothing had happened. Either way what was under way in this process ends
first, as it would if a machine had been restored.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from . import (
    acquirer,
    backup,
    envelope,
    hearing,
    keys,
    outcomes,
    post,
    proposing,
    rotating,
    source,
    status,
    strictjson,
    told_history,
    transfers,
)
from .database import Row, Tx
from .duties import Background
from .envelope import Draft, Message
from .hearing import ATTENTION, NOT_KNOWN
from .outcomes import STATEMENTS, Statement
from .registry import Registry
from .sender import Sender
from .signature import segment
from .transfers import ACQUIRER, SOURCE
from .units import Declined

#: States of the gateway in which it has ended a transfer, or is ending it.
_ENDING = {"ending", "refused", "rejected", "cancelled"}
#: ... and in which a commit was stored.
_COMMITTED = {"committing", "released", "completed"}


async def restore(registry: Registry, background: Background, *, known: bool) -> keys.OwnKey:
    """Put the last backup back; gives the key in use from now on. Raises ``Declined``."""
    new = registry.trust.prepare() if known else None
    await background.end()
    try:
        await registry.database.run("admin.restore", lambda tx: backup.put_back(tx, new.kid if new else None))
        if new is not None:
            registry.trust.renew()
        await registry.database.run("admin.look", lambda tx: rotating.go_on(tx, registry))
        await registry.database.run("admin.look", lambda tx: rotating.take_up(tx, registry))
    finally:
        await background.begin()
    return registry.key


async def synchronise(
    registry: Registry, sender: Sender, background: Background, named: Sequence[str]
) -> dict[str, str]:
    """Ask about the transfers named and those open here, go forward, then serve; gives their states here.

    Raises ``Declined`` when nothing was restored, ``NoAnswer`` when the gateway is silent (and nothing is served).
    """
    asked = await registry.database.run("admin.synchronise", lambda tx: _to_ask(tx, named))
    told = {transfer: await _told(registry, sender, transfer) for transfer in asked}
    states = {}
    for transfer in sorted(asked, key=lambda transfer: _turn(registry, transfer, told[transfer].body["state"])):
        states[transfer] = await registry.database.run(
            "admin.synchronise",
            lambda tx, transfer=transfer: _forward(tx, registry, transfer, told[transfer]),  # type: ignore[misc]
        )
    forgotten = {transfer for transfer in asked if told[transfer].body["state"] == NOT_KNOWN}
    await registry.database.run("admin.synchronise", lambda tx: _serve_again(tx, registry, forgotten))
    told_history.wanted(registry, await registry.database.run("admin.look", told_history.known_feeds))
    await background.begin()
    return states


async def _to_ask(tx: Tx, named: Sequence[str]) -> list[str]:
    if await backup.restored(tx) is None:
        raise Declined(3002, "this registry was not restored")
    still_open = await tx.rows("SELECT transfer FROM transfer WHERE state NOT IN ('done', 'void') ORDER BY transfer")
    return list(dict.fromkeys([*named, *(row["transfer"] for row in still_open)]))


async def _told(registry: Registry, sender: Sender, transfer: str) -> Message:
    role, unknown = status.role_in(registry, transfer)
    row = await registry.database.run("admin.look", lambda tx: _find(tx, role, transfer))
    return await status.ask(registry, sender, transfer, row["state"] if row else unknown)


async def _find(tx: Tx, role: str, transfer: str) -> Row | None:
    return (await transfers.lock(tx, role, [transfer])).get(transfer)


def _turn(registry: Registry, transfer: str, state: str) -> int:
    """Say when a transfer's turn is: units are freed and credited before they are locked for others.

    Releases made before come before new ones, so that no identifier they gave is given again.
    """
    if status.role_in(registry, transfer)[0] == ACQUIRER:
        return 1
    return 0 if state in _ENDING else 4 if state == "committing" else 2 if state in _COMMITTED else 3


async def _forward(tx: Tx, registry: Registry, transfer: str, told: Message) -> str:
    role, unknown = status.role_in(registry, transfer)
    row = await _find(tx, role, transfer)
    state = told.body["state"]
    if state == NOT_KNOWN:
        if row is not None:
            await hearing.say_again(tx, registry, {**row, "role": role})
    elif state != ATTENTION:
        await (_source if role == SOURCE else _acquirer)(tx, registry, transfer, row, told)
    elif row is None and role == SOURCE:
        # Persons decide about the transfer; until then its units, which the gateway's book claims, stay where they are.
        await source.relock(tx, registry, transfer, told.evidence)
    row = await _find(tx, role, transfer)
    return row["state"] if row else unknown


async def _source(tx: Tx, registry: Registry, transfer: str, row: Row | None, told: Message) -> None:
    state = told.body["state"]
    if state in _ENDING:
        if row is None or row["state"] == "locked":
            await _void(tx, registry, transfer, row, told)
    elif row is not None or await source.relock(tx, registry, transfer, told.evidence):
        if state in _COMMITTED:
            await hearing.hear(tx, registry, transfer, SOURCE, told)
            row = await _find(tx, SOURCE, transfer)
            if row is not None and row["state"] == "locked":
                await source.debit_as_released(tx, registry, transfer, told.evidence)


async def _void(tx: Tx, registry: Registry, transfer: str, row: Row | None, told: Message) -> None:
    texts = await (source.void if row else source.void_unknown)(tx, [transfer])
    before = told.evidence.of_transfer(transfer, "voided", "transfer.voided", registry.code)
    if before is None:
        await outcomes.say(tx, registry, [Statement(transfer, "voided", texts[transfer], True)])
    else:
        item, jws = before
        await transfers.keep(tx, SOURCE, await post.witness(tx, jws), [(transfer, "voided", item.text)])


async def _acquirer(tx: Tx, registry: Registry, transfer: str, row: Row | None, told: Message) -> None:
    if told.body["state"] in ("accepted", "committing"):
        await acquirer.accept_again(tx, registry, transfer, row, told.evidence)
    else:
        await hearing.hear(tx, registry, transfer, ACQUIRER, told)


async def _serve_again(tx: Tx, registry: Registry, said_already: AbstractSet[str]) -> None:
    await backup.serve_again(tx)
    owed = await tx.rows("SELECT id, type, jws, content_type, body, leads FROM sent WHERE owed ORDER BY seq")
    old = [row for row in owed if segment(row["jws"].split(".")[0])["kid"] != registry.key.kid]
    await tx.execute("UPDATE sent SET owed = false WHERE id = ANY(%s)", [row["id"] for row in old])
    for row in old:
        if row["type"] == "link.keys":
            continue  # it announced another key than the one persons have confirmed since
        await _sign_anew(tx, registry, row, said_already)


async def _sign_anew(tx: Tx, registry: Registry, sent: Row, said_already: AbstractSet[str]) -> None:
    """Say under the new key what was owed under the old one (R16), as far as it is still true."""
    texts = envelope.texts_of(sent["content_type"], bytes(sent["body"]))
    step = sent["type"].removeprefix("transfer.")
    if step == sent["type"]:
        body = segment(sent["jws"].split(".")[1])["body"]
        await post.store(tx, registry, Draft(step, texts, body), owed=True, leads=sent["leads"])
        return
    role = SOURCE if step == "propose" else STATEMENTS[step][1]
    ids = [item["transfer"] for item in map(strictjson.loads, texts) if item["kind"] == step]
    rows = await transfers.lock(tx, role, set(ids) - said_already)
    stands = [t for t in ids if t in rows and step == hearing.LAST_WORDS.get((role, rows[t]["state"]), [""])[-1]]
    said = {t: text for (t, _), text in (await transfers.steps(tx, role, stands, [step])).items()}
    if said and step == "propose":
        await proposing.say_proposals(tx, registry, said)
    elif said:
        await outcomes.say(tx, registry, [Statement(t, step, text, False) for t, text in said.items()])
