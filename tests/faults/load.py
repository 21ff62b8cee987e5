"""Transfers on every arrow at once, ending in every way: completed, refused, rejected, withdrawn, out of time, asked
for by an operator; and units that are used and cancelled meanwhile.

Each call is repeated while the process that is called is dead, so a load goes through whatever dies meanwhile. It
repeats what may have happened already: more transfers than were asked for may come of it, never fewer.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from gateway.signing.messages import new_message_id
from tests.faults import members
from tests.faults.members import ACQUIRERS, NO_ACCOUNT, OWN, UNAUTHORISED, address
from tests.faults.network import Network
from tests.stage import AUTHORISATION

#: The fewest transfers that must be under way when a process dies.
UNDER_WAY = 20
#: An account of KOR01's into which units may not go.
USED = "200-1"
TOGETHER = 6
#: Between MEC01 and KOR01; the other arrows have ``ONWARD`` each, so many that all of them together are enough.
ORDINARY, REFUSED, REJECTED, WITHDRAWN, LATE, REQUESTED = 8, 2, 2, 2, 2, 1
ONWARD = 4


class Arrow(NamedTuple):
    """A way from one registry to another, and the code with which it is refused where nothing may take it."""

    source: str
    party: str
    to: str
    account: str = members.PROPOSED
    code: int = 0

    def wish(self, quantity: int) -> dict[str, Any]:
        """A transfer to ask its source for."""
        asked = {"party": self.party, "account": self.account, "to": address(self.to), "quantity": quantity}
        return asked if self.account != UNAUTHORISED else asked | {"authorisation": AUTHORISATION}


#: Every arrow there is but that from MEC01 to KOR01.
ARROWS = {
    "mechanism to section": Arrow("MEC01", "MMR", "THA99"),
    "section to party": Arrow("INT01", "THA", "CHE01"),
    "party to section": Arrow("KOR01", "KOR", "SWE99"),
    "party to party": Arrow("KOR01", "KOR", "CHE01"),
    "services to section": Arrow("SRV01", "GHA", "SWE99"),
}
#: What may not be.
NOWHERE = {
    "party to mechanism": Arrow("KOR01", "KOR", "MEC01", code=5150),
    "section to section": Arrow("INT01", "THA", "GHA99", code=4017),
    "services to section, not authorised": Arrow("SRV01", "GHA", "GHA99", UNAUTHORISED, code=5133),
}
#: Who uses or cancels units of its own meanwhile.
MOVES = (("MEC01", "MMR", "use", "200-1"), ("INT01", "THA", "use", "200-1"), ("KOR01", "KOR", "cancel", "300-1"))


def wish(quantity: int, account: str = members.PROPOSED, **changes: Any) -> dict[str, Any]:
    """A transfer to KOR01 to ask MEC01 for."""
    return {"party": "MMR", "to": address("KOR01", account), "quantity": quantity, **changes}


async def propose(network: Network, wishes: Sequence[dict[str, Any]], code: str = "MEC01") -> None:
    """Let a registry propose, some together in each message, as soon as it can."""
    for nr in range(0, len(wishes), TOGETHER):
        body = {"transfers": wishes[nr : nr + TOGETHER]}
        await network.insist(lambda body=body: network.admin(code, "POST", "transfers", **body), f"{code} proposes")


async def propose_on_every_arrow(network: Network, number: int = ONWARD) -> None:
    """So many transfers on each arrow, and one on each that is none."""
    wishes: dict[str, list[dict[str, Any]]] = {}
    for arrow in ARROWS.values():
        wishes.setdefault(arrow.source, []).extend(arrow.wish(1 + nr) for nr in range(number))
    for arrow in NOWHERE.values():
        wishes.setdefault(arrow.source, []).append(arrow.wish(1))
    await asyncio.gather(*(propose(network, asked, code) for code, asked in wishes.items()))


async def decide(network: Network, yes: bool, *codes: str) -> None:
    """Those who acquire (or these of them) decide on offers, or leave them lying."""

    async def told(code: str) -> None:
        await network.insist(lambda: network.admin(code, "PATCH", "policy", decide=yes), f"{code} takes its policy")

    await asyncio.gather(*map(told, codes or ACQUIRERS))


async def request(network: Network) -> None:
    """An operator asks the gateway to have a transfer proposed, until it says that it will."""
    wanted = {"transferring": address("MEC01"), "acquiring": address("KOR01"), "purpose": "NDC", "quantity": 1}
    key = {"idempotency-key": new_message_id()}

    async def asked() -> bool:
        answer = await network.operator("POST", "/api/v1/transfers", json=wanted, headers=key)
        return answer.status_code == 202

    await network.until(asked, "the gateway takes a request")


async def move(network: Network, code: str, party: str, what: str, to: str) -> None:
    """A unit is used or cancelled."""
    body = {"party": party, "account": OWN, "to_account": to, "quantity": 1}
    await network.insist(lambda: network.admin(code, "POST", what, **body), f"{code} takes: {what}")


async def begin(network: Network) -> None:
    """Have everything proposed, with nothing decided."""
    await decide(network, False)
    undecided = [wish(1 + nr % 3) for nr in range(ORDINARY + WITHDRAWN + LATE)]
    doomed = [wish(1, USED)] * REFUSED + [wish(1, NO_ACCOUNT)] * REJECTED
    await asyncio.gather(propose(network, [*undecided, *doomed]), propose_on_every_arrow(network))
    await asyncio.gather(*(request(network) for _ in range(REQUESTED)))


async def end(network: Network) -> None:
    """Have everything decided: by KOR01 first, so that all other arrows are under way while its transfers move on."""
    await end_in_korea(network)

    async def decided() -> bool:
        return not await network.rows(_OFFERED, "KOR01")

    await network.until(decided, "KOR01 has decided")
    await decide(network, True)


async def end_in_korea(network: Network) -> None:
    """Withdraw some of what KOR01 is offered, let the time of some be over, have it decide on the rest, and use and
    cancel units besides; nothing of that if it was done before.
    """
    if await network.rows("SELECT 1 FROM setting WHERE name = 'policy' AND value @> '{\"decide\": true}'", "KOR01"):
        return

    async def enough() -> bool:
        return len(await network.rows(_OFFERED, "KOR01")) >= WITHDRAWN + LATE

    await network.until(enough, "KOR01 has its offers")
    open_here = [t for (t,) in await network.rows(_OFFERED, "KOR01")]
    await asyncio.gather(*(withdraw(network, t) for t in open_here[:WITHDRAWN]))
    await let_a_day_pass(network, open_here[WITHDRAWN : WITHDRAWN + LATE])
    await asyncio.gather(decide(network, True, "KOR01"), *(move(network, *one) for one in MOVES))


_OFFERED = "SELECT transfer FROM transfer WHERE role = 'acquirer' AND state = 'offered' ORDER BY transfer"


async def withdraw(network: Network, transfer: str) -> None:
    """MEC01 withdraws; it may be too late for that."""
    url = f"{network['MEC01'].url}/admin/transfers/{transfer}/withdraw"

    async def answered() -> bool:
        return (await network.http.post(url)).status_code in (200, 409)

    await network.until(answered, f"MEC01 withdraws {transfer}")


async def let_a_day_pass(network: Network, transfers: Sequence[str]) -> None:
    """For these transfers alone."""
    named = ", ".join(f"'{t}'" for t in transfers)
    await network.rows(f"UPDATE transfer SET deadline = deadline - interval '25 hours' WHERE id IN ({named})")
