"""What one registry process holds of logs: its keys, whose log it follows, and how its last looks went.

Everything here but the keys is forgotten when the process ends; what must be remembered is in the schema ``log``.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from .log_keys import Pinned
from .notes import Signer

#: What the operator has this registry feed to the gateway's witness.
Mode = Literal["honest", "fork", "rewrite"]


@dataclass
class Logs:
    """The logs of one registry."""

    #: Cosigns the gateway's checkpoints.
    witness: Signer
    #: Signs this registry's own log, where it keeps one.
    own: Signer | None = None
    #: Keys of the gateway's log; without them it is neither followed nor witnessed.
    pinned: Pinned | None = None
    #: Whether the own log is fed to the gateway's witness.
    fed: bool = False
    mode: Mode = "honest"
    #: Why the last look at the gateway's log brought nothing; empty where it did.
    problem: str = ""
    #: One look, and one feeding, at a time.
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    feeding: asyncio.Lock = field(default_factory=asyncio.Lock)
