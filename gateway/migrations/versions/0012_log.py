"""The Merkle tree over the log's entries, its published checkpoints, and who witnesses whom.

A leaf's place and a checkpoint stay as they were written; a tile only grows at its end, the tree's head only forward.
So what these tables say can be added to by whoever has the processes' password, and never changed.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

#: ``swept``: every entry up to this id has its leaf, or will never exist.
TREE = """
CREATE TABLE log_leaf (
  leaf_index bigint PRIMARY KEY CHECK (leaf_index >= 0),
  entry_id bigint NOT NULL UNIQUE REFERENCES log_entry
);
CREATE TABLE log_tile (
  level smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
  nr bigint NOT NULL CHECK (nr >= 0),
  width smallint NOT NULL CHECK (width BETWEEN 1 AND 256),
  hashes bytea NOT NULL CHECK (octet_length(hashes) = 32 * width),
  PRIMARY KEY (level, nr)
);
CREATE TABLE log_head (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  size bigint NOT NULL CHECK (size >= 0),
  root bytea NOT NULL CHECK (octet_length(root) = 32),
  swept bigint NOT NULL CHECK (swept >= 0)
);
INSERT INTO log_head (size, root, swept) VALUES (0, sha256(''), 0);
CREATE TRIGGER log_tile_only_grows BEFORE UPDATE ON log_tile FOR EACH ROW
  WHEN (NEW.level <> OLD.level OR NEW.nr <> OLD.nr OR NEW.width <= OLD.width
        OR substr(NEW.hashes, 1, 32 * OLD.width) <> OLD.hashes)
  EXECUTE FUNCTION refuse_change();
CREATE TRIGGER log_head_only_moves_on BEFORE UPDATE ON log_head FOR EACH ROW
  WHEN (NEW.size < OLD.size OR NEW.swept < OLD.swept OR (NEW.size = OLD.size AND NEW.root <> OLD.root))
  EXECUTE FUNCTION refuse_change();
"""

#: ``log_stop`` is a checkpoint that our keys have signed and this tree does not have: with it nothing is published.
CHECKPOINTS = """
CREATE INDEX message_answering ON message (in_reply_to) WHERE in_reply_to IS NOT NULL;
CREATE TABLE log_key (
  id text PRIMARY KEY,
  vkeys text[] NOT NULL,
  not_before timestamptz NOT NULL,
  registered_by bigint NOT NULL REFERENCES log_entry,
  retired_at timestamptz,
  retired_by bigint REFERENCES log_entry,
  CHECK ((retired_at IS NULL) = (retired_by IS NULL))
);
CREATE TRIGGER log_key_is_retired_once BEFORE UPDATE ON log_key FOR EACH ROW
  WHEN (OLD.retired_by IS NOT NULL OR NEW.retired_by IS NULL
        OR ROW(OLD.id, OLD.vkeys, OLD.not_before, OLD.registered_by)
        IS DISTINCT FROM ROW(NEW.id, NEW.vkeys, NEW.not_before, NEW.registered_by))
  EXECUTE FUNCTION refuse_change();
CREATE TABLE log_checkpoint (
  size bigint PRIMARY KEY CHECK (size > 0),
  note text NOT NULL,
  at timestamptz NOT NULL
);
CREATE TABLE log_stop (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  witness text NOT NULL,
  note text NOT NULL,
  at timestamptz NOT NULL,
  entry_id bigint NOT NULL REFERENCES log_entry
);
CREATE TABLE log_witness (
  name text PRIMARY KEY,
  link text REFERENCES link,
  url text,
  vkey text NOT NULL,
  added_by bigint NOT NULL REFERENCES log_entry,
  removed_by bigint REFERENCES log_entry,
  CONSTRAINT a_witness_is_somewhere CHECK (num_nonnulls(link, url) = 1)
);
CREATE TRIGGER log_witness_is_removed_once BEFORE UPDATE ON log_witness FOR EACH ROW
  WHEN (OLD.removed_by IS NOT NULL OR NEW.removed_by IS NULL
        OR ROW(OLD.name, OLD.link, OLD.url, OLD.vkey, OLD.added_by)
        IS DISTINCT FROM ROW(NEW.name, NEW.link, NEW.url, NEW.vkey, NEW.added_by))
  EXECUTE FUNCTION refuse_change();
CREATE TABLE log_cosignature (
  size bigint NOT NULL REFERENCES log_checkpoint,
  witness text NOT NULL REFERENCES log_witness,
  at timestamptz NOT NULL,
  line text NOT NULL,
  PRIMARY KEY (size, witness)
);
CREATE INDEX log_cosignature_of_witness ON log_cosignature (witness, size);
"""

#: ``split_view`` is what its log has signed beside what it had signed before: at most one row a signed checkpoint.
WITNESSED = """
CREATE TABLE witnessed_log (
  origin text PRIMARY KEY,
  link text NOT NULL REFERENCES link,
  vkeys text[] NOT NULL,
  size bigint NOT NULL DEFAULT 0 CHECK (size >= 0),
  root bytea NOT NULL CHECK (octet_length(root) = 32),
  note text NOT NULL DEFAULT '',
  added_by bigint NOT NULL REFERENCES log_entry
);
CREATE TRIGGER witnessed_log_only_grows BEFORE UPDATE ON witnessed_log FOR EACH ROW
  WHEN (NEW.size < OLD.size OR (NEW.size = OLD.size AND NEW.root <> OLD.root) OR
        ROW(OLD.origin, OLD.link) IS DISTINCT FROM ROW(NEW.origin, NEW.link))
  EXECUTE FUNCTION refuse_change();
CREATE TABLE split_view (
  origin text NOT NULL REFERENCES witnessed_log,
  size bigint NOT NULL,
  root bytea NOT NULL CHECK (octet_length(root) = 32),
  note text NOT NULL,
  known text NOT NULL,
  at timestamptz NOT NULL,
  proven boolean,
  entry_id bigint NOT NULL REFERENCES log_entry,
  PRIMARY KEY (origin, size, root)
);
CREATE TRIGGER split_view_is_settled_once BEFORE UPDATE ON split_view FOR EACH ROW
  WHEN (OLD.proven IS NOT NULL OR NEW.proven IS NULL
        OR ROW(OLD.origin, OLD.size, OLD.root, OLD.note, OLD.known, OLD.at, OLD.entry_id)
        IS DISTINCT FROM ROW(NEW.origin, NEW.size, NEW.root, NEW.note, NEW.known, NEW.at, NEW.entry_id))
  EXECUTE FUNCTION refuse_change();
"""

#: Table → the columns the serving role may change; where there is none, its rows stay as they were written.
COLUMNS = {
    "log_leaf": "",
    "log_tile": "width, hashes",
    "log_head": "size, root, swept",
    "log_key": "retired_at, retired_by",
    "log_checkpoint": "",
    "log_stop": "",
    "log_witness": "removed_by",
    "log_cosignature": "",
    "witnessed_log": "size, root, note, vkeys, added_by",
    "split_view": "proven",
}


def upgrade() -> None:
    """Add the tables, and say what the serving role may do."""
    for part in (TREE, CHECKPOINTS, WITNESSED):
        op.execute(part)
    op.execute("GRANT SELECT ON SEQUENCE log_entry_id_seq TO gateway_app")
    for table, columns in COLUMNS.items():
        events = "DELETE" if columns else "UPDATE OR DELETE"
        op.execute(
            f"CREATE TRIGGER {table}_is_kept BEFORE {events} ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_is_not_emptied BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        insert = "" if table == "log_head" else ", INSERT"
        op.execute(f"GRANT SELECT{insert} ON {table} TO gateway_app")
        if columns:
            op.execute(f"GRANT UPDATE ({columns}) ON {table} TO gateway_app")


def downgrade() -> None:
    """Refuse: evidence is not thrown away by a command."""
    raise NotImplementedError("the log is evidence and is not taken back")
