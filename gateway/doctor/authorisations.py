"""Checks of authorisations: what was drawn on each, by whom, who has given back, and that what is kept was told."""

from collections.abc import Iterable
from typing import Any

from gateway.doctor.report import Remark, finding
from gateway.doctor.scene import Scene
from gateway.domain.transfers import FINAL, State

_FINAL = frozenset(state.value for state in FINAL)


def drawn(found: Any, _scene: Scene) -> Iterable[Remark]:
    """What was drawn on an authorisation is what its transfers and actions have drawn, and within its quantity.

    Of its last version: none is taken that authorises less than has moved already (5107).
    """
    about = {"party": found.party, "authorisation": found.name}
    if found.drawn != found.relied + found.acted:
        what = f"{found.relied:,} by transfers and {found.acted:,} by actions"
        yield finding(f"{found.drawn:,} units are noted as drawn, {what} were", **about)
    if found.quantity is not None and found.drawn > found.quantity:
        yield finding(f"{found.drawn:,} units were drawn, {found.quantity:,} are authorised", **about)
    if found.versions is not None and found.versions != list(range(1, len(found.versions) + 1)):
        yield finding(f"its versions are {', '.join(map(str, found.versions))}", **about)


def reliances(found: Any, _scene: Scene) -> Iterable[Remark]:
    """A transfer that ended without a release has given back what it had drawn when it ended, and no other has."""
    about = {"transfer": found.transfer_id, "authorisation": found.name}
    ended = found.state in _FINAL and found.state != State.COMPLETED.value
    if ended and found.returned_by is None:
        yield finding(f"it is {found.state}, and has not given back {found.drawn:,} units", **about)
    elif ended and found.returned_by != found.last_entry:
        what = f"it was {found.state} by entry {found.last_entry}"
        yield finding(f"{what}, and has given back by entry {found.returned_by}", **about)
    elif not ended and found.returned_by is not None:
        yield finding(f"it is {found.state or 'not there'}, and has given back {found.drawn:,} units", **about)


def told(found: Any, _scene: Scene) -> Iterable[Remark]:
    """Every version and every revocation of an authorisation was told as it is kept, by whom it says."""
    if not found.said:
        what = "its revocation" if found.version is None else f"its version {found.version}"
        about = {"party": found.party, "authorisation": found.name, "entry": found.entry_id}
        yield finding(f"{what} was not told like this by {found.told_by}", **about)
