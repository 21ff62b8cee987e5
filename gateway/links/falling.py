"""What falls with a key that somebody else may have used: the keys announced under it, and the ends it gave to others.

A key is worth what vouched for it. So what a key has announced since it is no longer believed is revoked with it, and
what those have announced in turn, whenever that came; a key they gave an end counts again until the end it had without
them. Who signed what is read from the log, in its order: announcements are applied one at a time
(``key_store.change_keys_alone``), so a key is in the log before what it signs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gateway.links.key_store import Word
from gateway.signing.trust import PeerKey


@dataclass(frozen=True, slots=True)
class Fall:
    """Which keys are revoked with one, and until when others count again (None: without an end)."""

    keys: Sequence[str] = ()
    reopened: Mapping[str, datetime | None] = field(default_factory=dict)

    @property
    def written(self) -> dict[str, Any]:
        """As it is approved and answered: JSON."""
        ends = {kid: end.isoformat() if end else None for kid, end in self.reopened.items()}
        return {"also": list(self.keys), "reopened": ends}


def with_key(kid: str, since: datetime, words: Sequence[Word], present: Sequence[PeerKey]) -> Fall:
    """What falls with ``kid``, not believed ``since`` then, of a link with these keys and ``words`` in the log."""
    fallen, ends = {kid: None}, dict[str, datetime | None]()  # a dict keeps the order of the log
    for word in words:
        believed = word.signed_by not in fallen or (word.signed_by == kid and word.at < since)
        if believed:
            ends[word.kid] = word.not_after
        elif word.registers:
            fallen[word.kid] = None
    standing = {key.kid: key.not_after for key in present if key.revoked_at is None}
    reopened = {k: ends[k] for k, end in standing.items() if k not in fallen and ends.get(k, end) != end}
    return Fall([k for k in fallen if k in standing and k != kid], reopened)
