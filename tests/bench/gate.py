"""Whether a run counts: accepted = logged = receipted = completed, all recorded, the books agree, no one refused.

A figure of a run in which something was lost, refused or left open would be the figure of another program. Judged at
rest, over the transfers that came in since the run began, by the gateway's tables and by the registries' own books.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.bench.network import Member, Network

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
    #: What is to be recorded in sections; what is, by the gateway's rows; and of all runs, by both sides' rows.
    to_record: int = 0
    recorded: int = 0
    records: tuple[int, int] = (0, 0)
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
    if counts.recorded != counts.to_record:
        found.append(f"{counts.to_record} actions were to be recorded, {counts.recorded} were")
    if len(set(counts.records)) > 1:
        found.append("the gateway knows of {} records, the sections have {}".format(*counts.records))
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
_TO_RECORD = """
SELECT count(*) FROM transfer t JOIN link_registry r ON r.party IN (t.transferring_party, t.acquiring_party)
  JOIN link l ON l.code = r.link AND l.kind = 'international' WHERE t.created_at >= %s
"""
_RECORDED = (
    "SELECT count(*) FILTER (WHERE at >= %s), count(*) FROM action_record WHERE (kind, state) = ('record', 'recorded')"
)
_REFUSED = """
SELECT (SELECT count(*) FROM log_entry WHERE at >= %s AND kind = 'refused')
     + (SELECT count(*) FROM message WHERE at >= %s AND type = 'refusal')
"""


def counted(network: Network, transfers: int, since: datetime) -> Counts:
    """Count what became of the transfers that came in since then."""
    receipted, completed = network.rows(_OF_ROWS, since)[0]
    books = network.books()
    recorded, records = network.rows(_RECORDED, since)[0]
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
        to_record=network.value(_TO_RECORD, since),
        recorded=recorded,
        records=(records, sum(said.get("records", {}).get("count", 0) for said in own.values())),
        disagreeing=tuple(m.code for m in network.members if _differs(own[m.code], m, books)),
        alarms=network.value("SELECT count(*) FROM alarm") + sum(len(said["alarms"]) for said in own.values()),
        refused=network.value(_REFUSED, since, since),
    )


def _differs(said: dict[str, Any], member: Member, books: dict[str, Any]) -> bool:
    rows = [row for row in books["registries"] if row["registry"] in member.books]
    return any(said[name] != sum(row[name] for row in rows) for name in SAME)


def _done(network: Network, role: str, since: datetime) -> int:
    """Transfers of the run that are over in a registry's own rows."""
    ids = [t for (t,) in network.rows("SELECT id FROM transfer WHERE created_at >= %s", since)]
    over = "SELECT count(*) FROM transfer WHERE role = %s AND state = 'done' AND transfer = ANY(%s)"
    sandboxes = [m.code.lower() for m in network.members if not m.played]
    played = [set(network.admin(m.code, "GET", "books")["done"]) for m in network.members if m.played]
    here = sum(len(done.intersection(ids)) for done in played) if role == "source" else 0
    return here + sum(network.value(over, role, ids, of=name) for name in sandboxes)
