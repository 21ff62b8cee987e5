"""Registries that a test plays itself: their links are registered, their messages composed by hand with joserfc.

Nobody listens at their addresses, so what the gateway sends stays due, and everything they say is posted by the
test. A course is driven word by word: propose, ``turn``, accept, ``turn``, release, credit. All units are synthetic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from joserfc.jwk import KeySet

from gateway.links.store import Link
from tests import deciding
from tests.integration.test_sandbox_play import ATTRIBUTES, AUTHORISATION, Heard, Party, read, sha, stamp, text, uuid7
from tests.stage import Stage

#: Where nobody listens.
NOWHERE = "http://127.0.0.1:9"
SERIES = "MMR-A64"
#: Myanmar's authorisation, wide open.
TERMS = {
    **AUTHORISATION, "party": "MMR", "kinds": ["cooperative approach", "ITMOs", "entities"], "date": "2021-01-01",
    "cooperative_approach": "CA0001", "purposes": "NDC and OIMP", "period": {"first": None, "last": None},
    "first_transfer_definition": "Use or Cancellation", "initial_report": "2021-01-01",
}  # fmt: skip


def block(first: int, last: int, series: str = SERIES, **members: Any) -> dict[str, Any]:
    """Units of MEC01 as they are on the wire."""
    origin = {"registry": "MEC01", "series": series}
    return {"origin": origin, "first": first, "last": last, "attributes": ATTRIBUTES, **members}


def naming(units: dict[str, Any], offset: int = 0) -> dict[str, Any]:
    """The entry of a ``released`` that gives a block its ITMO identifiers."""
    first, last = (f"CA0001-MMR99-MMR-{serial + offset}-2021" for serial in (units["first"], units["last"]))
    return {name: units[name] for name in ("origin", "first", "last")} | {"itmo": {"first": first, "last": last}}


def levied(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    """The positions of an issuance to Myanmar of which ``blocks`` are left when 2 % are cancelled, rounded up.

    Nothing is deducted for blocks that are none.
    """
    held = [{"party": "MMR", "account": "100-1", "block": b} for b in blocks]
    serials = [(b.get("first"), b.get("last")) for b in blocks if isinstance(b, dict)]
    net = sum(last - first + 1 for first, last in serials if type(first) is type(last) is int and 0 < first <= last)
    omge = -(-net * 2 // 98)
    return [*held, {"party": "MMR", "account": "320-1", "block": block(1, omge, uuid7())}] if omge else held


def quantity(blocks: list[dict[str, Any]]) -> int:
    return sum(b["last"] - b["first"] + 1 for b in blocks)


@dataclass
class Played:
    """One played registry."""

    stage: Stage
    party: Party
    gateway_keys: KeySet

    @property
    def code(self) -> str:
        return self.party.code

    def compose(self, message_type: str, items: list[str], **members: Any) -> tuple[str, bytes]:
        """The content type and the body of a message to the gateway."""
        _, kind, body = self.party.compose("GWY01", message_type, items, **members)
        return kind, body

    async def post(self, kind: str, body: bytes, url: str | None = None) -> Heard:
        """Post a body to the gateway (or to another one at ``url``); its answer, verified."""
        where = f"{url or self.stage.link_url}/messages"
        answer = await self.stage.http.post(where, content=body, headers={"content-type": kind})
        assert answer.status_code == 200, answer.text
        return read(answer.headers["content-type"], answer.content, self.gateway_keys)

    async def say(self, message_type: str, items: list[dict[str, Any]], **members: Any) -> Heard:
        return await self.post(*self.compose(message_type, [text(i) for i in items], **members))


async def join(
    stage: Stage,
    code: str,
    kind: str,
    party: str = "",
    *,
    sections: Mapping[str, str | None] | None = None,
    holdings: Sequence[dict[str, Any]] = (),
    url: str = NOWHERE,
    signer: Party | None = None,
) -> Played:
    """Register and activate a played registry, or one with a section for each of some Parties, with these holdings."""
    published = (await stage.http.get(f"{stage.link_url}/keys")).json()
    played = Played(stage, signer or Party(code), KeySet.import_key_set(published))
    books = sections or {code: party or None}
    link = Link(code, kind, url, "requested", 24, tuple(books))
    keys = played.party.jwks()["keys"]
    await stage.run(lambda tx: deciding.establish(tx, stage.gateway.node, link, books, keys))
    opened = await played.say("link.activate", [{"kind": "position", **holding} for holding in holdings])
    assert opened.type == "receipt" and {item["state"] for item in opened.items} <= {"recorded"}, opened.items
    return played


@dataclass
class Course:
    """MEC01 and KOR01, both played, and the words by which a transfer goes from one to the other."""

    stage: Stage
    source: Played
    acquirer: Played

    @classmethod
    async def begun(cls, stage: Stage) -> "Course":
        course = cls(stage, await join(stage, "MEC01", "mechanism"), await join(stage, "KOR01", "party", "KOR"))
        assert (await course.notice("authorisation", authorisation=TERMS)).items[0]["state"] == "recorded"
        return course

    async def turn(self) -> None:
        await self.stage.gateway.relay.turn()

    async def issue(self, *blocks: dict[str, Any]) -> Heard:
        """Announce the issuance of ``blocks`` to Myanmar, each a position of its own."""
        return await self.notice("issuance", positions=levied(*blocks), synthetic=True)

    async def use(self, *blocks: dict[str, Any]) -> Heard:
        return await self.notice("use", party="MMR", account="100-1", to_account="200-1", blocks=list(blocks))

    async def notice(self, kind: str, **members: Any) -> Heard:
        return await self.source.say("action.notice", [self.action(kind, **members)])

    def action(self, kind: str, **members: Any) -> dict[str, Any]:
        """The item of a notice, under a new action id."""
        at = stamp(datetime.now(UTC))
        return {"kind": "action", "action": uuid7(), "type": kind, "at": at, "registry": "MEC01", **members}

    def proposal(self, *blocks: dict[str, Any], **members: Any) -> dict[str, Any]:
        """The item that proposes ``blocks``, under a new transfer id."""
        return {
            "kind": "propose",
            "transfer": f"MEC01-{uuid7()}",
            "transferring": {"registry": "MEC01", "party": "MMR", "account": "100-1"},
            "acquiring": {"registry": "KOR01", "party": "KOR", "account": "100-1"},
            "purpose": "NDC",
            "authorisation": AUTHORISATION,
            "quantity": quantity(list(blocks)),
            "blocks": list(blocks),
            **members,
        }

    async def propose(self, *items: dict[str, Any]) -> Heard:
        return await self.source.say("transfer.propose", list(items))

    async def accept(self, transfers: list[str]) -> Heard:
        offers = await self.said(transfers, "offer")
        said = {"kind": "answer", "answer": "accepted", "findings": []}
        items = [{**said, "transfer": t, "offer": sha(offers[t])} for t in transfers]
        return await self.acquirer.say("transfer.answer", items)

    async def release(self, transfers: list[str], naming: dict[str, list[dict[str, Any]]] | None = None) -> Heard:
        """Release; ``naming`` gives the ``itmo`` entries of transfers whose units are first transferred now."""
        commits = await self.named(transfers, "commit")
        items = [
            {
                "kind": "released",
                "transfer": t,
                "commit": commits[t],
                "released_at": stamp(datetime.now(UTC)),
                "first_transfer": naming is not None,
                "itmo": (naming or {}).get(t, []),
            }
            for t in transfers
        ]
        return await self.source.say("transfer.released", items)

    async def credit(self, transfers: list[str]) -> Heard:
        settles = await self.named(transfers, "settle")
        said = {"kind": "credited", "credited_at": stamp(datetime.now(UTC)), "account": "100-1", "findings": []}
        return await self.acquirer.say(
            "transfer.credited", [{**said, "transfer": t, "settle": settles[t]} for t in transfers]
        )

    async def void(self, transfers: list[str]) -> Heard:
        return await self.source.say(
            "transfer.voided", [{"kind": "voided", "transfer": t, "findings": []} for t in transfers]
        )

    async def said(self, transfers: list[str], step: str) -> dict[str, str]:
        """The exact texts of what was stated about these transfers."""
        found = dict(await self.stage.rows(f"SELECT transfer_id, item FROM transfer_step WHERE step = '{step}'"))
        return {t: found[t] for t in transfers}

    async def named(self, transfers: list[str], step: str) -> dict[str, dict[str, str]]:
        """The references to our commit or settle, by transfer."""
        ids = await self.stage.rows(f"SELECT id, {step}_id::text FROM transfer WHERE {step}_id IS NOT NULL")
        sent = await self.stage.rows(
            "SELECT message_id::text, convert_from(body, 'UTF8')::jsonb ->> 'jws' FROM message "
            f"WHERE type = 'transfer.{step}' AND direction = 'out'"
        )
        references = {message: {"id": message, "sha256": sha(jws)} for message, jws in sent}
        named = dict(ids)
        return {t: references[named[t]] for t in transfers}

    async def released(
        self, *items: dict[str, Any], naming: dict[str, list[dict[str, Any]]] | None = None
    ) -> list[str]:
        """Take proposals to their release, with ``naming`` as in ``release``; the transfers' ids."""
        transfers = [str(i["transfer"]) for i in items]
        await self.propose(*items)
        await self.turn()
        await self.accept(transfers)
        await self.turn()
        await self.release(transfers, naming)
        return transfers

    async def complete(self, *items: dict[str, Any]) -> list[str]:
        """Take proposals to their completion; the transfers' ids."""
        transfers = await self.released(*items)
        await self.credit(transfers)
        assert set(await self.stage.states(transfers)) == {"completed"}
        return transfers
