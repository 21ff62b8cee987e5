"""Rows of what a run compared and found; written once, as it ends, in two statements."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gateway import db
from gateway.reconciliation.classify import Judged
from gateway.reconciliation.reading import Totals

if TYPE_CHECKING:
    from gateway.reconciliation.judging import Compared


async def keep(
    tx: db.Tx, run: str, books: Sequence["Compared"], judged: Sequence[Judged], cases: Sequence[str]
) -> None:
    """Keep the books and the findings of a run; ``cases`` are those of what nothing explains, in order."""
    await _keep_books(tx, run, books)
    await _keep_findings(tx, run, judged, cases)


async def _keep_books(tx: db.Tx, run: str, books: Sequence["Compared"]) -> None:
    await db.execute(
        tx,
        """
        INSERT INTO reconciliation_book (reconciliation_id, registry, root, theirs, totals, totals_there, codes)
        SELECT :run, b.registry, b.root, decode(b.theirs, 'hex'), CAST(b.totals AS jsonb), CAST(b.there AS jsonb),
          CAST(b.codes AS integer[])
        FROM unnest(CAST(:registries AS text[]), CAST(:roots AS bytea[]), CAST(:theirs AS text[]),
                    CAST(:totals AS text[]), CAST(:there AS text[]), CAST(:codes AS text[]))
             AS b(registry, root, theirs, totals, there, codes)
        """,
        {
            "run": run,
            "registries": [one.registry for one in books],
            "roots": [one.root for one in books],
            "theirs": [None if one.theirs.root is None else one.theirs.root.hex() for one in books],
            "totals": [_written(one.totals) for one in books],
            "there": [_written(one.theirs.totals) for one in books],
            "codes": ["{" + ",".join(map(str, one.codes)) + "}" for one in books],
        },
    )


async def _keep_findings(tx: db.Tx, run: str, judged: Sequence[Judged], cases: Sequence[str]) -> None:
    following = iter(cases)
    found = [one.found for one in judged]
    await db.execute(
        tx,
        """
        INSERT INTO reconciliation_finding (reconciliation_id, registry, code, origin_registry, series, first, last,
          here, there, detail, explained_by, case_id)
        SELECT :run, f.registry, f.code, f.origin, f.series, f.first, f.last, f.here, f.there, f.detail,
          CASE WHEN f.explained IS NOT NULL
            THEN ARRAY(SELECT jsonb_array_elements_text(CAST(f.explained AS jsonb))) END, f.case_id
        FROM unnest(CAST(:registries AS text[]), CAST(:codes AS integer[]), CAST(:origins AS text[]),
                    CAST(:series AS text[]), CAST(:firsts AS bigint[]), CAST(:lasts AS bigint[]),
                    CAST(:here AS text[]), CAST(:there AS text[]), CAST(:details AS text[]),
                    CAST(:explained AS text[]), CAST(:cases AS text[])) WITH ORDINALITY
             AS f(registry, code, origin, series, first, last, here, there, detail, explained, case_id, nr)
        ORDER BY f.nr
        """,
        {
            "run": run,
            "registries": [one.registry for one in found],
            "codes": [one.code for one in found],
            "origins": [str(one.units.origin.registry) for one in found],
            "series": [one.units.origin.series for one in found],
            "firsts": [one.units.first for one in found],
            "lasts": [one.units.last for one in found],
            "here": [one.here for one in found],
            "there": [one.there for one in found],
            "details": [one.detail for one in found],
            "explained": [None if one.explained_by is None else json.dumps(one.explained_by) for one in judged],
            "cases": [next(following) if one.explained_by is None else None for one in judged],
        },
    )


def _written(totals: Totals) -> str:
    """Totals as the protocol writes them."""
    written: list[dict[str, Any]] = [
        {"party": party, "account_type": account_type, "vintage": vintage, "quantity": quantity}
        for (party, account_type, vintage), quantity in sorted(totals.items())
    ]
    return json.dumps(written)
