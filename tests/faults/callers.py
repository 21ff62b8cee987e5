"""What callers of the gateway do, and its processes for them, so that crash points about tokens are passed, twice."""

import secrets

from gateway.errors import GatewayError
from gateway.signing.keys import SoftwareKey
from gateway.web.client import Tokens
from tests.faults.network import Network


async def renew_the_token_key(network: Network) -> None:
    """From the next start on the gateway signs its tokens with another key."""
    file = network.folder / "tokens.pem"
    file.unlink()
    SoftwareKey.generate().save(file)


async def add_clients(network: Network) -> None:
    """Clients are registered, until somebody has died of it twice."""

    async def died_twice() -> bool:
        await _add(network, SoftwareKey.generate())
        return _deaths(network) == 2

    await network.until(died_twice, "clients are registered, and somebody dies")


async def ask_for_tokens(network: Network) -> None:
    """A client asks for tokens, until somebody has died of it twice."""
    key, found = SoftwareKey.generate(), list[str]()

    async def added() -> bool:
        found[:] = [await _add(network, key)]
        return bool(found[0])

    await network.until(added, "a client is registered")

    async def died_twice() -> bool:
        try:
            await network.http.get(f"{network.operator_url}/healthz", auth=Tokens(network.operator_url, found[0], key))
        except GatewayError:  # not now
            return False
        return _deaths(network) == 2

    await network.until(died_twice, "tokens are asked for, and somebody dies")


async def look_at_holdings(network: Network) -> None:
    """Somebody looks at what Korea holds in MEC01, each time at another page, until somebody has died of it twice."""
    page = 0

    async def died_twice() -> bool:
        nonlocal page
        page += 1
        wanted = {"source": "MEC01", "registry": "KOR01", "limit": page % 1_000 + 1}
        await network.operator("GET", "/api/v1/history/live/holdings", params=wanted)
        return _deaths(network) == 2

    await network.until(died_twice, "holdings are looked at, and somebody dies")


async def call_for_history(network: Network) -> None:
    """Korea's people call for its history of MEC01, until somebody has died of it twice."""
    there = "INSERT INTO history_feed (link, registry, party, next_at) VALUES ('MEC01', 'KOR01', 'KOR', now())"
    call = "INSERT INTO history_call (feed_id) SELECT id FROM history_feed ON CONFLICT DO NOTHING"
    await network.rows(f"{there} ON CONFLICT DO NOTHING; {call}")

    async def died_twice() -> bool:
        await network.operator("POST", "/api/v1/history/feeds/MEC01/KOR01/pull")
        return _deaths(network) == 2

    await network.until(died_twice, "a feed is called for, and somebody dies")


async def have_books_compared(network: Network) -> None:
    """A link is reconciled, again and again, until somebody has died of it twice."""
    wanted = {"link": "KOR01", "announce_seconds": 1}

    async def died_twice() -> bool:
        answer = await network.operator("POST", "/api/v1/reconciliations", json=wanted)
        assert answer.status_code in (202, 409, 503), answer.text
        return _deaths(network) == 2

    await network.until(died_twice, "books are compared, and somebody dies")


async def _add(network: Network, key: SoftwareKey) -> str:
    """Register a client; its id, or nothing where that was not to be had."""
    wanted = {"name": secrets.token_hex(8), "registry": None, "scopes": ["books:read"], "keys": [key.public_jwk()]}
    answer = await network.operator("POST", "/api/v1/clients", json=wanted)
    return str(answer.json()["id"]) if answer.is_success else ""


def _deaths(network: Network) -> int:
    return sum(len(part.deaths) for part in network.parts.values())
