"""Reads for the doctor what was told of authorisations, and everything that has drawn on them. Nothing here judges."""

from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import Row

from gateway import db
from gateway.doctor.store import MANY, stream


def authorisations(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every authorisation: what it says was drawn, what its rows add up to, its versions and its present quantity.

    ``relied`` is what transfers have drawn and not given back, ``acted`` what actions outside a relay have.
    """
    return stream(
        tx,
        """
        SELECT a.party, a.name, a.drawn, coalesce(r.drawn, 0) AS relied, coalesce(d.drawn, 0) AS acted,
               v.versions, v.quantity
        FROM authorisation a
        LEFT JOIN (SELECT authorisation_id, sum(drawn) AS drawn FROM reliance WHERE returned_by IS NULL GROUP BY 1) AS r
          ON r.authorisation_id = a.id
        LEFT JOIN (SELECT authorisation_id, sum(drawn) AS drawn FROM drawing GROUP BY 1) AS d
          ON d.authorisation_id = a.id
        LEFT JOIN (SELECT authorisation_id, array_agg(version ORDER BY version) AS versions,
                     (array_agg(CAST(CAST(terms AS jsonb) ->> 'quantity' AS bigint) ORDER BY version DESC))[1]
                       AS quantity
                   FROM authorisation_version GROUP BY 1) AS v ON v.authorisation_id = a.id
        ORDER BY a.party, a.name
        """,
        MANY,
    )


def reliances(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Everything that a transfer relies on, the transfer's state, and the entry that ended it, if one has."""
    return stream(
        tx,
        """
        SELECT r.transfer_id, a.party, a.name, r.drawn, r.returned_by, t.state, t.quantity,
               (SELECT e.entry_id FROM transfer_event e WHERE e.transfer_id = t.id ORDER BY e.version DESC LIMIT 1)
                 AS last_entry
        FROM reliance r JOIN authorisation a ON a.id = r.authorisation_id LEFT JOIN transfer t ON t.id = r.transfer_id
        ORDER BY r.transfer_id, a.party
        """,
        MANY,
    )


def told(tx: db.ReadTx) -> AsyncIterator[Row[Any]]:
    """Every version and every revocation (``version`` is null), and whether the entry it names says the same.

    A registry's is an action of that entry's message, one of operators is in the record of the entry itself.
    """
    return stream(
        tx,
        """
        WITH kept AS (
          SELECT authorisation_id, version, 'authorisation' AS type, 'authorisation.told' AS kind, told_by, entry_id,
                 CAST(terms AS jsonb) AS terms, NULL AS reason FROM authorisation_version
          UNION ALL
          SELECT authorisation_id, NULL, 'revocation', 'authorisation.revoked', told_by, entry_id, NULL, reason
          FROM authorisation_revocation
        )
        SELECT a.party, a.name, k.version, k.told_by, k.entry_id, EXISTS (
          SELECT FROM action c JOIN message m ON m.entry_id = c.entry_id AND m.peer = k.told_by
          CROSS JOIN LATERAL (SELECT CAST(c.item AS jsonb)) AS i(said)
          WHERE c.entry_id = k.entry_id AND c.type = k.type
            AND CASE WHEN k.version IS NOT NULL THEN said -> 'authorisation' = k.terms
                ELSE (said ->> 'party', said -> 'authorisation' ->> 'id', said ->> 'reason')
                     = (a.party, a.name, k.reason) END
        ) OR EXISTS (
          SELECT FROM log_entry e JOIN log_record r ON r.entry_id = e.id
          CROSS JOIN LATERAL (SELECT CAST(CASE WHEN e.kind = k.kind THEN convert_from(r.record, 'UTF8') END AS jsonb))
            AS i(said)
          WHERE e.id = k.entry_id AND k.told_by LIKE 'operator of %'
            AND CASE WHEN k.version IS NOT NULL THEN said -> 'terms' = k.terms
                ELSE (said ->> 'party', said ->> 'id', said ->> 'reason') = (a.party, a.name, k.reason) END
        ) AS said
        FROM kept k JOIN authorisation a ON a.id = k.authorisation_id ORDER BY a.party, a.name, k.version
        """,
        MANY,
    )
