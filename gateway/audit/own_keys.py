"""The keys of our log through the years: the first, the next, and those whose checkpoints are still to be verified.

The first keys that ever start register themselves. Later ones are added first, so that everybody can learn of them
(``GET /log/keys``) before they sign; then processes start with them, and the earlier ones are retired. What a retired
key signed stays good: its keys are shown for ever, with their time. Each change is an entry of the log.

Fails with ``GatewayError``: CONFLICT for what may not be now, NOT_FOUND for keys that are none of ours.
"""

from dataclasses import dataclass
from datetime import datetime

from gateway import db
from gateway.audit import log, store
from gateway.audit.store import LogKeys
from gateway.errors import GatewayError, Kind
from gateway.signing.log_keys import LogKey

#: Keys that may sign at the same time: those in use, and those that come after them.
MAX_KEYS = 4


def origin_of(code: str) -> str:
    """What the log of a gateway is called that was given no name of its own; nothing is reached under it."""
    return f"{code.lower()}.article6-gateway.invalid/log"


def witness_of(origin: str) -> str:
    """The name of a log's keeper as a witness."""
    return f"{origin.removesuffix('/log')}/witness"


@dataclass(frozen=True, slots=True)
class Identity:
    """Under which names and with which keys this gateway keeps its log and witnesses those of others."""

    origin: str
    witness: str
    key: LogKey


async def start(tx: db.Tx, own: Identity, now: datetime) -> None:
    """Let a process sign checkpoints; raises CONFLICT for keys that were never added, or are retired."""
    await store.change_alone(tx)
    known = await store.keys(tx)
    if not known:
        await _register(tx, own, now)
        return
    found = next((keys for keys in known if keys.id == own.key.id), None)
    if found is None:
        raise GatewayError(Kind.CONFLICT, f"log keys {own.key.id} were never added; 'gateway keys log add' does that")
    if found.retired_at is not None:
        raise GatewayError(Kind.CONFLICT, f"log keys {own.key.id} are retired")
    if found.vkeys != _vkeys(own):
        raise GatewayError(Kind.CONFLICT, f"the log began as {found.vkeys[0].partition('+')[0]} and keeps its name")


async def add(tx: db.Tx, own: Identity, now: datetime) -> None:
    """Add the keys that will sign next; raises CONFLICT for known ones, and where too many could sign."""
    await store.change_alone(tx)
    known = await store.keys(tx)
    if any(keys.id == own.key.id for keys in known):
        raise GatewayError(Kind.CONFLICT, f"log keys {own.key.id} are known already")
    if sum(keys.retired_at is None for keys in known) >= MAX_KEYS:
        raise GatewayError(Kind.CONFLICT, f"at most {MAX_KEYS} may sign: retire earlier ones first")
    await _register(tx, own, now)


async def retire(tx: db.Tx, id: str, now: datetime) -> None:
    """Let keys sign no more; raises CONFLICT for the last that may."""
    await store.change_alone(tx)
    known = await store.keys(tx)
    found = next((keys for keys in known if keys.id == id), None)
    if found is None:
        raise GatewayError(Kind.NOT_FOUND, f"no log keys {id} are known")
    if found.retired_at is not None:
        raise GatewayError(Kind.CONFLICT, f"log keys {id} are retired already")
    if sum(keys.retired_at is None for keys in known) == 1:
        raise GatewayError(Kind.CONFLICT, "these are the only keys that may sign: add others first")
    [entry_id] = await log.append(tx, [log.draft("log-key.retired", now, {"key": id})])
    await store.retire_key(tx, id, now, entry_id)


def _vkeys(own: Identity) -> tuple[str, ...]:
    return tuple(verifier.vkey for verifier in own.key.verifiers(own.origin))


async def _register(tx: db.Tx, own: Identity, now: datetime) -> None:
    record = {"key": own.key.id, "vkeys": list(_vkeys(own))}
    [entry_id] = await log.append(tx, [log.draft("log-key.registered", now, record)])
    await store.add_key(tx, LogKeys(own.key.id, _vkeys(own), now, None), entry_id)
