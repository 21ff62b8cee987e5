"""Checks of what the steps of a transfer rest on: the statements that ours name, and the persons who decided.

Of a transfer whose events show that the gateway had lost data, a statement of ours from before may name what was
said before: that is a note. A row rebuilt as a whole has everything from the same hands, and everything must fit.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.doctor.report import Remark, finding, note
from gateway.doctor.scene import Scene
from gateway.doctor.transfers import Case
from gateway.domain.transfers import Event

#: Statement of ours → its members that are hashes → the step whose item has that hash.
_NAMES: Mapping[str, Mapping[str, str]] = {
    "offer": {"proposal": "propose"},
    "commit": {"proposal": "propose", "answer": "answer"},
    "settle": {"proposal": "propose", "answer": "answer", "release": "released"},
}


def chain(case: Case, _scene: Scene) -> Iterable[Remark]:
    """Our offer, commit and settle name the statements kept, by their hashes, and rest on an acceptance."""
    remark = note if case.course.lost_data else finding
    for step, members in _NAMES.items():
        if step not in case.steps:
            continue
        said = _read(case, step)
        for member, named in members.items():
            if named in case.hashes and said.get(member) != case.hashes[named]:
                what = f"its {step!r} names another {member} than the {named!r} that is kept"
                yield remark(what, transfer=case.row.id, entry=case.steps[step])
        if "answer" in members and "answer" in case.steps and _read(case, "answer").get("answer") != "accepted":
            what = f"its {step!r} rests on an answer that does not accept"
            yield remark(what, transfer=case.row.id, entry=case.steps[step])


def _read(case: Case, step: str) -> Mapping[str, Any]:
    """What a statement says; nothing where it is not of the protocol, which other checks say."""
    try:
        said = json.loads(case.texts[step])
    except (KeyError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def resumptions(case: Case, _scene: Scene) -> Iterable[Remark]:
    """A transfer that waited for persons asks again only when two of them have decided that, as it then stood."""
    approved = set(case.columns["resumptions"] or ())
    for happened in case.events:
        if happened.event == Event.RESUMED.value and happened.version - 1 not in approved:
            yield finding("no two persons had decided that it be resumed", transfer=case.row.id, entry=happened.entry)
