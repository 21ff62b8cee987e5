"""A sandbox registry that does not keep a rule: what the tests start to see that the fault then appears.

    python -m tests.rules.without R13[,R14] <the sandbox's own arguments>

replaces the one function, or the one entry of a table, that keeps a rule there (``RULES``), and is
``python -m connectors.sandbox`` in everything else. What each replacement does wrong is its docstring.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from connectors.sandbox import (
    accepting,
    acquirer,
    backup,
    books,
    clock,
    envelope,
    inbox,
    outcomes,
    source,
    status,
    transfers,
)
from connectors.sandbox.__main__ import main as run
from connectors.sandbox.database import Row, Tx
from connectors.sandbox.envelope import Message, Outgoing, Refusal
from connectors.sandbox.outcomes import Outcome, Statement
from connectors.sandbox.registry import Registry
from connectors.sandbox.retelling import Shown
from connectors.sandbox.sender import Sender
from connectors.sandbox.transfers import ACQUIRER, SOURCE

#: How old a message may be where age is a reason (R22).
TOO_OLD = timedelta(seconds=300)
#: Frees the units a transfer was proposed with (R14).
UNLOCK_THE_BLOCK = """
UPDATE holding h SET locked_by = NULL
  FROM step p, jsonb_array_elements(p.item::jsonb -> 'blocks') AS b, series s
 WHERE p.role = 'source' AND p.step = 'propose' AND p.transfer = ANY(%s) AND h.series = s.id
   AND s.registry = b -> 'origin' ->> 'registry' AND s.name = b -> 'origin' ->> 'series'
   AND h.first <= (b ->> 'last')::bigint AND h.last >= (b ->> 'first')::bigint
"""
#: Keeps a refusal (its id, type, JWS and body) as the answer to a message (its id and the hash of its body; R23).
KEEP_THE_REFUSAL = """
WITH kept AS (
  INSERT INTO received (id, sha256, jws_sha256, type, jws) VALUES (%s, %s, '', 'refused', '') RETURNING id
)
INSERT INTO sent (id, seq, type, content_type, jws, body, answers, owed)
SELECT %s::uuid, -1 - (SELECT count(*) FROM sent), %s, %s, %s, %s::bytea, kept.id, false FROM kept
"""

_advance_or_insert, _check_times, _closed_acquirer = acquirer._advance_or_insert, envelope.check_times, acquirer.closed
_closed_source, _debit, _put_back, _refusal = source.closed, books.debit, backup.put_back, inbox._refusal


async def commits_its_debit(tx: Tx, ids: Sequence[str]) -> Any:
    """R12: the debit is a transaction of its own, before the one that stores the release."""
    gone = await _debit(tx, ids)
    await tx.connection.commit()
    return gone


async def commits_what_is_void(tx: Tx, registry: Registry, message: Message) -> Sequence[Outcome]:
    """R13: ``void`` is forgotten when a commit comes: the units are locked again, as was proposed, and debited."""
    rows = await transfers.lock(tx, SOURCE, named(message))
    for transfer in [transfer for transfer, row in rows.items() if row["state"] == "void"]:
        await forget(tx, SOURCE, [transfer])
        await source.relock(tx, registry, transfer, message.evidence)
    return await source.commit(tx, registry, message)


async def cancels_by_block(tx: Tx, registry: Registry, message: Message) -> Sequence[Outcome]:
    """R14: a cancel frees the units of its transfer's proposal, whatever transfer has locked them."""
    await tx.execute(UNLOCK_THE_BLOCK, named(message))
    return await source.cancel(tx, registry, message)


async def puts_back_without_a_mark(tx: Tx, new_kid: str | None) -> None:
    """R15: a restored registry does not note that it has to ask first, and goes on at once."""
    await _put_back(tx, None)


async def withdraws_at_once(registry: Registry, sender: Sender, transfer: str) -> str:
    """R17: a withdrawal asks nobody."""

    async def void(tx: Tx) -> str:
        await transfers.lock(tx, SOURCE, [transfer])
        texts = await source.void(tx, [transfer])
        await outcomes.say(tx, registry, [Statement(transfer, "voided", texts[transfer], True)])
        return "void"

    return await registry.database.run("admin.withdraw", void)


async def decides_again(tx: Tx, registry: Registry, message: Message) -> Sequence[Outcome]:
    """R18: what was accepted and would be refused by now is closed here when its settle comes."""
    refused = (await accepting.policy(tx))["refuse_parties"]
    await tx.execute(
        "UPDATE transfer SET state = 'void' WHERE role = 'acquirer' AND state = 'accepted' AND transfer = ANY(%s)"
        " AND terms -> 'transferring' ->> 'party' = ANY(%s)",
        named(message),
        refused,
    )
    return await acquirer.settle(tx, registry, message)


async def closes_only_what_it_has(tx: Tx, rows: Mapping[str, Row], state: str, terms: Mapping[str, Any]) -> None:
    """R19: the end of a transfer that was never seen offered leaves no row."""
    known = {transfer: given for transfer, given in terms.items() if state != "void" or transfer in rows}
    await _advance_or_insert(tx, rows, state, known)


async def settles_what_it_has(tx: Tx, registry: Registry, message: Message) -> Sequence[Outcome]:
    """R20: a settle without an acceptance on record is refused, whatever it carries."""
    rows = await transfers.lock(tx, ACQUIRER, named(message))
    settle = acquirer.settle if rows.keys() == set(named(message)) else acquirer.refuse
    return await settle(tx, registry, message)


async def forgets_what_is_closed(tx: Tx, registry: Registry, message: Message) -> Sequence[Outcome]:
    """R21: a transfer is deleted as it is closed, and what its settle was answered with."""
    judged = await _closed_acquirer(tx, registry, message)
    await tx.execute(
        "UPDATE sent SET answers = NULL WHERE answers IN"
        " (SELECT message FROM step WHERE role = 'acquirer' AND step = 'settle' AND transfer = ANY(%s))",
        named(message),
    )
    await forget(tx, ACQUIRER, named(message))
    return judged


async def books_without_a_key(tx: Tx, into: Mapping[str, tuple[str, str]], quantities: Mapping[str, int]) -> None:
    """R21, R24: the books have a line of the crediting, and no key of the transfer."""
    await books.write_journal(tx, [("credit", t, *account, quantities[t]) for t, account in into.items()])


def refuses_by_age(message: Message) -> None:
    """R22: what was sent more than five minutes ago is refused, whatever it is."""
    _check_times(message)
    if datetime.fromisoformat(message.payload["sent_at"]) < clock.present() - TOO_OLD:
        raise Refusal(1009, "the message is too old", message.id, message.body_sha256)


async def keeps_a_refusal(registry: Registry, refusal: Refusal) -> Outgoing:
    """R23: a refusal is kept as the answer to the same bytes, though it is no verdict."""
    made = await _refusal(registry, refusal)
    kept = (refusal.message_id, refusal.sha256, made.id, made.type, made.content_type, made.jws, made.body)
    await registry.database.run("receive.refused", lambda tx: tx.execute(KEEP_THE_REFUSAL, *kept))
    return made


async def settles_every_message(tx: Tx, registry: Registry, message: Message) -> Sequence[Outcome]:
    """R24: a settle is known by its message id alone; under another id it is another one."""
    await forget(tx, ACQUIRER, named(message))
    return await acquirer.settle(tx, registry, message)


async def asks_nothing(registry: Registry, sender: Sender, *, at_once: bool = False) -> int:
    """R26: nobody asks."""
    return 0


async def shows_nothing(tx: Tx, statements: Sequence[Statement], answering: str | None = None) -> Shown:
    """R26: what is said again shows nothing of what it rests on."""
    return Shown()


async def forgets_what_is_done(tx: Tx, registry: Registry, message: Message) -> Sequence[Outcome]:
    """R27: a source deletes what is closed. It may, as long as the gateway does not."""
    judged = await _closed_source(tx, registry, message)
    await forget(tx, SOURCE, named(message))
    return judged


async def forget(tx: Tx, role: str, ids: Sequence[str]) -> None:
    """Delete rows and steps; the books and the messages stay."""
    for table in ("step", "transfer"):
        await tx.execute(f"DELETE FROM {table} WHERE role = %s AND transfer = ANY(%s)", role, list(ids))


def named(message: Message) -> list[str]:
    """The transfers a message is about."""
    return [item.value["transfer"] for item in message.own]


#: What takes the place of what, in a registry without a rule: the module or table, the name in it, and the new one.
RULES: Mapping[str, Sequence[tuple[Any, str, Callable[..., Any]]]] = {
    "R12": [(books, "debit", commits_its_debit)],
    "R13": [(inbox.HANDLERS, "transfer.commit", commits_what_is_void)],
    "R14": [(inbox.HANDLERS, "transfer.cancel", cancels_by_block)],
    "R15": [(backup, "put_back", puts_back_without_a_mark)],
    "R17": [(status, "withdraw", withdraws_at_once)],
    "R18": [(inbox.HANDLERS, "transfer.settle", decides_again)],
    "R19": [(acquirer, "_advance_or_insert", closes_only_what_it_has)],
    "R20": [(inbox.HANDLERS, "transfer.settle", settles_what_it_has)],
    "R21": [(acquirer, "closed", forgets_what_is_closed), (acquirer, "_book_entries", books_without_a_key)],
    "R21-rows": [(acquirer, "closed", forgets_what_is_closed)],
    "R22": [(envelope, "check_times", refuses_by_age)],
    "R23": [(inbox, "_refusal", keeps_a_refusal)],
    "R24": [
        (inbox.HANDLERS, "transfer.settle", settles_every_message),
        (acquirer, "_book_entries", books_without_a_key),
    ],
    "R26": [(status, "ask_waiting", asks_nothing)],
    "R26-evidence": [(outcomes, "_shown", shows_nothing)],
    "R27": [(source, "closed", forgets_what_is_done)],
}


def main() -> None:
    """Switch the rules off that the first argument names, and run the registry."""
    for rule in sys.argv.pop(1).split(","):
        for owner, name, other in RULES[rule]:
            assert name in (owner if isinstance(owner, dict) else vars(owner)), f"{rule} is kept elsewhere by now"
            if isinstance(owner, dict):
                owner[name] = other
            else:
                setattr(owner, name, other)
    run()


if __name__ == "__main__":
    main()
