"""What crash safety needs: whose a lease is, alarms, resumptions, and withdrawals that overtook their proposals.

The rows of the new tables stay as they were written, like everything that is evidence.
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

#: What others carry is kept beside what was received and sent, and is never sent again.
EVIDENCE = """
ALTER TABLE message DROP CONSTRAINT message_direction_check,
  ADD CONSTRAINT message_direction_check CHECK (direction IN ('in', 'out', 'shown'));
"""

#: A withdrawal that overtakes its proposal waits here for it: the proposal then ends as it arrives.
WITHDRAWALS = """
CREATE TABLE early_withdrawal (
  transfer_id text PRIMARY KEY,
  item text NOT NULL,
  sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
  entry_id bigint NOT NULL REFERENCES message
);
GRANT SELECT, INSERT ON early_withdrawal TO gateway_app;
"""


def upgrade() -> None:
    """Add the columns and tables, and what the serving role may do with them."""
    for part in (LEASES, ALARMS, EVIDENCE, WITHDRAWALS):
        op.execute(part)
    for table in ("alarm", "resumption", "early_withdrawal"):
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
    raise NotImplementedError("alarms are evidence and are not taken back")
