"""Property: keys are changed while transfers run, and nobody notices: no message is lost, none refused.

Method: two registries and the gateway change their keys while transfers are under way on every arrow: a registry when
its announcement is receipted, the gateway's processes one after the other once every link has receipted theirs, and
with it the key that access tokens are signed with. All comes to its end, all books agree, nothing was refused on either
side, and the old key of the gateway, which owes nothing any more, is retired.
"""

import pytest

from gateway.signing.keys import SoftwareKey
from tests.faults import load, rotation
from tests.faults import network as networks
from tests.faults.agreement import agree
from tests.faults.members import REGISTRIES
from tests.faults.network import Network

pytestmark = pytest.mark.asyncio(loop_scope="module")

OUR_REFUSALS = "log_entry WHERE kind = 'refused'"
REFUSALS = "message WHERE type = 'refusal'"


async def test_keys_are_rotated_under_load_and_nothing_is_lost_or_refused(network: Network) -> None:
    old = rotation.kid(network.folder / "gateway.pem")
    await load.begin(network)
    for code in ("MEC01", "KOR01"):
        await rotation.of(code)(network)
        await _more(network)
    new = await rotation.announce(network)
    await network.until(lambda: rotation.receipted(network), "every link has the gateway's new key")
    shown = network.bearer.header  # under the token key of before
    tokens = network.folder / "next-tokens.pem"
    SoftwareKey.generate().save(tokens)
    for name in ("worker", "serve"):  # one with the old key, the other with the new one, for a while
        network[name].environment |= {"GATEWAY_KEY_FILE": str(new), "GATEWAY_TOKEN_KEY_FILE": str(tokens)}
        await network[name].end(10)
        await network.start(name)
        await _more(network)
    await network.until(lambda: network.rows("SELECT 1 FROM token_key OFFSET 1"), "the new token key is registered")
    books = await network.http.get(f"{network.operator_url}/api/v1/books", headers={"authorization": shown})
    assert books.status_code == 200, "a token outlives the process that gave it"
    for code in ("MEC01", "KOR01"):  # and once more, under the gateway's new key
        await rotation.of(code)(network)
    await load.end(network)
    await network.settle()
    await agree(network, doctor=True)
    signed = {rotation.kid(new)} | {old}
    assert {kid for (kid,) in await network.rows(_SIGNERS.format(direction="out"))} == signed
    for code in ("MEC01", "KOR01"):
        assert len(await network.rows(f"{_SIGNERS.format(direction='in')} AND m.peer = '{code}'")) == 3
    assert (await network.operator("GET", "/api/v1/strangers")).json() == []
    assert [await network.count(table) for table in (OUR_REFUSALS, REFUSALS)] == [0, 0]
    await _retire(network, old)


async def _retire(network: Network, old: str) -> None:
    ended, said = await networks.run(network, "keys", "retire", old)
    assert ended == 0, said
    await network.settle()
    assert await network.rows("SELECT kid FROM own_key WHERE retired_at IS NOT NULL") == [(old,)]
    assert await rotation.receipted(network)
    assert await network.count("own_key_told") == 2 * len(REGISTRIES)  # of the new key, and of the old one's end
    await load.propose(network, [load.wish(1)] * 3)
    await network.settle()
    await agree(network, doctor=True)


async def _more(network: Network) -> None:
    """Transfers that begin now."""
    await load.propose(network, [load.wish(1 + nr % 3) for nr in range(6)])


#: Whose keys have signed what is stored.
_SIGNERS = """
SELECT DISTINCT CAST(convert_from(r.record, 'UTF8') AS json) ->> 'key' FROM message m
JOIN log_record r ON r.entry_id = m.entry_id WHERE m.direction = '{direction}'
"""
