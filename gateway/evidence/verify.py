"""Verifies a bundle: offline, from its bytes and what the verifier knows alone; no database, no network, no clock.

The checks are those of ``rules``, in order; the first that fails ends it, because later ones rest on it. Whatever the
file holds, the answer is a report: a bundle that is damaged anywhere is not valid, and the report names the place.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from gateway.domain.transfers import FINAL
from gateway.errors import GatewayError
from gateway.evidence import answers, course, form, rules, signatures, timeline, tree
from gateway.evidence.form import Bundle, place
from gateway.evidence.said import Case, Fault, Pins
from gateway.signing import compact

#: Faults of one check that are told.
MAX_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one check: passed, or why not and where; neither where an earlier one has failed."""

    check: rules.Check
    made: bool
    faults: tuple[Fault, ...] = ()
    remark: str = ""

    @property
    def word(self) -> str:
        """In one word."""
        return "not made" if not self.made else "failed" if self.faults else "passed"


@dataclass(frozen=True, slots=True)
class Report:
    """Every check with its result, and the bundle where it could be read.

    ``witnessed`` says since when each entry (by ``index``) is known to have been in the log: by the witnesses that the
    verifier named where ``pinned``, by the bundle's own word where not.
    """

    results: tuple[Result, ...]
    bundle: Bundle | None
    witnessed: Mapping[int, str | None] = field(default_factory=dict)
    pinned: bool = False

    @property
    def valid(self) -> bool:
        """Whether every check was made and passed."""
        return all(result.made and not result.faults for result in self.results)

    @property
    def faults(self) -> list[Fault]:
        """What is wrong, and where."""
        return [fault for result in self.results for fault in result.faults]

    def as_dict(self) -> dict[str, Any]:
        """The report for machines."""
        return {
            "valid": self.valid,
            "transfer": self.bundle.transfer if self.bundle else None,
            "state": self.bundle.state if self.bundle else None,
            "final": self.bundle.state in FINAL if self.bundle else None,
            "checks": [
                {
                    "number": r.check.number,
                    "name": r.check.name,
                    "rule": r.check.title,
                    "source": r.check.source,
                    "result": r.word,
                    "remark": r.remark,
                    "faults": [{"place": f.place, "detail": f.detail} for f in r.faults],
                }
                for r in self.results
            ],
            "witnessed": {
                "pinned": self.pinned,
                "entries": [{"index": index, "at": at} for index, at in self.witnessed.items()],
            },
        }


def verify(data: bytes, pins: Pins = Pins()) -> Report:  # noqa: B008 - frozen
    """The report on a file."""
    form_check, *others = rules.CHECKS
    try:
        bundle = form.read(data)
    except GatewayError as error:
        fault = Fault(str(error.context.get("place", "the file")), error.detail)
        return Report((Result(form_check, True, (fault,)), *(Result(check, False) for check in others)), None)
    case = Case(bundle, pins)
    results: list[Result] = []
    going = True
    for check in rules.CHECKS:
        faults = tuple(_CHECKS[check.name](case))[:MAX_FAULTS] if going else ()
        results.append(Result(check, going, faults, case.remarks.get(check.name, "")))
        going = going and not faults
    return Report(tuple(results), bundle, case.witnessed, pins.witnessing)


def _form(case: Case) -> Iterator[Fault]:
    """The parts of the bundle are in order, each once, and each behind another."""
    bundle = case.bundle
    if bundle.notice != form.NOTICE:
        yield Fault("notice", "it is not the notice of this format")
    if bundle.synthetic not in (None, form.SYNTHETIC):
        yield Fault("synthetic", "it is not the mark of a demonstration")
    for name, indexes in (
        ("entries", [e.index for e in bundle.entries]),
        ("messages", [m.entry for m in bundle.messages]),
    ):
        for nr, (one, following) in enumerate(pairwise(indexes), 1):
            if one >= following:
                yield Fault(place(name, nr), "it does not stand in the log's order, or twice")
    behind = {m.entry for m in bundle.messages} | {index for key in bundle.keys for index in key.entries}
    for nr, entry in enumerate(bundle.entries):
        if entry.index not in behind:
            yield Fault(place("entries", nr), "it is the entry of no message and no key here")
    for nr, text in enumerate(bundle.items):
        if text in bundle.items[:nr]:
            yield Fault(place("items", nr), "it stands there twice")


def _signatures(case: Case) -> Iterator[Fault]:
    """Signatures, and that every item is one that a message lists."""
    yield from signatures.signatures(case)
    listed = {name for said in case.said for name in said.statement.listed}
    for nr, text in enumerate(case.bundle.items):
        if compact.digest(text) not in listed:
            yield Fault(place("items", nr), "no message lists its hash")


_CHECKS: dict[str, Callable[[Case], Iterator[Fault]]] = {
    "form": _form,
    "checkpoints": tree.checkpoints,
    "consistency": tree.consistency,
    "leaves": tree.leaves,
    "inclusion": tree.inclusion,
    "witnesses": tree.witnesses,
    "keys": signatures.keys,
    "signatures": _signatures,
    "records": signatures.records,
    "items": answers.items,
    "answers": answers.answers,
    "course": course.course,
    "conservation": course.conservation,
    "timeline": timeline.timeline,
}
