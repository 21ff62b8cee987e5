"""How keys are changed in a network: a registry's own, and the gateway's, with everybody told in time."""

import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.signing.keys import SoftwareKey
from tests.faults import linking
from tests.faults import network as networks
from tests.faults.network import Network


def of(code: str) -> Callable[[Network], Awaitable[None]]:
    """A registry announces a new key, and persons tell the others of it."""

    async def rotate(network: Network) -> None:
        await network.insist(lambda: network.admin(code, "POST", "keys/rotate"), f"{code} announces a key")

        async def told() -> bool:
            shown = (await network.http.get(f"{linking.link_url(network, code)}/keys")).json()["keys"]
            _pin(network.folder / f"{code}.jwks", shown)
            return True

        await network.until(told, f"{code} shows its keys")

    return rotate


async def announce(network: Network) -> Path:
    """The gateway announces a new key; its file."""
    file = network.folder / f"{secrets.token_hex(4)}.pem"
    SoftwareKey.generate().save(file)
    ended, said = await networks.run(network, "keys", "announce", str(file))
    assert ended == 0, said
    return file


async def receipted(network: Network) -> bool:
    """Whether every link has receipted what it was told of the gateway's keys."""
    return not await network.count("own_key_told WHERE receipted_by IS NULL")


def kid(file: Path) -> str:
    """The id of the key in a file."""
    return SoftwareKey.load(file).kid


def _pin(file: Path, shown: list[dict[str, str]]) -> None:
    known = {key["kid"]: key for key in [*json.loads(file.read_text())["keys"], *shown]}
    file.write_text(json.dumps({"keys": list(known.values())}))
