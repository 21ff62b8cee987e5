"""Authorisations, what transfers rely on, statements of host Parties, and what is flagged.

What was told stays as it was told. ``authorisation.drawn`` is the number of units that have moved under any version,
or are about to; it is changed under the row's lock only, together with the rows that add up to it.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TOLD = """
CREATE TABLE authorisation (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  party text NOT NULL,
  name text NOT NULL,
  drawn bigint NOT NULL DEFAULT 0 CHECK (drawn >= 0),
  UNIQUE (party, name)
);
CREATE TABLE authorisation_version (
  authorisation_id integer NOT NULL REFERENCES authorisation,
  version integer NOT NULL CHECK (version >= 1),
  terms text NOT NULL,
  told_by text NOT NULL,
  entry_id bigint NOT NULL REFERENCES log_entry,
  PRIMARY KEY (authorisation_id, version)
);
CREATE TABLE authorisation_revocation (
  authorisation_id integer PRIMARY KEY REFERENCES authorisation,
  reason text NOT NULL,
  told_by text NOT NULL,
  at timestamptz NOT NULL,
  entry_id bigint NOT NULL REFERENCES log_entry
);
CREATE TABLE host_statement (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  party text NOT NULL,
  activity text NOT NULL,
  says text NOT NULL CHECK (says IN ('all', 'part', 'none', 'later')),
  transitioned_from text,
  at timestamptz NOT NULL,
  told_by text NOT NULL,
  entry_id bigint NOT NULL REFERENCES log_entry
);
CREATE INDEX host_statement_of_activity ON host_statement (party, activity, at, id);
"""

#: A position's version: the one under which its units first moved, or were first transferred.
RELIED_ON = """
CREATE TABLE reliance (
  transfer_id text NOT NULL REFERENCES transfer,
  authorisation_id integer NOT NULL REFERENCES authorisation,
  version integer NOT NULL,
  first text,
  drawn bigint NOT NULL CHECK (drawn >= 0),
  returned_by bigint REFERENCES log_entry,
  PRIMARY KEY (transfer_id, authorisation_id),
  FOREIGN KEY (authorisation_id, version) REFERENCES authorisation_version
);
CREATE TRIGGER reliance_is_returned_once BEFORE UPDATE ON reliance FOR EACH ROW
  WHEN (OLD.returned_by IS NOT NULL OR NEW.returned_by IS NULL OR ROW(OLD.transfer_id, OLD.authorisation_id,
        OLD.version, OLD.first, OLD.drawn) IS DISTINCT FROM ROW(NEW.transfer_id, NEW.authorisation_id, NEW.version,
        NEW.first, NEW.drawn))
  EXECUTE FUNCTION refuse_change();
CREATE TABLE drawing (
  action_id bigint NOT NULL REFERENCES action,
  authorisation_id integer NOT NULL REFERENCES authorisation,
  version integer NOT NULL,
  drawn bigint NOT NULL CHECK (drawn > 0),
  PRIMARY KEY (action_id, authorisation_id),
  FOREIGN KEY (authorisation_id, version) REFERENCES authorisation_version
);
ALTER TABLE position ADD COLUMN relied_on integer;
DROP TRIGGER position_is_closed_once ON position;
CREATE TRIGGER position_is_closed_once BEFORE UPDATE ON position FOR EACH ROW
  WHEN (OLD.closed_by IS NOT NULL OR NEW.closed_by IS NULL OR ROW(OLD.id, OLD.series_id, OLD.first, OLD.last,
        OLD.registry, OLD.party, OLD.account_type, OLD.attributes_id, OLD.itmo_series_id, OLD.itmo_offset,
        OLD.first_transferred_at, OLD.relied_on, OLD.opened_by)
        IS DISTINCT FROM ROW(NEW.id, NEW.series_id, NEW.first, NEW.last, NEW.registry, NEW.party,
        NEW.account_type, NEW.attributes_id, NEW.itmo_series_id, NEW.itmo_offset, NEW.first_transferred_at,
        NEW.relied_on, NEW.opened_by))
  EXECUTE FUNCTION refuse_change();
"""

#: On units, on a registry, or on a Party.
FLAGS = """
CREATE TABLE flag (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('discrepancy', 'inconsistent', 'reversal', 'reconciling', 'lapsed')),
  series_id integer REFERENCES unit_series,
  first bigint,
  last bigint,
  registry text,
  party text,
  opened_by bigint NOT NULL REFERENCES log_entry,
  closed_by bigint REFERENCES log_entry,
  CHECK (num_nonnulls(series_id, registry, party) = 1 AND num_nonnulls(series_id, first, last) IN (0, 3)),
  CHECK (first IS NULL OR (1 <= first AND first <= last AND last <= 9007199254740991))
);
CREATE INDEX flag_on_units ON flag USING gist
  (box(point(series_id, first), point(series_id + CAST(0.5 AS double precision), last)))
  WHERE closed_by IS NULL AND series_id IS NOT NULL;
CREATE INDEX flag_elsewhere ON flag (kind) WHERE closed_by IS NULL AND series_id IS NULL;
CREATE TRIGGER flag_is_closed_once BEFORE UPDATE ON flag FOR EACH ROW
  WHEN (OLD.closed_by IS NOT NULL OR NEW.closed_by IS NULL OR ROW(OLD.id, OLD.kind, OLD.series_id, OLD.first, OLD.last,
        OLD.registry, OLD.party, OLD.opened_by) IS DISTINCT FROM ROW(NEW.id, NEW.kind, NEW.series_id, NEW.first,
        NEW.last, NEW.registry, NEW.party, NEW.opened_by))
  EXECUTE FUNCTION refuse_change();
"""

#: Tables nobody may change or delete a row of.
APPEND_ONLY = ("authorisation_version", "authorisation_revocation", "host_statement", "drawing")
KEPT = ("authorisation", "reliance", "flag")


def upgrade() -> None:
    """Make the tables, guard them, and say what the serving role may do."""
    for part in (TOLD, RELIED_ON, FLAGS):
        op.execute(part)
    for table in (*APPEND_ONLY, *KEPT):
        changes = "UPDATE OR DELETE" if table in APPEND_ONLY else "DELETE"
        op.execute(
            f"CREATE TRIGGER {table}_rows_stay BEFORE {changes} ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_is_not_emptied BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        op.execute(f"GRANT SELECT, INSERT ON {table} TO gateway_app")
    op.execute("GRANT UPDATE (drawn) ON authorisation TO gateway_app")
    op.execute("GRANT UPDATE (returned_by) ON reliance TO gateway_app")
    op.execute("GRANT UPDATE (closed_by) ON flag TO gateway_app")


def downgrade() -> None:
    """Refuse: evidence is not thrown away by a command."""
    raise NotImplementedError("authorisations are evidence and are not taken back")
