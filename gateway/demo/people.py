"""Who may call the gateway of the demo: two administrators and a machine, synthetic like everything in it.

Their keys lie in the demo's folder, readable by its owner alone. Whoever is registered already stays as they are; a
key file that is lost since is an error that names it, not a new key.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from gateway import db
from gateway.access import commands, store
from gateway.access.commands import Wanted
from gateway.demo import KEY
from gateway.demo.members import GATEWAY
from gateway.domain.callers import EVERYTHING, Caller, Role, Scope
from gateway.messages.outbox import Node
from gateway.signing.keys import SoftwareKey

#: The machine that looks at the network; its key is in the file of the same name.
CLIENT = "demo-client"
_SCOPES = frozenset(scope for scope in Scope if scope.value.endswith(":read")) | {Scope.TRANSFERS_REQUEST}
_WANTED = {
    CLIENT: (None, _SCOPES),
    "demo-administrator-1": (Role.ADMINISTRATOR, frozenset[Scope]()),
    "demo-administrator-2": (Role.ADMINISTRATOR, frozenset[Scope]()),
}
#: Whoever runs the demo has its database.
_LOCAL = Caller("local", person=False, sight=EVERYTHING, scopes=frozenset(Scope), at_hand=True)


def key_file(folder: Path, name: str) -> Path:
    """Where the private key of one of them lies."""
    return folder / f"{name}.pem"


def introduce(folder: Path, dsn: str) -> str:
    """Register those who are not; the id by which the machine calls. ``dsn`` is the gateway's database."""
    return asyncio.run(_introduce(folder, dsn))


async def _introduce(folder: Path, dsn: str) -> str:
    node = Node(GATEWAY, SoftwareKey.load(folder / KEY), lambda: datetime.now(UTC))
    database = db.Database(dsn)

    async def work(tx: db.Tx) -> str:
        for name, (role, scopes) in _WANTED.items():
            if await store.named(tx, name) is None:
                wanted = Wanted(name, None, [_key(folder, name).public_jwk()], role=role, scopes=scopes)
                await commands.add(tx, node, _LOCAL, wanted)
        found = await store.named(tx, CLIENT)
        assert found is not None
        return found.id

    try:
        return await database.run(work, "access")
    finally:
        await database.close()


def _key(folder: Path, name: str) -> SoftwareKey:
    """A key of somebody who is not registered yet: the file may be there from a start that was broken off."""
    file = key_file(folder, name)
    if not file.exists():
        SoftwareKey.generate().save(file)
    return SoftwareKey.load(file)
