"""Whether every history is alike in three places: where it happened, at the gateway, and in the books it is for."""

from typing import Any

from tests.faults.network import Network

#: Feeds that were called for and not pulled since, or not handed on to their end.
_UNTOLD = """history_feed f JOIN history_call c ON c.feed_id = f.id
  WHERE c.called <> f.answered OR f.delivered < f.number OR f.leased_until IS NOT NULL"""


async def alike(network: Network) -> None:
    """Have everything pulled once more, and compare the ends of all feeds; nothing may have been stopped."""
    await network.rows("UPDATE history_call SET called = called + 1")
    await network.rows("UPDATE history_feed SET attempts = 0, next_at = now() WHERE leased_until IS NULL")

    async def told() -> bool:
        await network.rows("UPDATE owed SET next_at = now() WHERE leased_until IS NULL")
        return await network.count(_UNTOLD) == 0

    await network.until(told, "every history is pulled and told")
    assert await network.count("history_feed WHERE stopped") == 0
    feeds = await network.rows(
        "SELECT f.link, f.registry, f.party, r.link, f.number, translate(encode(f.digest, 'base64'), '+/=', '-_')"
        " FROM history_feed f JOIN link_registry r ON r.registry = f.registry WHERE f.number > 0"
    )
    assert feeds
    for source, registry, party, home, number, digest in feeds:
        end: dict[str, Any] = {"number": number, "digest": digest}
        there = await network.admin(source, "GET", f"history?party={party}&limit=1")
        told_home = await network.admin(home, "GET", f"history/told?source={source}&code={registry}&limit=1")
        assert (source, registry, there["end"], told_home["end"]) == (source, registry, end, end)
