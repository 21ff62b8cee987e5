"""Who may call the gateway of the demo: administrators, a machine, Korea's operator; synthetic like everything in it.

Their keys lie in the demo's folder, readable by its owner alone. Whoever is registered already stays as they are; a
key file that is lost since is an error that names it, not a new key.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from gateway import db
from gateway.access import commands, store
from gateway.access.commands import Wanted
from gateway.approvals import commands as approvals
from gateway.approvals.commands import Act
from gateway.approvals.store import State
from gateway.demo import KEY
from gateway.demo.members import GATEWAY
from gateway.domain.callers import EVERYTHING, Caller, Role, Scope
from gateway.errors import invariant
from gateway.messages.outbox import Node
from gateway.signing.keys import SoftwareKey
from gateway.wiring import EXECUTORS

#: The machine that looks at the network; its key is in the file of the same name.
CLIENT = "demo-client"
#: Of whom one asks for what takes two and the other approves it.
ADMINISTRATORS = ("demo-administrator-1", "demo-administrator-2")
#: Who is registered by those two (``rights``).
KOREAN = "demo-operator-korea"
_SCOPES = frozenset(scope for scope in Scope if scope.value.endswith(":read"))
_SCOPES |= {Scope.TRANSFERS_REQUEST, Scope.RECONCILIATION_RUN}
_WANTED = {
    CLIENT: (None, _SCOPES),
    **dict.fromkeys(ADMINISTRATORS, (Role.ADMINISTRATOR, frozenset[Scope]())),
}
#: Whoever runs the demo has its database.
_LOCAL = Caller("local", person=False, sight=EVERYTHING, scopes=frozenset(Scope), at_hand=True)


def key_file(folder: Path, name: str) -> Path:
    """Where the private key of one of them lies."""
    return folder / f"{name}.pem"


def introduce(folder: Path, dsn: str) -> dict[str, str]:
    """Register those who are not; the ids by which they call. ``dsn`` is the gateway's database."""
    return asyncio.run(_introduce(folder, dsn))


async def _introduce(folder: Path, dsn: str) -> dict[str, str]:
    node = Node(GATEWAY, SoftwareKey.load(folder / KEY), lambda: datetime.now(UTC))
    database = db.Database(dsn)

    async def work(tx: db.Tx) -> dict[str, str]:
        ids = {}
        for name, (role, scopes) in _WANTED.items():
            if not await store.by_name(tx, name):
                wanted = Wanted(name, None, [made_key(folder, name).public_jwk()], role=role, scopes=scopes)
                await commands.add(tx, node, _LOCAL, wanted)
            [found] = await store.by_name(tx, name)
            ids[name] = found.id
        return ids

    try:
        return await database.run(work, "access")
    finally:
        await database.close()


async def decide(tx: db.Tx, node: Node, act: Act) -> None:
    """Let one administrator ask for an act and the other approve it."""
    one, two = [caller for name in ADMINISTRATORS for caller in await store.by_name(tx, name)]
    asked = await approvals.request(tx, node, one, act)
    done = await approvals.approve(tx, node, two, asked.id, asked.sha256, EXECUTORS)
    invariant(done.state is State.APPROVED, f"{act.kind} is {done.state}: {done.reason}")


def made_key(folder: Path, name: str) -> SoftwareKey:
    """A key of somebody who is not registered yet: the file may be there from a start that was broken off."""
    file = key_file(folder, name)
    if not file.exists():
        SoftwareKey.generate(demo=True).save(file)
    return SoftwareKey.load(file)
