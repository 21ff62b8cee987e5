"""Tries, over HTTP and with tokens of their own, who may see and do what; whatever is stopped goes on afterwards.

Korea's operator is registered as anybody is, by two administrators. What is tried changes no holding, and leaves links
and gateway as they were, so a kept network tries it again. Raises ``GatewayError`` when the network cannot be asked.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.demo import people
from gateway.demo.network import Network
from gateway.errors import GatewayError, Kind
from gateway.signing.keys import SoftwareKey
from gateway.web.client import Tokens

_OUT_OF_MEC01 = {
    "transferring": {"registry": "MEC01", "party": "MMR", "account": "100-1"},
    "acquiring": {"registry": "KOR01", "party": "KOR", "account": "100-1"},
    "purpose": "NDC",
    "quantity": 1,
}
#: A transfer that never was.
_NONE = "MEC01-00000000-0000-7000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Try:
    """What somebody tried, what came of it, and whether that is as it should be."""

    who: str
    what: str
    outcome: str
    as_it_should: bool


class _Caller:
    """A person or machine of the demo, who calls the operator API."""

    def __init__(self, http: httpx.Client, network: Network, name: str, principal: str) -> None:
        key = SoftwareKey.load(people.key_file(network.folder, name))
        self._http, self._at = http, f"{network.operator}/api/v1"
        self._tokens = Tokens(network.operator, principal, key)

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> httpx.Response:
        """Call once."""
        headers = {"idempotency-key": key} if key else {}
        return self._http.request(method, f"{self._at}/{path}", json=body, headers=headers, auth=self._tokens)

    def told(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Call, and raise INVARIANT when it is refused."""
        answer = self.ask(method, path, body)
        if not answer.is_success:
            raise GatewayError(Kind.INVARIANT, f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return dict(answer.json())


def tried(http: httpx.Client, network: Network, transfers: int) -> tuple[Try, ...]:
    """Try it, with so many transfers there to be seen."""
    one, two = (_Caller(http, network, name, network.callers[name]) for name in people.ADMINISTRATORS)
    machine = _Caller(http, network, people.CLIENT, network.callers[people.CLIENT])
    korean = _Caller(http, network, people.KOREAN, _korean(network, one, two))
    return (
        *_seen(korean, one, transfers),
        *_four_eyes(one, two),
        *_halted(machine, one, two),
    )


def _korean(network: Network, one: _Caller, two: _Caller) -> str:
    """The id of Korea's operator, whom two administrators register once."""
    for listed in one.told("GET", "people")["listed"]:
        if listed["name"] == people.KOREAN:
            return str(listed["id"])
    jwk = people.made_key(network.folder, people.KOREAN).public_jwk()
    wanted = {"name": people.KOREAN, "registry": "KOR01", "role": "operator", "keys": [jwk]}
    return str(_decided(two, one.told("POST", "people", wanted))["result"]["id"])


def _decided(by: _Caller, asked: dict[str, Any]) -> dict[str, Any]:
    return by.told("POST", f"approvals/{asked['id']}/approve", {"sha256": asked["sha256"]})


def _seen(korean: _Caller, one: _Caller, transfers: int) -> Iterator[Try]:
    """What concerns Korea is Korea's to see, and nothing else; what is not seen is not known to be there."""
    seen = len(korean.told("GET", "transfers?limit=500")["transfers"])
    yield Try("Korea", "lists transfers", f"sees {seen} of {transfers}", 0 < seen < transfers)
    listed = one.told("GET", "transfers?limit=500")["transfers"]
    foreign = next(row["id"] for row in listed if row["source"] != "KOR01" and row["acquirer"] != "KOR01")
    answers = [korean.ask("GET", f"transfers/{transfer}") for transfer in (foreign, _NONE)]
    alike = answers[0].content == answers[1].content
    yield _refused("Korea", "opens a transfer of others, and one that never was", answers[0], 8001, alike)
    asked = korean.ask("POST", "transfers", _OUT_OF_MEC01, key="a foreign transfer")
    yield _refused("Korea", "asks for units out of MEC01", asked, 8001)


def _four_eyes(one: _Caller, two: _Caller) -> Iterator[Try]:
    """Nobody approves what they have asked for."""
    waiting = one.told("POST", "links/KOR01/suspend")
    own = one.ask("POST", f"approvals/{waiting['id']}/approve", {"sha256": waiting["sha256"]})
    yield _refused("administrator 1", "approves what they asked for", own, 8001)
    done = _decided(two, waiting)["result"]["state"]
    yield Try("administrators 1 and 2", "suspend KOR01's link", str(done), done == "suspended")
    again = _decided(two, one.told("POST", "links/KOR01/reactivate"))["result"]["state"]
    yield Try("administrators 1 and 2", "reactivate it", str(again), again == "active")


def _halted(machine: _Caller, one: _Caller, two: _Caller) -> Iterator[Try]:
    """One administrator stops what is new, two let it go on."""
    one.told("POST", "halt", {"reason": "a drill of the demo"})
    asked = machine.ask("POST", "transfers", _OUT_OF_MEC01, key="during a halt")
    yield _refused("a machine", "asks for a transfer during a halt", asked, 9002)
    _decided(two, one.told("POST", "halt/lift"))
    halted = one.told("GET", "halt")["halted"]
    yield Try("administrators 1 and 2", "lift the halt", "halted" if halted else "lifted", not halted)


def _refused(who: str, what: str, answer: httpx.Response, code: int, also: bool = True) -> Try:
    said = answer.json().get("code") if not answer.is_success else None
    outcome = f"refused {said}" if said else f"answered {answer.status_code}"
    return Try(who, what, outcome, said == code and also)
