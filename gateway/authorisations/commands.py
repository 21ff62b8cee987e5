"""Authorisations that operators of the authorising Party tell or revoke here, two persons deciding.

``telling_wanted`` and ``revocation_wanted`` say what is to be approved, and refuse what could not be done now; ``tell``
and ``revoke`` do it in the transaction that consumes the approval, judged again by what is known then. Each is one
entry of the log, which has what was told in full, and the names of both. It then stands beside what registries tell.

Raises ``GatewayError``: MALFORMED 2001 for what has not the form of terms; REJECTED with the first code, and every
finding as ``findings`` of its context; FORBIDDEN 8001 where whoever asks does not keep the Party's books, or for what
they do not see; NOT_FOUND 3001 to who sees everything.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway import db
from gateway.audit import log
from gateway.authorisations import store
from gateway.domain import wire
from gateway.domain.authorisation_terms import read_terms
from gateway.domain.authorisations import Authorisation, Authorised, revocation, succession
from gateway.domain.callers import Sight, hidden
from gateway.domain.check_codes import Finding
from gateway.domain.telling import terms_text
from gateway.errors import GatewayError, Kind
from gateway.holdings import registries
from gateway.messages.outbox import Node

#: The acts, as persons approve them.
TELL, REVOKE = "authorisation.tell", "authorisation.revoke"

Parameters = Mapping[str, Any]


async def telling_wanted(tx: db.Tx | db.ReadTx, sight: Sight, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be approved so that a version is told; ``given`` is its terms as in the link contract."""
    terms = _read(given)
    await _require_books(tx, sight.code, terms.party)
    known = await store.known(tx, [(terms.party, terms.id)])
    _refuse(_told(known.get((terms.party, terms.id)), terms))
    return {"registry": sight.code, "terms": dict(given)}


async def tell(tx: db.Tx, node: Node, parameters: Parameters, by: Sequence[str]) -> dict[str, Any]:
    """Keep a version that was approved, if it still is the next one."""
    given, registry = parameters["terms"], parameters["registry"]
    terms = _read(given)
    name = terms.party, terms.id
    await _require_books(tx, registry, terms.party)
    await store.open_names(tx, [name])
    _refuse(_told((await store.known(tx, [name], alone=True)).get(name), terms))
    record = {"registry": registry, "terms": given, "by": list(by)}
    [entry_id] = await log.append(tx, [log.draft("authorisation.told", node.clock(), record)])
    text = terms_text({"authorisation": given})
    await store.add_versions(tx, [(terms, text)], _operator_of(registry, node), entry_id)
    return {"party": terms.party, "id": terms.id, "version": terms.version}


async def revocation_wanted(
    tx: db.Tx | db.ReadTx, sight: Sight, name: store.Name, version: int, reason: str
) -> dict[str, Any]:
    """What is to be approved so that an authorisation is revoked, whose ``version`` is known to whoever asks."""
    party, written = name[0], wire.text(reason, "reason")
    await _require_books(tx, sight.code, party)
    known = (await store.known(tx, [name])).get(name)
    if known is None:
        raise sight.absent(f"there is no authorisation {name[1]} by {party}", 3001)
    _refuse(revocation(known, version))
    return {"registry": sight.code, "party": party, "id": name[1], "version": version, "reason": written}


async def revoke(tx: db.Tx, node: Node, parameters: Parameters, by: Sequence[str]) -> dict[str, Any]:
    """Keep a revocation that was approved, if nobody has revoked it meanwhile."""
    registry, name = parameters["registry"], (parameters["party"], parameters["id"])
    await _require_books(tx, registry, name[0])
    _refuse(revocation((await store.known(tx, [name], alone=True)).get(name), parameters["version"]))
    now = node.clock()
    [entry_id] = await log.append(tx, [log.draft("authorisation.revoked", now, {**parameters, "by": list(by)})])
    await store.revoke(tx, name, parameters["reason"], _operator_of(registry, node), now, entry_id)
    return {"party": name[0], "id": name[1], "revoked": True}


def _read(given: Mapping[str, Any]) -> Authorisation:
    faults = wire.Faults()
    terms = read_terms(given, faults)
    _refuse(faults.findings)
    assert terms is not None  # or there were findings
    return terms


def _told(known: Authorised | None, terms: Authorisation) -> list[Finding]:
    """What stands against a version; unlike a registry, nobody has to ask again for what was told already."""
    if known is not None and known.version(terms.version) == terms:
        return [Finding(2004, (), f"authorisation.version: version {terms.version} was told already")]
    return succession(known, terms)


async def _require_books(tx: db.Tx | db.ReadTx, code: str | None, party: str) -> None:
    """Raise FORBIDDEN (8001) unless the registry or link ``code`` keeps the Party's own books; None may for all."""
    if code is not None and not await registries.keeps(tx, code, party):
        raise hidden()


def _refuse(findings: Sequence[Finding]) -> None:
    if findings:
        context = {"findings": [wire.finding_to_wire(finding) for finding in findings]}
        raise GatewayError(Kind.REJECTED, findings[0].detail, code=findings[0].code, context=context)


def _operator_of(registry: str | None, node: Node) -> str:
    return f"operator of {registry or node.code}"
