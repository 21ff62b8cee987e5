"""Links the registries of the demo: each is registered with its keys and its books, then opens its link itself."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx

from gateway import db
from gateway.approvals.commands import Act
from gateway.audit import cosigning, witness, witness_store
from gateway.audit.witness_store import Watched, Witness
from gateway.demo import KEY, people
from gateway.demo.members import GATEWAY, Member
from gateway.domain.addresses import LOOPBACK, Reach
from gateway.domain.callers import EVERYTHING
from gateway.errors import GatewayError, Kind
from gateway.links import changing, commands, store
from gateway.links.lifecycle import State, Step
from gateway.links.store import Link
from gateway.messages.outbox import Node
from gateway.signing import notes
from gateway.signing.keys import SoftwareKey


def jwks(folder: Path, code: str) -> Path:
    """Where the public keys of a system lie, pinned by all others."""
    return folder / f"{code}.jwks.json"


def vkeys(folder: Path, code: str, what: str) -> Path:
    """Where the C2SP keys lie with which a system signs its ``log``, or as a ``witness`` those of others."""
    return folder / f"{code}.{what}.vkeys"


def establish(http: httpx.Client, folder: Path, members: Sequence[Member], urls: Mapping[str, str], dsn: str) -> None:
    """Pin every registry's keys, register it at its address, and let it activate its link, where that is open.

    ``dsn`` is the gateway's database. Raises UNAVAILABLE when a registry gets no receipt for its opening.
    """

    def pin(member: Member) -> None:
        keys = http.get(f"{urls[member.code]}/keys").raise_for_status().json()
        jwks(folder, member.code).write_text(json.dumps(keys))
        cosigner = http.get(f"{urls[member.code]}/witness/keys").raise_for_status().text
        vkeys(folder, member.code, "witness").write_text(cosigner)
        if member.keeps_log:
            shown = http.get(f"{urls[member.code]}/log/keys").raise_for_status().json()
            vkeys(folder, member.code, "log").write_text("".join(f"{one['vkey']}\n" for one in shown["keys"]))

    def activate(code: str) -> None:
        answer = http.post(f"{urls[code]}/admin/activate").raise_for_status().json()
        if not answer["receipted"]:
            raise GatewayError(Kind.UNAVAILABLE, f"{code} got no receipt for its link.activate")

    with ThreadPoolExecutor(len(members)) as side_by_side:
        list(side_by_side.map(pin, members))
        states = asyncio.run(_register(folder, members, urls, dsn))
        list(side_by_side.map(activate, [m.code for m in members if states[m.code] == State.TESTING]))


async def _register(folder: Path, members: Sequence[Member], urls: Mapping[str, str], dsn: str) -> dict[str, str]:
    """Register the links that are not there and put them to the test, move the others to their present addresses; their
    states. Two synthetic administrators decide on it.
    """
    node = Node(GATEWAY, SoftwareKey.load(folder / KEY), lambda: datetime.now(UTC), Reach.of(LOOPBACK))
    database = db.Database(dsn)

    async def work(tx: db.Tx) -> dict[str, str]:
        known = {link.code: link for link in await store.links(tx, EVERYTHING)}
        for member in members:
            url = urls[member.code]
            if member.code in known:
                if known[member.code].url != url:
                    moved = await changing.change_wanted(tx, node, member.code, {"url": url})
                    await people.decide(tx, node, Act("link.change", None, moved))
                continue
            link = Link(member.code, member.kind, url, State.REQUESTED, 24, tuple(member.registries))
            keys = json.loads(jwks(folder, member.code).read_text())["keys"]
            await commands.register(tx, node, link, member.registries, keys)
            tested = await changing.step_wanted(tx, member.code, Step.TEST)
            await people.decide(tx, node, Act("link.test", None, tested))
        await _witness(tx, folder, members, node.clock())
        return {link.code: link.state for link in await store.links(tx, EVERYTHING)}

    try:
        return await database.run(work, "links.register")
    finally:
        await database.close()


async def _witness(tx: db.Tx, folder: Path, members: Sequence[Member], now: datetime) -> None:
    """Let every registry cosign the gateway's log, and the gateway the logs of those that keep one."""
    asked = {one.name for one in await witness_store.witnesses(tx)}
    watched = {one.link for one in await witness_store.watched(tx)}
    for member in members:
        [key] = notes.read_keys(vkeys(folder, member.code, "witness").read_text())
        if key.name not in asked:
            await cosigning.add(tx, Witness(key.name, key.vkey, member.code), now)
        if member.keeps_log and member.code not in watched:
            keys = notes.read_keys(vkeys(folder, member.code, "log").read_text())
            await witness.watch(tx, Watched(keys[0].name, member.code, tuple(key.vkey for key in keys)), now)
