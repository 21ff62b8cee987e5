"""Who sees which transfer, written once for each: a row for each registry, link or Party whose people see it.

A transfer's own columns say who its sides are, but an index on each of them would have to follow every step the
transfer takes: its rows are written some seven times. These rows are written with the transfer, and for its first
transferring Party when its units are first transferred, and never again; one index orders what each viewer sees.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

#: ``viewer`` is the code of a registry or a link, or a Party's, which has three letters and is no registry's. That the
#: transfer is there is not looked up for every row: they are written together, and the doctor compares them.
VIEWERS = """
CREATE TABLE transfer_viewer (
  viewer text NOT NULL,
  created_at timestamptz NOT NULL,
  transfer_id text NOT NULL,
  PRIMARY KEY (viewer, created_at, transfer_id)
);
CREATE TRIGGER transfer_viewer_rows_stay BEFORE UPDATE OR DELETE ON transfer_viewer
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfer_viewer_is_not_emptied BEFORE TRUNCATE ON transfer_viewer
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON transfer_viewer TO gateway_app;
"""

#: The sides of the transfers that are there.
SIDES = """
INSERT INTO transfer_viewer (viewer, created_at, transfer_id)
SELECT DISTINCT v.viewer, t.created_at, t.id
FROM transfer t LEFT JOIN link_registry r ON r.registry = t.transferring_registry AND r.link = t.source
CROSS JOIN LATERAL (VALUES (t.source), (r.registry), (t.acquirer),
  (CASE WHEN t.acquirer IS NOT NULL THEN t.acquiring_registry END)) AS v(viewer)
WHERE v.viewer IS NOT NULL
"""

#: The first transferring Parties of units that were proposed with ITMO identifiers and passed the checks, and of units
#: that a release first transfers.
PARTIES = """
INSERT INTO transfer_viewer (viewer, created_at, transfer_id)
SELECT DISTINCT b.block -> 'attributes' ->> 'first_transferring_party', t.created_at, t.id
FROM transfer t JOIN transfer_step p ON p.transfer_id = t.id AND p.step = 'propose'
LEFT JOIN transfer_step r ON r.transfer_id = t.id AND r.step = 'released'
CROSS JOIN LATERAL jsonb_array_elements(
  CASE WHEN t.offer_id IS NOT NULL OR r.item IS NOT NULL THEN CAST(p.item AS jsonb) -> 'blocks' END) AS b(block)
WHERE (b.block ? 'itmo' AND t.offer_id IS NOT NULL)
   OR (NOT b.block ? 'itmo' AND CAST(CAST(r.item AS jsonb) ->> 'first_transfer' AS boolean))
ON CONFLICT DO NOTHING
"""

#: Whether an alarm is about a record of somebody's section; few records are refused.
REFUSED = "CREATE INDEX action_record_refused ON action_record (cause) WHERE state = 'refused'"

#: What each registry's or link's people list, newest first.
LISTED = """
CREATE INDEX action_record_of_section ON action_record (section, id);
CREATE INDEX action_record_of_link ON action_record (link, id);
CREATE INDEX alarm_of_link ON alarm (link, id);
"""


def upgrade() -> None:
    """Make the table, and write who sees the transfers that are there."""
    for part in (VIEWERS, SIDES, PARTIES, REFUSED, LISTED):
        op.execute(part)


def downgrade() -> None:
    """Refuse: evidence is not thrown away by a command."""
    raise NotImplementedError("who saw what is evidence and is not taken back")
