"""Transfers on every course at once: completed, refused, rejected, withdrawn, out of time, asked for by an operator.

Each call is repeated while the process that is called is dead, so a load goes through whatever dies meanwhile. It
repeats what may have happened already: more transfers than were asked for may come of it, never fewer.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from gateway.signing.messages import new_message_id
from tests.faults.network import Network
from tests.stage import AUTHORISATION

#: The fewest transfers that must be under way when a process dies.
UNDER_WAY = 20
#: Accounts of KOR01: units may not go into the first, the second does not exist.
USED, NO_ACCOUNT = "200-1", "100-9"
TOGETHER = 6
ORDINARY, REFUSED, REJECTED, WITHDRAWN, LATE, REQUESTED = 24, 2, 2, 2, 2, 1


def wish(quantity: int, account: str = "100-1", **changes: Any) -> dict[str, Any]:
    """A transfer to ask MEC01 for."""
    to = {"registry": "KOR01", "party": "KOR", "account": account}
    return {"party": "MMR", "to": to, "quantity": quantity, "authorisation": AUTHORISATION, **changes}


async def propose(network: Network, wishes: Sequence[dict[str, Any]]) -> None:
    """Let MEC01 propose, some together in each message, as soon as it can."""
    for nr in range(0, len(wishes), TOGETHER):
        body = {"transfers": wishes[nr : nr + TOGETHER]}
        await network.insist(lambda body=body: network.admin("MEC01", "POST", "transfers", **body), "MEC01 proposes")


async def decide(network: Network, yes: bool) -> None:
    """KOR01 decides on offers, or leaves them lying."""
    await network.insist(lambda: network.admin("KOR01", "PATCH", "policy", decide=yes), "KOR01 takes its policy")


async def request(network: Network) -> None:
    """An operator asks the gateway to have a transfer proposed, until it says that it will."""
    wanted = {"transferring": {"registry": "MEC01", "party": "MMR", "account": "100-1"}, "purpose": "NDC"}
    wanted |= {"acquiring": {"registry": "KOR01", "party": "KOR", "account": "100-1"}, "quantity": 1}
    key = {"idempotency-key": new_message_id()}

    async def asked() -> bool:
        answer = await network.operator("POST", "/api/v1/transfers", json=wanted, headers=key)
        return answer.status_code == 202

    await network.until(asked, "the gateway takes a request")


async def begin(network: Network) -> None:
    """Have everything proposed, with nothing decided."""
    await decide(network, False)
    undecided = [wish(1 + nr % 3) for nr in range(ORDINARY + WITHDRAWN + LATE)]
    doomed = [wish(1, USED)] * REFUSED + [wish(1, NO_ACCOUNT)] * REJECTED
    await propose(network, [*undecided, *doomed])
    await asyncio.gather(*(request(network) for _ in range(REQUESTED)))


async def end(network: Network) -> None:
    """Withdraw some, let the time of some be over, and have the rest decided."""
    offered = "SELECT transfer FROM transfer WHERE role = 'acquirer' AND state = 'offered' ORDER BY transfer"

    async def enough() -> bool:
        return len(await network.rows(offered, "KOR01")) >= WITHDRAWN + LATE

    await network.until(enough, "KOR01 has its offers")
    open_here = [t for (t,) in await network.rows(offered, "KOR01")]
    await asyncio.gather(*(withdraw(network, t) for t in open_here[:WITHDRAWN]))
    await let_a_day_pass(network, open_here[WITHDRAWN : WITHDRAWN + LATE])
    await decide(network, True)


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
