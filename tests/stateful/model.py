"""The relay protocol as this test understands it: which rows may stand beside each other, and what books must say.

Written from the protocol's state tables, not from the code. As long as nobody has lost data, every transfer is in one
of the situations of ``BESIDE`` and moves along ``MOVES``. Whatever happens, the books obey ``books``; a registry that
fell back is judged again once it has asked the gateway, and one that fell back unnoticed cannot be judged alone.
Every function gives the sentences that are wrong, none where all is well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.stateful.books import ACQUIRER, GATEWAY, SOURCE, Books, Row

NONE = "-"
FINAL = {"completed", "refused", "rejected", "cancelled"}
UNHAPPY = FINAL - {"completed"}
#: The states of the gateway in which units may be on their way.
ON_THE_WAY = {"committing", "released", "attention"}
LOCKED_OR_VOID = {"locked", "void"}
OFFERED = {NONE, "offered", "accepted", "rejected"}

#: The gateway's state (``ending`` with its outcome): where the source and the acquirer may be meanwhile.
BESIDE: Mapping[str, tuple[set[str], set[str]]] = {
    "absent": (LOCKED_OR_VOID, {NONE}),
    "proposed": (LOCKED_OR_VOID, {NONE}),
    "checked": (LOCKED_OR_VOID, OFFERED),
    "accepted": (LOCKED_OR_VOID, {"accepted"}),
    "committing": ({"locked", "released", "void"}, {"accepted"}),
    "released": ({"released"}, {"accepted", "credited"}),
    "attention": ({"released"}, {"accepted", "credited"}),  # a settle that was refused
    "ending refused": (LOCKED_OR_VOID, {NONE}),
    "ending rejected": (LOCKED_OR_VOID, {"rejected"}),
    "ending cancelled": (LOCKED_OR_VOID, OFFERED),
    "completed": ({"released", "done"}, {"credited", "done"}),
    "refused": ({"void"}, {NONE}),
    "rejected": ({"void"}, {"rejected", "void"}),
    "cancelled": ({"void"}, OFFERED | {"void"}),
}
#: Node: state: the states that may come next.
MOVES: Mapping[str, Mapping[str, set[str]]] = {
    SOURCE: {NONE: {"locked"}, "locked": {"released", "void"}, "released": {"done"}, "done": set(), "void": set()},
    ACQUIRER: {
        NONE: {"offered", "void"},
        "offered": {"accepted", "rejected", "void"},
        "accepted": {"credited", "void"},
        "rejected": {"void"},
        "credited": {"done"},
        "done": set(),
        "void": set(),
    },
    GATEWAY: {
        "absent": {"proposed", "ending refused", "cancelled"},
        "proposed": {"checked", "ending refused", "ending cancelled", "cancelled"},
        "checked": {"accepted", "ending rejected", "ending cancelled", "cancelled"},
        "accepted": {"committing", "ending cancelled", "cancelled"},
        "committing": {"released", "cancelled"},
        "released": {"completed", "attention"},
        "attention": {"completed", "released"},
        **{f"ending {outcome}": {outcome} for outcome in UNHAPPY},
        **{state: set() for state in FINAL},
    },
}


@dataclass(frozen=True)
class Loss:
    """Who has lost data in this example, if anybody; at most one does."""

    who: str = ""
    #: Those who run it know that it fell back, and it asks before it serves.
    known: bool = False
    #: It has not asked yet.
    down: bool = False
    #: Transfers that were closed before: about these nobody asks, only reconciliation finds what is wrong.
    closed: frozenset[str] = frozenset()

    def judges(self, code: str) -> bool:
        """Whether a registry's own book can be held against the others'."""
        return self.who != code or (self.known and not self.down)

    @property
    def silent(self) -> bool:
        """A registry fell back and nobody noticed: that cannot be masked, only seen."""
        return bool(self.who) and self.who != GATEWAY and not self.known


Units = Mapping[str, frozenset[int]]


def situations(now: Books) -> Iterator[str]:
    """Rows that may not stand beside each other while nobody has lost data."""
    for transfer in now.transfers:
        s, a = now.source.rows.get(transfer, NONE), now.acquirer.rows.get(transfer, NONE)
        source, acquirer = BESIDE[_state(now.gateway.rows.get(transfer))]
        if s not in source or a not in acquirer or (a in ("credited", "done")) > (s in ("released", "done")):
            yield f"these states do not go together: {now.line(transfer)}"
        row = now.gateway.rows.get(transfer)
        if row is not None and row.told_source and s not in ("done", "void"):
            yield f"the source was told, and does not know: {now.line(transfer)}"
        if row is not None and row.told_acquirer and a not in ("done", "void"):
            yield f"the acquirer was told, and does not know: {now.line(transfer)}"


def moves(before: Books, now: Books) -> Iterator[str]:
    """Rows that went where the tables have no way, while nobody has lost data."""
    for transfer in before.transfers:
        for code, old, new in (
            (SOURCE, before.source.rows.get(transfer, NONE), now.source.rows.get(transfer, NONE)),
            (GATEWAY, _state(before.gateway.rows.get(transfer)), _state(now.gateway.rows.get(transfer))),
            (ACQUIRER, before.acquirer.rows.get(transfer, NONE), now.acquirer.rows.get(transfer, NONE)),
        ):
            if new not in _reached(MOVES[code], old):
                yield f"{code} went from {old} to {new}: {now.line(transfer)}"


def decided(before: Books, now: Books) -> Iterator[str]:
    """I5: outcomes of the gateway that changed."""
    for transfer, row in before.gateway.rows.items():
        if row.state in FINAL and now.state(transfer) != row.state:
            yield f"a closed transfer moved from {row.state}: {now.line(transfer)}"


def books(now: Books, loss: Loss, units: Units) -> Iterator[str]:
    """I1 to I4 on the three books."""
    yield from _two_places(now, loss)
    yield from _no_place(now, loss, units)
    yield from _closed_is_true(now, loss, units)
    yield from _own_book(now, units)
    for transfer, row in now.gateway.rows.items():
        if row.has_commit and row.has_cancel and loss.who != GATEWAY:
            yield f"I4: a commit and a cancel are stored: {now.line(transfer)}"


def _two_places(now: Books, loss: Loss) -> Iterator[str]:
    both = now.source.units.keys() & now.acquirer.units.keys()
    if both and loss.judges(SOURCE):
        yield f"I1: units {sorted(both)} are at both registries"
    for transfer, row in now.source.rows.items():
        locked = {unit for unit, by in now.source.units.items() if by == transfer}
        if locked != (now.source.proposed[transfer] if row == "locked" else set()):
            yield f"the lock of {now.line(transfer)} holds {sorted(locked)}"


def _no_place(now: Books, loss: Loss, units: Units) -> Iterator[str]:
    """I2: a unit that is at neither registry is on its way, or the gateway has lost where it is."""
    if not (loss.judges(SOURCE) and loss.judges(ACQUIRER)):
        return
    for unit in now.gateway.units.keys() - now.source.units.keys() - now.acquirer.units.keys():
        about = [t for t in now.transfers if unit in units[t] and now.source.rows.get(t) not in ("void", "locked")]
        if not any(now.state(t) in ON_THE_WAY or (loss.who and now.state(t) not in UNHAPPY) for t in about):
            yield f"I2: unit {unit} is nowhere: {[now.line(t) for t in about]}"


def _closed_is_true(now: Books, loss: Loss, units: Units) -> Iterator[str]:
    """I3: what the gateway calls closed is so in the registries' books."""
    here, there = now.source.units, now.acquirer.units
    for transfer, row in now.gateway.rows.items():
        mine, about = units[transfer], now.line(transfer)
        if row.state == "completed":
            if loss.judges(SOURCE) and mine & here.keys():
                yield f"I3: completed, and not debited: {about}"
            if loss.judges(ACQUIRER) and not mine <= there.keys():
                yield f"I3: completed, and not credited: {about}"
        elif row.state in UNHAPPY:
            if loss.judges(SOURCE) and now.source.rows.get(transfer) in ("locked", "released", "done"):
                yield f"I3: {row.state}, and not void at the source: {about}"
            if transfer in now.acquirer.credited:
                yield f"I3: {row.state}, and credited: {about}"


def _own_book(now: Books, units: Units) -> Iterator[str]:
    """The gateway's book by itself: a unit has one place, completed transfers alone move it, live ones claim it."""
    moved = [unit for t, row in now.gateway.rows.items() if row.state == "completed" for unit in units[t]]
    if len(set(moved)) < len(moved):
        yield "two completed transfers moved the same units"
    for unit, places in now.gateway.units.items():
        if places != (ACQUIRER if unit in moved else SOURCE,):
            yield f"the gateway's book has unit {unit} in {places}"
    for transfer, claimed in now.gateway.claims.items():
        if now.state(transfer) in FINAL or claimed != units[transfer]:
            yield f"the gateway's claim on {sorted(claimed)}: {now.line(transfer)}"
    twice = [unit for t in now.acquirer.credited for unit in units[t]]
    if len(set(twice)) < len(twice):
        yield "I1: units were credited twice"


def at_rest(now: Books, loss: Loss, units: Units, settle_refused: bool) -> Iterator[str]:
    """What must be true when nothing is due any more, with everybody up and nothing lost on the way."""
    excused = {t for t in now.transfers if loss.who and _excused(now, loss, t)}
    for transfer in set(now.transfers) - excused:
        if not _closed(now, transfer):
            yield f"not closed: {now.line(transfer)}"
    outside = {unit for transfer in excused for unit in units[transfer]}
    for unit, places in now.gateway.units.items():
        found = tuple(r for r, at in ((SOURCE, now.source), (ACQUIRER, now.acquirer)) if unit in at.units)
        if unit not in outside and found != places:
            yield f"unit {unit} is in {places} by the gateway's book, and in {found} by the registries'"
    if not loss.who:
        alarms = {SOURCE: now.source.alarms, ACQUIRER: now.acquirer.alarms}
        alarms |= {} if settle_refused else {GATEWAY: now.gateway.alarms}
        yield from (
            f"I8: an alarm at {who}, and nobody lost data: {found}" for who, all in alarms.items() for found in all
        )


def _closed(now: Books, transfer: str) -> bool:
    s, a = now.source.rows.get(transfer, NONE), now.acquirer.rows.get(transfer, NONE)
    row = now.gateway.rows.get(transfer)
    if row is None or row.is_due or row.state not in FINAL:
        return False
    return s == a == "done" if row.state == "completed" else s in ("void", NONE) and a in ("void", NONE)


def _excused(now: Books, loss: Loss, transfer: str) -> bool:
    """A transfer whose end lost data has taken away, or that persons look at: allowed, its units are not compared."""
    s, a = now.source.rows.get(transfer, NONE), now.acquirer.rows.get(transfer, NONE)
    state = now.state(transfer)
    if state == "attention" or transfer in loss.closed:
        return True
    if state == "absent":
        return s == a == "done" or (s in (NONE, "void") and a in (NONE, "void"))
    seen = {t for alarms in (now.source.alarms, now.gateway.alarms, now.acquirer.alarms) for t, _ in alarms}
    return loss.silent and transfer in seen


def _state(row: Row | None) -> str:
    if row is None:
        return "absent"
    return f"ending {row.outcome}" if row.state == "ending" else row.state


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """The states that can be reached in any number of moves, none included."""
    found, new = {start}, {start}
    while new:
        new = {after for state in new for after in graph[state]} - found
        found |= new
    return found
