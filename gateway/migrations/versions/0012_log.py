"""STUB of the log's tables, to be dropped for the real migration."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
CREATE TABLE log_leaf (leaf_index bigint PRIMARY KEY, entry_id bigint NOT NULL UNIQUE REFERENCES log_entry);
CREATE TABLE log_checkpoint (size bigint PRIMARY KEY, note text NOT NULL, at timestamptz NOT NULL);
CREATE TABLE log_cosignature (size bigint NOT NULL, witness text NOT NULL, at timestamptz NOT NULL, line text NOT NULL,
  PRIMARY KEY (size, witness));
CREATE TABLE log_witness (name text PRIMARY KEY, vkey text NOT NULL, url text NOT NULL);
CREATE TABLE log_key (vkey text PRIMARY KEY, not_before timestamptz NOT NULL, not_after timestamptz);
CREATE INDEX message_answering ON message (in_reply_to) WHERE in_reply_to IS NOT NULL;
GRANT SELECT, INSERT ON log_leaf, log_checkpoint, log_cosignature, log_witness, log_key TO gateway_app;
""")


def downgrade() -> None:
    raise NotImplementedError
