"""What is due as a whole has one table, for requests and records alike."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: Messages that are due as a whole: what requests had in columns of their own.
OWED = """
CREATE TABLE owed (
  message_id uuid PRIMARY KEY,
  peer text NOT NULL REFERENCES link,
  attempts integer NOT NULL DEFAULT 0,
  next_at timestamptz NOT NULL,
  leased_until timestamptz,
  leased_by text,
  waiting text
);
CREATE INDEX owed_due ON owed (next_at);
INSERT INTO owed SELECT message_id, source, attempts, next_at, leased_until, leased_by, waiting
FROM transfer_request WHERE next_at IS NOT NULL;
ALTER TABLE transfer_request DROP COLUMN attempts, DROP COLUMN next_at, DROP COLUMN leased_until,
  DROP COLUMN leased_by, DROP COLUMN waiting;
GRANT SELECT, INSERT, DELETE ON owed TO gateway_app;
GRANT UPDATE (attempts, next_at, leased_until, leased_by, waiting) ON owed TO gateway_app;
"""


def upgrade() -> None:
    """Add the tables, move what is due, and say what the serving role may do."""
    op.execute(OWED)


def downgrade() -> None:
    """Refuse: evidence is not thrown away by a command."""
    raise NotImplementedError("what was recorded is evidence and is not taken back")
