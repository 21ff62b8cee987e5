"""One entry out of a bundle as a file that C2SP programs verify: c2sp.org/tlog-proof, offline.

Nothing is made of a bundle that is not valid, so that whoever gets a proof need not ask where it is from. A proof holds
the checkpoint with its signature lines; what is proven to be in the log's tree, the leaf, goes beside it. Fails with
``GatewayError``: UNTRUSTED for a file that is no valid bundle, NOT_FOUND for an entry that it does not have.
"""

from dataclasses import dataclass

from gateway.audit import proofs
from gateway.errors import GatewayError, Kind
from gateway.evidence.verify import verify
from gateway.signing import notes


@dataclass(frozen=True, slots=True)
class Receipt:
    """A leaf exactly as it was hashed, and the text of its proof (tlog-proof@v1)."""

    leaf: str
    proof: str


def receipt(data: bytes, index: int) -> Receipt:
    """The receipt of the entry ``index`` of the log out of the bundle ``data``."""
    report = verify(data)
    if report.bundle is None or not report.valid:
        fault = report.faults[0]
        raise GatewayError(Kind.UNTRUSTED, f"the bundle is not valid: {fault.place}: {fault.detail}")
    entry = next((one for one in report.bundle.entries if one.index == index), None)
    if entry is None:
        raise GatewayError(Kind.NOT_FOUND, f"the bundle has no entry of this index: {index}")
    hashes = [notes.unbase64(text) or b"" for text in entry.proof]
    return Receipt(entry.leaf, proofs.tlog_proof(index, hashes, report.bundle.log.checkpoint))
