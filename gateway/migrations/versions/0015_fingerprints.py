"""Fingerprints of books, kept as of the log tree of one size and brought up to a later one when a cut is taken.

They follow from ``position`` and the log's leaves and could be made again from these. Nothing here is evidence: the
roots of a reconciliation are written into the log.

The two indexes of ``position`` are the list of what was touched since: whoever moves units writes nothing more, and
the rows that differ between two sizes are those that an entry sequenced between them opened or closed.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

TOUCHED = """
CREATE INDEX position_opened_by ON position (opened_by);
CREATE INDEX position_closed_by ON position (closed_by) WHERE closed_by IS NOT NULL;
"""

#: ``hash`` is the SHA-256 of ``text``, as registries name it.
STATES = """
CREATE TABLE fingerprint_state (
  hash bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
  text text NOT NULL
);
CREATE TRIGGER fingerprint_state_rows_stay BEFORE UPDATE OR DELETE ON fingerprint_state
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER fingerprint_state_is_not_emptied BEFORE TRUNCATE ON fingerprint_state
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON fingerprint_state TO gateway_app;
"""

#: ``fingerprint_series``: the apex of each series with units in the book, and what is said of it.
#: ``fingerprint_directory``: of prefixes with more than 64 series, count and digest of the sixteen children (40 bytes
#: each). ``fingerprint_node``: from the interval of all serials down to those with 64 runs at most, which have no rows
#: below them. ``content`` of these is their runs (48 bytes each: first, last, hash of the state), of the others, which
#: are ``inner``, their children that are not empty (121 bytes each, ``holdings/fingerprint_tree.py``). It is mostly
#: hashes, which do not compress, and less than half a page: PLAIN. ``fingerprint_total`` is in whole units.
BOOKS = """
CREATE TABLE fingerprint_book (
  registry text PRIMARY KEY,
  size bigint NOT NULL CHECK (size >= 0),
  root bytea NOT NULL CHECK (octet_length(root) = 32),
  series bigint NOT NULL CHECK (series >= 0)
);
CREATE TRIGGER fingerprint_book_only_goes_on BEFORE UPDATE ON fingerprint_book FOR EACH ROW
  WHEN (NEW.size < OLD.size OR NEW.registry <> OLD.registry) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER fingerprint_book_rows_stay BEFORE DELETE ON fingerprint_book
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER fingerprint_book_is_not_emptied BEFORE TRUNCATE ON fingerprint_book
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TABLE fingerprint_series (
  registry text NOT NULL,
  series_id integer NOT NULL REFERENCES unit_series,
  name_hash bytea NOT NULL CHECK (octet_length(name_hash) = 32),
  level smallint NOT NULL CHECK (level BETWEEN 0 AND 14),
  nr bigint NOT NULL CHECK (nr >= 0),
  count bigint NOT NULL CHECK (count > 0),
  digest bytea NOT NULL CHECK (octet_length(digest) = 32),
  PRIMARY KEY (registry, series_id)
);
CREATE INDEX fingerprint_series_by_name ON fingerprint_series (registry, name_hash);
CREATE TABLE fingerprint_directory (
  registry text NOT NULL,
  prefix text COLLATE "C" NOT NULL CHECK (prefix ~ '^[0-9a-f]{0,15}$'),
  content bytea NOT NULL CHECK (octet_length(content) = 640),
  PRIMARY KEY (registry, prefix)
);
CREATE TABLE fingerprint_node (
  registry text NOT NULL,
  series_id integer NOT NULL REFERENCES unit_series,
  level smallint NOT NULL CHECK (level BETWEEN 0 AND 14),
  nr bigint NOT NULL CHECK (nr >= 0),
  inner_node boolean NOT NULL,
  content bytea NOT NULL CHECK (octet_length(content) BETWEEN 1 AND 3072),
  PRIMARY KEY (registry, series_id, level, nr)
);
ALTER TABLE fingerprint_node ALTER COLUMN content SET STORAGE PLAIN;
CREATE TABLE fingerprint_total (
  registry text NOT NULL,
  party text NOT NULL,
  account_type smallint NOT NULL,
  vintage integer NOT NULL,
  quantity numeric(30) NOT NULL CHECK (quantity >= 0),
  PRIMARY KEY (registry, party, account_type, vintage)
);
"""
RIGHTS = """
GRANT SELECT, INSERT ON fingerprint_book, fingerprint_total TO gateway_app;
GRANT SELECT, INSERT, DELETE ON fingerprint_series, fingerprint_directory, fingerprint_node TO gateway_app;
GRANT UPDATE (size, root, series) ON fingerprint_book TO gateway_app;
GRANT UPDATE (level, nr, count, digest) ON fingerprint_series TO gateway_app;
GRANT UPDATE (content) ON fingerprint_directory TO gateway_app;
GRANT UPDATE (inner_node, content) ON fingerprint_node TO gateway_app;
GRANT UPDATE (quantity) ON fingerprint_total TO gateway_app;
"""


def upgrade() -> None:
    """Make the tables; a registry's nodes are made when its first cut is taken."""
    for part in (TOUCHED, STATES, BOOKS, RIGHTS):
        op.execute(part)


def downgrade() -> None:
    """Drop what can be made again."""
    for table in ("total", "node", "directory", "series", "book", "state"):
        op.execute(f"DROP TABLE fingerprint_{table}")
    op.execute("DROP INDEX position_opened_by, position_closed_by")
