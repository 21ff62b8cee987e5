"""Local stub of the log's tables."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE log_leaf (leaf_index bigint PRIMARY KEY, entry_id bigint NOT NULL UNIQUE)")
    op.execute("CREATE TABLE log_checkpoint (size bigint PRIMARY KEY, note text NOT NULL, at timestamptz NOT NULL)")
    op.execute("GRANT SELECT, INSERT ON log_leaf, log_checkpoint TO gateway_app")


def downgrade() -> None:
    raise NotImplementedError
