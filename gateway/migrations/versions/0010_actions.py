"""Movements of units that Parties account for, and the actions of both Parties' views, which are read from them.

One row for each group of like units that one cause has moved: what one Party transferred and what the other acquired
is the same row, so the two cannot differ. Who used or cancelled units made a row of one side. The rows of what was
completed before are made here from the signed words that are kept, as they would have been made then.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

#: ``party`` and ``registry`` are those whose books the units were in: of the Party that transferred, used or cancelled
#: them. ``first_transfer``: this made ITMOs of the units; ``first_transferred``: they are, by this or before.
#: That the log entry is there is not looked up for every row: they are written together, and the doctor compares them.
MOVEMENTS = """
CREATE TABLE unit_movement (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  cause text NOT NULL CHECK (length(cause) <= 128),
  part integer NOT NULL CHECK (part >= 1),
  type text NOT NULL CHECK (type IN ('Authorization', 'First transfer', 'Transfer', 'Use', 'Cancellation')),
  subtype text,
  at timestamptz NOT NULL,
  party text NOT NULL,
  registry text NOT NULL,
  acquiring_party text,
  acquiring_registry text,
  acquired_at timestamptz,
  purpose text,
  entity text,
  year integer,
  first_transferring_party text NOT NULL,
  vintage integer NOT NULL,
  metric text NOT NULL,
  cooperative_approach text NOT NULL,
  authorisation text,
  authorisation_version integer,
  first_transfer boolean NOT NULL,
  first_transferred boolean NOT NULL,
  quantity bigint NOT NULL CHECK (quantity >= 1),
  entry_id bigint NOT NULL,
  CONSTRAINT one_row_of_a_part UNIQUE (cause, part),
  CHECK (num_nulls(acquiring_party, acquiring_registry, acquired_at) IN (0, 3)),
  CHECK (acquiring_party IS NULL OR type IN ('First transfer', 'Transfer')),
  CHECK ((authorisation IS NULL) = (authorisation_version IS NULL)),
  CHECK (first_transfer OR type <> 'First transfer'),
  CHECK (first_transferred OR NOT first_transfer)
);
CREATE INDEX unit_movement_out_of ON unit_movement (registry, id);
CREATE INDEX unit_movement_into ON unit_movement (acquiring_registry, id) WHERE acquiring_registry IS NOT NULL;
CREATE INDEX unit_movement_of_itmos ON unit_movement (first_transferring_party, id) WHERE first_transferred;
CREATE INDEX unit_movement_used ON unit_movement (party) WHERE type = 'Use';
CREATE TRIGGER unit_movement_rows_stay BEFORE UPDATE OR DELETE ON unit_movement
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER unit_movement_is_not_emptied BEFORE TRUNCATE ON unit_movement
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON unit_movement TO gateway_app;
"""

#: Types and subtypes as in the tables of the agreed electronic format. Units whose use or cancellation is their first
#: transfer make an action of their first transferring Party, too, wherever they are.
ACTIONS = """
CREATE VIEW party_action AS
SELECT m.id AS movement, s.side, s.party, s.registry, s.type, s.subtype, s.at, s.counterparty, s.counterparty_registry,
       m.cause, m.part, m.purpose, m.entity, m.year, m.first_transferring_party, m.vintage, m.metric,
       m.cooperative_approach, m.authorisation, m.authorisation_version, m.first_transfer, m.first_transferred,
       m.quantity, m.entry_id
FROM unit_movement m CROSS JOIN LATERAL (VALUES
  (1, CASE WHEN m.acquiring_party IS NOT NULL OR m.type <> 'First transfer' OR m.party = m.first_transferring_party
       THEN m.party END, m.registry,
   CASE WHEN m.type = 'First transfer' AND m.party <> m.first_transferring_party THEN 'Transfer' ELSE m.type END,
   CASE WHEN m.type = 'First transfer' AND m.party <> m.first_transferring_party THEN NULL ELSE m.subtype END,
   m.at, m.acquiring_party, m.acquiring_registry),
  (2, m.acquiring_party, m.acquiring_registry, 'Acquisition', NULL, m.acquired_at, m.party, m.registry),
  (3, CASE WHEN m.first_transfer AND (m.type IN ('Use', 'Cancellation') OR m.party <> m.first_transferring_party)
       THEN m.first_transferring_party END, m.registry, 'First transfer',
   CASE WHEN m.type IN ('Use', 'Cancellation') THEN 'Use or cancellation' ELSE m.subtype END, m.at,
   CASE WHEN m.type IN ('Use', 'Cancellation') THEN m.party ELSE m.acquiring_party END,
   CASE WHEN m.type IN ('Use', 'Cancellation') THEN m.registry ELSE m.acquiring_registry END)
) AS s(side, party, registry, type, subtype, at, counterparty, counterparty_registry)
WHERE s.party IS NOT NULL;
GRANT SELECT ON party_action TO gateway_app;
"""

#: What groups of units of a cause have in common, from blocks ``b(block)`` as they are on the wire.
_LIKE = """
  block -> 'attributes' ->> 'first_transferring_party' AS first_transferring_party,
  CAST(block -> 'attributes' ->> 'vintage' AS integer) AS vintage, block -> 'attributes' ->> 'metric' AS metric,
  block -> 'attributes' ->> 'cooperative_approach' AS cooperative_approach,
  coalesce(block -> 'attributes' -> 'authorisation' ->> 'id', said -> 'authorisation' ->> 'id') AS authorisation,
  CAST(coalesce(block -> 'attributes' -> 'authorisation' ->> 'version', said -> 'authorisation' ->> 'version')
    AS integer) AS authorisation_version,
  sum(CAST(block ->> 'last' AS bigint) - CAST(block ->> 'first' AS bigint) + 1) AS quantity
"""
_COLUMNS = """
  cause, part, type, subtype, at, party, registry, acquiring_party, acquiring_registry, acquired_at, purpose, year,
  first_transferring_party, vintage, metric, cooperative_approach, authorisation, authorisation_version,
  first_transfer, first_transferred, quantity, entry_id
"""

#: Units that bear no identifier are taken for ITMOs only where this transfer has made them so.
TRANSFERS = f"""
WITH completed AS (
  SELECT t.id, CAST(p.item AS jsonb) AS said, CAST(r.item AS jsonb) AS released, CAST(c.item AS jsonb) AS credited,
         e.entry_id
  FROM transfer t JOIN transfer_step p ON p.transfer_id = t.id AND p.step = 'propose'
  JOIN transfer_step r ON r.transfer_id = t.id AND r.step = 'released'
  JOIN transfer_step c ON c.transfer_id = t.id AND c.step = 'credited'
  JOIN transfer_event e ON e.transfer_id = t.id AND e.state = 'completed'
  WHERE t.state = 'completed'
), alike AS (
  SELECT c.id, c.said, c.released, c.credited, c.entry_id, block ? 'itmo' AS named, {_LIKE}
  FROM completed c CROSS JOIN LATERAL jsonb_array_elements(c.said -> 'blocks') AS b(block)
  GROUP BY c.id, c.said, c.released, c.credited, c.entry_id, named, 7, 8, 9, 10, 11, 12
), made AS (
  SELECT *, NOT named AND CAST(released ->> 'first_transfer' AS boolean) AS first_transfer FROM alike
)
INSERT INTO unit_movement ({_COLUMNS})
SELECT id, row_number() OVER (PARTITION BY id ORDER BY first_transferring_party, vintage, named),
       CASE WHEN first_transfer THEN 'First transfer' ELSE 'Transfer' END,
       CASE WHEN first_transfer THEN 'First transfer to another Party' END,
       CAST(released ->> 'released_at' AS timestamptz), said -> 'transferring' ->> 'party',
       said -> 'transferring' ->> 'registry', said -> 'acquiring' ->> 'party', said -> 'acquiring' ->> 'registry',
       CAST(credited ->> 'credited_at' AS timestamptz), said ->> 'purpose', NULL,
       first_transferring_party, vintage, metric, cooperative_approach, authorisation, authorisation_version,
       first_transfer, named OR first_transfer, quantity, entry_id
FROM made ORDER BY entry_id, id
"""
DISPOSALS = f"""
WITH alike AS (
  SELECT a.id, a.registry, a.action, a.type, a.at, a.entry_id, said, block ? 'itmo' AS named, {_LIKE}
  FROM action a CROSS JOIN LATERAL (SELECT CAST(a.item AS jsonb)) AS i(said)
  CROSS JOIN LATERAL jsonb_array_elements(said -> 'blocks') AS b(block)
  WHERE a.type IN ('use', 'cancellation')
  GROUP BY a.id, a.registry, a.action, a.type, a.at, a.entry_id, said, named, 9, 10, 11, 12, 13, 14
), made AS (SELECT *, CAST(left(said ->> 'to_account', 3) AS integer) AS account_type FROM alike)
INSERT INTO unit_movement ({_COLUMNS})
SELECT registry || '/' || action, row_number() OVER (PARTITION BY id ORDER BY first_transferring_party, vintage, named),
       initcap(type), CASE WHEN type = 'use' THEN NULL WHEN account_type = 320
         THEN 'Voluntary cancellation to deliver OMGE' ELSE 'Other cancellations' END,
       at, said ->> 'party', registry, NULL, NULL, NULL,
       CASE account_type WHEN 200 THEN 'NDC' WHEN 210 THEN 'IMP' WHEN 310 THEN 'OP' WHEN 320 THEN 'OMGE'
         ELSE 'other' END,
       CASE WHEN account_type = 200 THEN extract(year FROM at AT TIME ZONE 'UTC') END,
       first_transferring_party, vintage, metric, cooperative_approach, authorisation, authorisation_version,
       false, named, quantity, entry_id
FROM made ORDER BY entry_id, id
"""


def upgrade() -> None:
    """Make the table and the view, and the rows of what is completed already."""
    for part in (MOVEMENTS, ACTIONS, TRANSFERS, DISPOSALS):
        op.execute(part)


def downgrade() -> None:
    """Refuse: evidence is not thrown away by a command."""
    raise NotImplementedError("what was accounted for is evidence and is not taken back")
