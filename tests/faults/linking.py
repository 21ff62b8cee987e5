"""Links the registries of a network with its gateway, as its operators would."""

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import wiring
from gateway.audit import cosigning, witness
from gateway.audit.witness_store import Watched, Witness
from gateway.links.store import Link
from gateway.signing import notes
from gateway.wiring import Gateway
from tests import deciding
from tests.faults import members
from tests.faults.members import MEMBERS, OTHER_WIRE, SECTIONS

if TYPE_CHECKING:
    from tests.faults.network import Network

#: Who looks whether the gateway's log keeps its promises, and cosigns it.
FOLLOWING = ("MEC01", "KOR01")


def jwks_file(folder: Path, code: str) -> Path:
    """Where the public keys of a system lie."""
    return folder / f"{code}.jwks"


def link_url(network: "Network", code: str) -> str:
    """Where the link of a registry begins."""
    part = network.parts[code]
    return f"{part.url}/{OTHER_WIRE}" if OTHER_WIRE in part.arguments else part.url


async def link(network: "Network", *codes: str) -> None:
    """Pin the registries' keys, register them (as ``gateway links add`` does), and let each activate its link."""
    gateway = wiring.build(network.settings)
    for code in codes:
        url = link_url(network, code)
        keys = await network.http.get(f"{url}/keys")
        jwks_file(network.folder, code).write_text(keys.text)
        kind, party = MEMBERS[code].kind, MEMBERS[code].party
        sections = {members.section(one): one for one in SECTIONS} if kind == "international" else {}
        books: dict[str, str | None] = {**sections} or {code: party or None}
        made, jwks = Link(code, kind, url, "requested", 24, tuple(books)), keys.json()["keys"]
        registering = partial(deciding.establish, node=gateway.node, link=made, parties=books, jwks=jwks)
        await gateway.database.run(registering, "links.register")
        if code in FOLLOWING:
            await _witness(network, gateway, code)
    await gateway.close()
    activated = await asyncio.gather(*(network.admin(code, "POST", "activate") for code in codes))
    assert all(one["receipted"] for one in activated), activated


async def _witness(network: "Network", gateway: Gateway, code: str) -> None:
    """Let the registry and the gateway cosign each other's logs."""
    url, now = link_url(network, code), gateway.node.clock()
    [key] = notes.read_keys((await network.http.get(f"{url}/witness/keys")).text)
    added = Witness(key.name, key.vkey, code)
    await gateway.database.run(lambda tx: cosigning.add(tx, added, now), "log.add-witness")
    if MEMBERS[code].kind == "mechanism":
        shown = (await network.http.get(f"{url}/log/keys")).json()
        log = Watched(shown["origin"], code, tuple(one["vkey"] for one in shown["keys"]))
        await gateway.database.run(lambda tx: witness.watch(tx, log, now), "log.watch")
