"""Cases: differences and inconsistencies from their finding to their end, the units they are about, and every step.

A case's row says how far it is; units are taken into it and let out of it, never edited; steps and corrections of the
book are written once.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

#: ``of``, ``number``: what its id is made of, a registry or a Party and a number of its own. ``parties``: whose people
#: see it beside those of the registry and its link. ``flag``: what marks its units, if anything does.
CASES = """
CREATE TABLE inconsistency_case (
  id text PRIMARY KEY,
  of text NOT NULL,
  number integer NOT NULL CHECK (number >= 1),
  source text NOT NULL CHECK (source IN ('reconciliation', 'secretariat', 'review', 'pre-check')),
  check_id text NOT NULL,
  link text REFERENCES link,
  registry text REFERENCES link_registry,
  parties text[] NOT NULL,
  effect boolean NOT NULL,
  flag text CHECK (flag IN ('discrepancy', 'inconsistent')),
  reconciliation text,
  detail text NOT NULL,
  state text NOT NULL CHECK (state IN ('open', 'notified', 'responded', 'corrected', 'closed')),
  version integer NOT NULL DEFAULT 1 CHECK (version >= 1),
  opened_at timestamptz NOT NULL,
  opened_by bigint NOT NULL REFERENCES log_entry,
  notified_at timestamptz,
  due timestamptz,
  responded_at timestamptz,
  response text,
  corrected_by text,
  closed_at timestamptz,
  UNIQUE (of, number),
  CHECK (id = of || '-' || number),
  CHECK ((source = 'reconciliation') = (reconciliation IS NOT NULL)),
  CHECK ((registry IS NULL) = (link IS NULL)),
  CHECK ((closed_at IS NOT NULL) = (state = 'closed'))
);
CREATE INDEX inconsistency_case_open ON inconsistency_case (registry) WHERE state <> 'closed';
CREATE INDEX inconsistency_case_in_time ON inconsistency_case (opened_at, id);
CREATE TRIGGER inconsistency_case_goes_on BEFORE UPDATE ON inconsistency_case FOR EACH ROW
  WHEN (OLD.state = 'closed' OR NEW.version <> OLD.version + 1
        OR ROW(OLD.id, OLD.of, OLD.number, OLD.source, OLD.check_id, OLD.link, OLD.registry, OLD.parties, OLD.effect,
               OLD.flag, OLD.reconciliation, OLD.detail, OLD.opened_at, OLD.opened_by) IS DISTINCT FROM
           ROW(NEW.id, NEW.of, NEW.number, NEW.source, NEW.check_id, NEW.link, NEW.registry, NEW.parties, NEW.effect,
               NEW.flag, NEW.reconciliation, NEW.detail, NEW.opened_at, NEW.opened_by))
  EXECUTE FUNCTION refuse_change();
"""

#: ``here``, ``there``: states of units in the gateway's book and in the registry's, where a reconciliation found them.
UNITS = """
CREATE TABLE case_unit (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  case_id text NOT NULL REFERENCES inconsistency_case,
  series_id integer NOT NULL REFERENCES unit_series,
  first bigint NOT NULL,
  last bigint NOT NULL,
  here text,
  there text,
  detail text NOT NULL,
  opened_by bigint NOT NULL REFERENCES log_entry,
  closed_by bigint REFERENCES log_entry,
  CHECK (1 <= first AND first <= last AND last <= 9007199254740991)
);
CREATE INDEX case_unit_of_case ON case_unit (case_id, id);
CREATE INDEX case_unit_live ON case_unit USING gist
  (box(point(series_id, first), point(series_id + CAST(0.5 AS double precision), last))) WHERE closed_by IS NULL;
CREATE TRIGGER case_unit_is_closed_once BEFORE UPDATE ON case_unit FOR EACH ROW
  WHEN (OLD.closed_by IS NOT NULL OR NEW.closed_by IS NULL OR ROW(OLD.id, OLD.case_id, OLD.series_id, OLD.first,
        OLD.last, OLD.here, OLD.there, OLD.detail, OLD.opened_by) IS DISTINCT FROM ROW(NEW.id, NEW.case_id,
        NEW.series_id, NEW.first, NEW.last, NEW.here, NEW.there, NEW.detail, NEW.opened_by))
  EXECUTE FUNCTION refuse_change();
"""

#: ``version``: that of the case from this step on. ``by``: a pseudonym, two with *and* between, or *reconciliation*.
EVENTS = """
CREATE TABLE case_event (
  case_id text NOT NULL REFERENCES inconsistency_case,
  version integer NOT NULL,
  event text NOT NULL,
  state text NOT NULL,
  at timestamptz NOT NULL,
  by text NOT NULL,
  detail text NOT NULL,
  entry_id bigint NOT NULL REFERENCES log_entry,
  PRIMARY KEY (case_id, version)
);
"""

#: Units that a correction of the book has put where their registry says that they are; ``from_registry`` is null where
#: the book did not have them.
CORRECTIONS = """
CREATE TABLE case_correction (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  case_id text NOT NULL REFERENCES inconsistency_case,
  series_id integer NOT NULL REFERENCES unit_series,
  first bigint NOT NULL,
  last bigint NOT NULL,
  from_registry text REFERENCES link_registry (registry),
  registry text NOT NULL REFERENCES link_registry (registry),
  party text NOT NULL,
  account_type smallint NOT NULL,
  entry_id bigint NOT NULL REFERENCES log_entry,
  CHECK (1 <= first AND first <= last AND last <= 9007199254740991)
);
CREATE INDEX case_correction_of_case ON case_correction (case_id);
"""

STAY = "".join(
    f"""
CREATE TRIGGER {table}_rows_stay BEFORE {'UPDATE OR ' if written_once else ''}DELETE ON {table}
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER {table}_is_not_emptied BEFORE TRUNCATE ON {table}
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON {table} TO gateway_app;
"""
    for table, written_once in (
        ("inconsistency_case", False), ("case_unit", False), ("case_event", True), ("case_correction", True),
    )
)  # fmt: skip
RIGHTS = """
GRANT UPDATE (state, version, notified_at, due, responded_at, response, corrected_by, closed_at)
  ON inconsistency_case TO gateway_app;
GRANT UPDATE (closed_by) ON case_unit TO gateway_app;
"""


def upgrade() -> None:
    """Make the tables."""
    for part in (CASES, UNITS, EVENTS, CORRECTIONS, STAY, RIGHTS):
        op.execute(part)


def downgrade() -> None:
    """Refuse: evidence is not thrown away by a command."""
    raise NotImplementedError("what was found and how it ended is evidence and is not taken back")
