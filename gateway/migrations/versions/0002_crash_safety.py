"""What crash safety needs: whose a lease is, alarms, resumptions, and tombstones of transfers that never were proposed.

``alarm`` and ``resumption`` stay as they were written, like everything that is evidence.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LEASES = """
ALTER TABLE transfer ADD COLUMN leased_by text;
ALTER TABLE transfer_request ADD COLUMN leased_by text;
GRANT UPDATE (leased_by) ON transfer, transfer_request TO gateway_app;
"""

ALARMS = """
CREATE TABLE alarm (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL,
  link text NOT NULL REFERENCES link,
  transfer_id text NOT NULL,
  code integer NOT NULL,
  detail text NOT NULL,
  entry_id bigint NOT NULL REFERENCES log_entry,
  UNIQUE (link, transfer_id, code, detail)
);
CREATE TABLE resumption (
  transfer_id text NOT NULL REFERENCES transfer,
  version integer NOT NULL,
  person text NOT NULL,
  at timestamptz NOT NULL,
  entry_id bigint NOT NULL REFERENCES log_entry,
  PRIMARY KEY (transfer_id, version, person)
);
GRANT SELECT, INSERT ON alarm, resumption TO gateway_app;
"""

#: A withdrawal that overtakes its proposal is remembered by the transfer's id alone.
TOMBSTONES = """
ALTER TABLE transfer
  ALTER COLUMN transferring_registry DROP NOT NULL, ALTER COLUMN transferring_party DROP NOT NULL,
  ALTER COLUMN transferring_account DROP NOT NULL, ALTER COLUMN acquiring_registry DROP NOT NULL,
  ALTER COLUMN acquiring_party DROP NOT NULL, ALTER COLUMN acquiring_account DROP NOT NULL,
  ALTER COLUMN purpose DROP NOT NULL,
  ADD CONSTRAINT only_a_tombstone_lacks_its_proposal CHECK (
    (num_nulls(transferring_registry, transferring_party, transferring_account, acquiring_registry, acquiring_party,
               acquiring_account, purpose) = 0 AND quantity >= 1)
    OR (num_nonnulls(transferring_registry, transferring_party, transferring_account, acquiring_registry,
                     acquiring_party, acquiring_account, purpose, acquirer) = 0
        AND quantity = 0 AND block_count = 0 AND state = 'cancelled'));
"""


def upgrade() -> None:
    """Add the columns and tables, and what the serving role may do with them."""
    for part in (LEASES, ALARMS, TOMBSTONES):
        op.execute(part)
    for table in ("alarm", "resumption"):
        op.execute(
            f"CREATE TRIGGER {table}_rows_stay BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_is_not_emptied BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    """Refuse: evidence is not thrown away by a command."""
    raise NotImplementedError("alarms and tombstones are evidence and are not taken back")
