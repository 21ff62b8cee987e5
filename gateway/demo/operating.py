"""What the operators of the demo's registries do: open accounts, issue, propose; once each, however often it is tried.

What was issued or proposed before is known by what the registries show, so a story that was interrupted anywhere goes
on where it stopped. Raises what ``httpx`` raises when a registry refuses.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import httpx

from gateway.demo.arrows import A64_APPROACH
from gateway.demo.network import Network
from gateway.demo.plan import ACCOUNT, Lot, Move
from gateway.errors import GatewayError, Kind

#: Transfers one call lists.
PAGE = 10_000
#: Where units go that are cancelled for other purposes than the NDC; the meaning of the code is inferred.
CANCELLATION = "310-1"


class Operators:
    """The operators of a network's registries."""

    def __init__(self, http: httpx.Client, network: Network) -> None:
        self._http = http
        self._network = network

    def get(self, link: str, path: str, **query: Any) -> dict[str, Any]:
        """What a registry shows its operator."""
        answer = self._http.get(f"{self._network.registries[link]}/admin/{path}", params=query)
        return dict(answer.raise_for_status().json())

    def post(self, link: str, path: str, body: Any) -> dict[str, Any]:
        """Have a registry do something."""
        answer = self._http.post(f"{self._network.registries[link]}/admin/{path}", json=body)
        return dict(answer.raise_for_status().json())

    def books(self) -> dict[str, dict[str, Any]]:
        """The totals of every registry's own books."""
        return {link: self.get(link, "books") for link in self._network.registries}

    def open_accounts(self, moves: Iterable[Move]) -> None:
        """Open the accounts that units go to, where they are not open yet."""
        links = {registry: m.code for m in self._network.members for registry in m.registries}
        for registry, party in sorted({(move.to, move.to_party) for move in moves}):
            self.post(links[registry], "accounts", {"party": party, "account": ACCOUNT})

    def proposed(self, link: str) -> list[dict[str, Any]]:
        """The terms of every transfer a registry has proposed."""
        found: list[dict[str, Any]] = []
        after = ""
        while page := self.get(link, "transfers", after=after, limit=PAGE)["transfers"]:
            found += [row["terms"] for row in page if row["role"] == "source"]
            after = page[-1]["transfer"]
        return found

    def missing(self, moves: Iterable[Move]) -> list[Move]:
        """Those of the moves that have not been proposed."""
        wanted = list(moves)
        known = {link: Counter(map(_key, self.proposed(link))) for link in {move.link for move in wanted}}
        left = []
        for move in wanted:
            key = _key(move.terms())
            if known[move.link][key]:
                known[move.link][key] -= 1
            else:
                left.append(move)
        return left

    def issue(self, moves: Iterable[Move]) -> None:
        """Issue the lots these moves begin with, where they are not there."""
        lots = {lot: None for move in moves for lot in move.fresh}
        self._authorise(lots)
        for link in sorted({lot.link for lot in lots}):
            there = {entry["block"]["origin"]["series"] for entry in self.get(link, "books", blocks=True)["blocks"]}
            for lot in lots:
                if lot.link == link and lot.series not in there:
                    self.post(link, "issue", lot.form())

    def _authorise(self, lots: Iterable[Lot]) -> None:
        """Have the authorisations told that a registry would not make up as they are, where they are not known."""
        for lot in lots:
            given = lot.authorisation
            if given is None or not given.purposes:
                continue
            known = {(one["party"], one["id"]) for one in self.get(lot.link, "authorisations")["authorisations"]}
            if (lot.party, given.id) not in known:
                approach = str(lot.attributes.get("cooperative_approach", A64_APPROACH))
                self.post(lot.link, "authorisations", given.terms(lot.party, approach))

    def cancel(self, link: str, party: str, lot: Lot, quantity: int) -> None:
        """Have units of a lot cancelled for other purposes than the NDC, where they have not been."""
        entries = self.get(link, "books", blocks=True)["blocks"]
        mine = [entry for entry in entries if entry["block"]["origin"]["series"] == lot.series]
        if any(entry["account"] == CANCELLATION for entry in mine):
            return
        block = next(entry["block"] for entry in mine if entry["account"] == ACCOUNT)
        units = {"origin": block["origin"], "first": block["first"], "last": block["first"] + quantity - 1}
        body = {"party": party, "to_account": CANCELLATION, "quantity": quantity, "blocks": [units], "purpose": "OP"}
        self.post(link, "cancel", body)

    def taken_of(self, lot: Lot) -> dict[str, int]:
        """Tonnes of a lot by account, in the books of the registry that issued it."""
        held: Counter[str] = Counter()
        for entry in self.get(lot.link, "books", blocks=True)["blocks"]:
            if entry["block"]["origin"]["series"] == lot.series:
                held[entry["account"]] += entry["block"]["last"] - entry["block"]["first"] + 1
        return dict(held)

    def issued(self) -> int:
        """All that was ever issued, in tonnes."""
        return sum(int(books["issued"]) for books in self.books().values())

    def propose(self, moves: Sequence[Move]) -> None:
        """Propose these moves: one call for each registry, which puts them into as few messages as it can."""
        for link in sorted({move.link for move in moves}):
            free = _Free(self.get(link, "books", blocks=True)["blocks"])
            wishes = [free.wish(move) for move in moves if move.link == link]
            self.post(link, "transfers", {"transfers": wishes})


class _Free:
    """The units of a registry that no transfer has locked; what a wish names is not free for the next."""

    def __init__(self, entries: Iterable[dict[str, Any]]) -> None:
        self._ranges: dict[tuple[str, str, str, str], list[tuple[int, int]]] = {}
        for entry in entries:
            block = entry["block"]
            key = (entry["party"], entry["account"], block["origin"]["registry"], block["origin"]["series"])
            if entry["locked_by"] is None:
                self._ranges.setdefault(key, []).append((block["first"], block["last"]))

    def wish(self, move: Move) -> dict[str, Any]:
        """The move as an operator asks for it, with the units it is about."""
        terms = move.terms()
        blocks = [block for lot, quantity in move.parts for block in self._take(move.party, lot, quantity)]
        return {
            "party": move.party,
            "account": ACCOUNT,
            "to": terms["acquiring"],
            "quantity": move.quantity,
            "blocks": blocks,
            "purpose": move.purpose,
            "authorisation": terms["authorisation"],
        }

    def _take(self, party: str, lot: Lot, quantity: int) -> Iterator[dict[str, Any]]:
        ranges = self._ranges.get((party, ACCOUNT, lot.origin, lot.series), [])
        while quantity:
            if not ranges:
                raise GatewayError(Kind.INVARIANT, f"{quantity} t of {lot.series} are not where the story needs them")
            first, last = ranges.pop(0)
            taken = min(quantity, last - first + 1)
            if first + taken <= last:
                ranges.insert(0, (first + taken, last))
            yield {
                "origin": {"registry": lot.origin, "series": lot.series},
                "first": first,
                "last": first + taken - 1,
            }
            quantity -= taken


def _key(terms: dict[str, Any]) -> tuple[Any, ...]:
    places = [terms[side][name] for side in ("transferring", "acquiring") for name in ("registry", "party", "account")]
    given = terms["authorisation"]
    authorisation = (given["id"], given["version"]) if given else None
    return (*places, terms["purpose"], terms["quantity"], authorisation)
