"""Boxes with a width in the exclusion constraints, room for updates in a row's own page, bodies uncompressed.

A series is a number on one axis, serials are on the other. A box as wide as nothing has no area, and an index of such
boxes cannot tell its subtrees apart: at a million positions it read a hundred times as many pages as one of boxes
half a series wide, which overlap in the same cases, because series are whole numbers.

Most of a body is hashes and signatures in base64, which compress badly: PostgreSQL's own compression made them less
than half as long and took longer than everything else that storing them takes.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


WIDE = "EXCLUDE USING gist (box(point({0}, {1}), point({0} + 0.5::double precision, {2})) WITH &&) WHERE ({3})"
#: Constraint → table, series, first, last, and which rows it is about.
CONSTRAINTS = {
    "one_position_per_unit": ("position", "series_id", "first", "last", "closed_by IS NULL"),
    "one_identifier_per_unit": (
        "position", "itmo_series_id", "first + itmo_offset", "last + itmo_offset",
        "closed_by IS NULL AND itmo_series_id IS NOT NULL",
    ),
    "one_claim_per_unit": ("claim", "series_id", "first", "last", "released_by IS NULL"),
}  # fmt: skip


def upgrade() -> None:
    """Make the constraints anew; store what comes from now on as it is said here, what is there stays as it is."""
    for name, (table, *parts) in CONSTRAINTS.items():
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {WIDE.format(*parts)}")
    op.execute("ALTER TABLE transfer SET (fillfactor = 50)")
    op.execute("ALTER TABLE message ALTER COLUMN body SET STORAGE EXTERNAL")


def downgrade() -> None:
    """Compress what comes from now on, in full pages; the constraints forbid the same as before."""
    op.execute("ALTER TABLE transfer RESET (fillfactor)")
    op.execute("ALTER TABLE message ALTER COLUMN body SET STORAGE EXTENDED")
