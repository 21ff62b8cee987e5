"""Checks of what first transferring Parties are told of uses and cancellations of their units in others' books.

What a notification should say is read here once more from the registry's signed notice.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.doctor.report import Remark, finding
from gateway.doctor.scene import Scene
from gateway.domain import wire
from gateway.errors import GatewayError


def disposals_notified(disposal: Any, _scene: Scene) -> Iterable[Remark]:
    """Every use or cancellation of another Party's units has its notification of that Party, with all these units."""
    about: dict[str, str | int] = {"action": disposal.action, "party": disposal.host, "entry": disposal.entry_id}
    if disposal.notified is None:
        yield finding("its notification is missing", **about)
    elif disposal.notified != disposal.quantity:
        yield finding(f"{disposal.notified:,} of its {disposal.quantity:,} units are notified", **about)


def notification_texts(record: Any, _scene: Scene) -> Iterable[Remark]:
    """A notification is the notice with the units of its Party alone, for whoever keeps that Party's books."""
    if record.kind != "notification":
        return
    about: dict[str, str | int] = {"notification": record.action, "party": record.party}
    if record.link is not None and (record.section_party, record.section_link) != (record.party, record.link):
        yield finding(f"{record.section} keeps no books of {record.party} in {record.link}", **about)
    if record.completed != record.entry_id:
        yield finding(f"entry {record.entry_id} applied no such notice", **about)
        return
    try:
        said, notice = json.loads(record.item), json.loads(record.notice)
        theirs = [b for b in notice["blocks"] if b["attributes"]["first_transferring_party"] == record.party]
        if said != {**notice, "blocks": theirs} or not theirs or record.party == notice["party"]:
            yield finding("its text is not the notice of these units", **about)
        for name, value in _columns(said).items():
            if getattr(record, name) != value:
                yield finding(f"its row has {name} {getattr(record, name)}, its text has {str(value)[:100]}", **about)
    except (KeyError, TypeError, ValueError, AttributeError, GatewayError) as error:
        yield finding(f"its text cannot be read as such a notice: {error!r}"[:200], **about)


def _columns(said: Mapping[str, Any]) -> dict[str, object]:
    """What the row should have by which it is found."""
    return {
        "action": f"{said['registry']}/{said['action']}",
        "type": said["type"].capitalize(),
        "at": wire.parse_time(said["at"]),
        "quantity": sum(block["last"] - block["first"] + 1 for block in said["blocks"]),
        "block_count": len(said["blocks"]),
    }
