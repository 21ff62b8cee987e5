"""Message bodies are kept as they come, uncompressed.

Most of a body is hashes and signatures in base64, which compress badly: PostgreSQL's own compression made them less
than half as long and took longer than everything else that storing them takes.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Store what comes from now on uncompressed; what is there stays as it is."""
    op.execute("ALTER TABLE message ALTER COLUMN body SET STORAGE EXTERNAL")


def downgrade() -> None:
    """Compress what comes from now on."""
    op.execute("ALTER TABLE message ALTER COLUMN body SET STORAGE EXTENDED")
