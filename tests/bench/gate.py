"""Whether a run counts: accepted = logged = receipted = completed, the books agree, nobody was refused or alarmed.

A figure of a run in which something was lost, refused or left open would be the figure of another program. Judged at
rest, over the transfers that came in since the run began, by the gateway's tables and by the registries' own books.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.bench.network import Network

#: What is kept of a completed transfer, each with a message in the log.
STEPS = ("propose", "offer", "answer", "commit", "released", "settle", "credited", "closed-source", "closed-acquirer")
#: What a registry says of itself that the gateway's book says of it too.
SAME = ("issued", "held", "used", "cancelled", "moved_in", "moved_out")


@dataclass(frozen=True, slots=True)
class Counts:
    """What was found of a run."""

    proposed: int
    accepted: int
    logged: int
    receipted: int
    completed: int
    #: By the registries' own rows.
    done_at_source: int
    done_at_acquirers: int
    conservation: str
    #: Registries whose books are not what the gateway's book says of them.
    disagreeing: tuple[str, ...] = ()
    alarms: int = 0
    refused: int = 0


def failures(counts: Counts) -> list[str]:
    """Why a run does not count; nothing for one that does."""
    found = []
    for name in ("accepted", "logged", "receipted", "completed", "done_at_source", "done_at_acquirers"):
        if getattr(counts, name) != counts.proposed:
            found.append(f"{counts.proposed} transfers were proposed, {getattr(counts, name)} {name}")
    if not counts.proposed:
        found.append("no transfer was proposed")
    if counts.conservation != "holds":
        found.append(f"conservation is {counts.conservation}")
    found += [f"the books of {code} are not those of the gateway" for code in counts.disagreeing]
    found += [f"{counts.alarms} alarms"] if counts.alarms else []
    found += [f"{counts.refused} messages were refused"] if counts.refused else []
    return found


class Failed(Exception):
    """A run does not count."""


def require(network: Network, transfers: int, since: datetime, what: str) -> None:
    """Raise ``Failed``, saying why, unless the run that began at ``since`` counts."""
    if found := failures(counted(network, transfers, since)):
        raise Failed(f"{what} does not count: {'; '.join(found)}")


_OF_ROWS = """
SELECT count(*) FILTER (WHERE told_source_at IS NOT NULL AND told_acquirer_at IS NOT NULL),
       count(*) FILTER (WHERE state = 'completed') FROM transfer WHERE created_at >= %s
"""
_ACCEPTED = """
SELECT count(*) FROM transfer t JOIN transfer_step s ON s.transfer_id = t.id AND s.step = 'answer'
WHERE t.created_at >= %s AND s.item::jsonb ->> 'answer' = 'accepted'
"""
_LOGGED = """
SELECT count(*) FROM (
  SELECT t.id FROM transfer t JOIN transfer_step s ON s.transfer_id = t.id
    JOIN message m ON m.entry_id = s.entry_id JOIN log_entry l ON l.id = m.entry_id
  WHERE t.created_at >= %s AND s.step = ANY(%s) GROUP BY t.id HAVING count(*) = %s
) whole
"""
_REFUSED = """
SELECT (SELECT count(*) FROM log_entry WHERE at >= %s AND kind = 'refused')
     + (SELECT count(*) FROM message WHERE at >= %s AND type = 'refusal')
"""


def counted(network: Network, transfers: int, since: datetime) -> Counts:
    """Count what became of the transfers that came in since then."""
    receipted, completed = network.rows(_OF_ROWS, since)[0]
    books = network.books()
    of_gateway = {row["registry"]: row for row in books["registries"]}
    own = {m.code: network.admin(m.code, "GET", "books") for m in network.members}
    return Counts(
        proposed=transfers,
        accepted=network.value(_ACCEPTED, since),
        logged=network.value(_LOGGED, since, list(STEPS), len(STEPS)),
        receipted=receipted,
        completed=completed,
        done_at_source=_done(network, "source", since),
        done_at_acquirers=_done(network, "acquirer", since),
        conservation=books["conservation"],
        disagreeing=tuple(code for code, said in own.items() if _differs(said, of_gateway.get(code, {}))),
        alarms=network.value("SELECT count(*) FROM alarm") + sum(len(said["alarms"]) for said in own.values()),
        refused=network.value(_REFUSED, since, since),
    )


def _differs(said: dict[str, Any], book: dict[str, Any]) -> bool:
    return any(said[name] != book.get(name, 0) for name in SAME)


def _done(network: Network, role: str, since: datetime) -> int:
    """Transfers of the run that are over in a registry's own rows."""
    ids = [t for (t,) in network.rows("SELECT id FROM transfer WHERE created_at >= %s", since)]
    over = "SELECT count(*) FROM transfer WHERE role = %s AND state = 'done' AND transfer = ANY(%s)"
    sandboxes = [m.code.lower() for m in network.members if not m.played]
    played = [set(network.admin(m.code, "GET", "books")["done"]) for m in network.members if m.played]
    here = sum(len(done.intersection(ids)) for done in played) if role == "source" else 0
    return here + sum(network.value(over, role, ids, of=name) for name in sandboxes)
