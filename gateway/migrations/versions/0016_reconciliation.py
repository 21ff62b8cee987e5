"""Reconciliations: the runs of each link, the books each compared, and what it found.

A link that is reconciled has one run that has not ended, whose row says what is due next and when: it is the job. What
ended stays as it is, and so do the books and findings of a run, which are written as it ends.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

#: ``status`` is that of the Kyoto log. ``fence``: the size of the tree when the cut was first asked for; the registry
#: took its own no earlier. ``mark_id``: the entry that the books were marked with, whose tree is our own cut, of
#: ``size``. ``answer``: the registry's cut as it signed it. ``asked_by``: who asked for the run; the schedule did not.
#: ``cuts``: how many were named, one in the place of another.
RUNS = """
CREATE TABLE reconciliation (
  id uuid PRIMARY KEY,
  link text NOT NULL REFERENCES link,
  state text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'announced', 'marked', 'taken', 'ended')),
  status smallint CHECK (status IN (1, 2, 3, 4, 5, 6, 7, 98, 99)),
  asked_by text,
  announce_seconds integer NOT NULL CHECK (announce_seconds BETWEEN 0 AND 86400),
  whole boolean NOT NULL DEFAULT false,
  cut uuid UNIQUE,
  cut_at timestamptz,
  fence bigint,
  mark_id bigint REFERENCES log_entry,
  marked_until timestamptz,
  size bigint,
  answer text,
  taken_at timestamptz,
  told bigint,
  round_trips integer NOT NULL DEFAULT 0,
  bytes_sent bigint NOT NULL DEFAULT 0,
  bytes_received bigint NOT NULL DEFAULT 0,
  remarks jsonb NOT NULL DEFAULT '[]',
  result_id uuid,
  entry_id bigint REFERENCES log_entry,
  begun_at timestamptz,
  ended_at timestamptz,
  next_at timestamptz,
  leased_until timestamptz,
  leased_by text,
  attempts integer NOT NULL DEFAULT 0,
  cuts integer NOT NULL DEFAULT 0,
  waiting text,
  CHECK ((state = 'ended') = (ended_at IS NOT NULL)),
  CHECK ((state = 'ended') = (next_at IS NULL)),
  CHECK ((state = 'ended') = (entry_id IS NOT NULL)),
  CHECK ((state = 'planned') = (begun_at IS NULL)),
  CHECK ((state = 'marked') = (marked_until IS NOT NULL)),
  CHECK ((leased_until IS NULL) = (leased_by IS NULL))
);
CREATE UNIQUE INDEX reconciliation_open ON reconciliation (link) WHERE ended_at IS NULL;
CREATE INDEX reconciliation_ended ON reconciliation (link, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX reconciliation_due ON reconciliation (next_at) WHERE next_at IS NOT NULL;
CREATE UNIQUE INDEX reconciliation_told ON reconciliation (result_id) WHERE result_id IS NOT NULL;
CREATE TRIGGER reconciliation_ends_once BEFORE UPDATE ON reconciliation FOR EACH ROW
  WHEN (OLD.state = 'ended' OR ROW(OLD.id, OLD.link) IS DISTINCT FROM ROW(NEW.id, NEW.link))
  EXECUTE FUNCTION refuse_change();
CREATE TRIGGER reconciliation_rows_stay BEFORE DELETE ON reconciliation
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER reconciliation_is_not_emptied BEFORE TRUNCATE ON reconciliation
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

#: ``root`` is of the gateway's book, ``theirs`` of the registry's, where it tells one; the totals are as a registry
#: tells them. ``codes``: by which totals the books do not agree.
BOOKS = """
CREATE TABLE reconciliation_book (
  reconciliation_id uuid NOT NULL REFERENCES reconciliation,
  registry text NOT NULL REFERENCES link_registry,
  root bytea NOT NULL CHECK (octet_length(root) = 32),
  theirs bytea CHECK (octet_length(theirs) = 32),
  totals jsonb NOT NULL,
  totals_there jsonb NOT NULL,
  codes integer[] NOT NULL,
  PRIMARY KEY (reconciliation_id, registry)
);
"""

#: ``explained_by``: the transfers that were moving these units, none where they moved otherwise; null where nothing
#: explains what differs, and then there is a case.
FINDINGS = """
CREATE TABLE reconciliation_finding (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  reconciliation_id uuid NOT NULL REFERENCES reconciliation,
  registry text NOT NULL REFERENCES link_registry,
  code integer NOT NULL,
  origin_registry text COLLATE "C" NOT NULL,
  series text COLLATE "C" NOT NULL,
  first bigint NOT NULL,
  last bigint NOT NULL,
  here text,
  there text,
  detail text NOT NULL,
  explained_by text[],
  case_id text,
  CHECK ((explained_by IS NULL) = (case_id IS NOT NULL)),
  CHECK (1 <= first AND first <= last AND last <= 9007199254740991)
);
CREATE INDEX reconciliation_finding_of_run ON reconciliation_finding (reconciliation_id, id);
"""
#: Transfers on which a registry must have acted, and that are not over: found without looking at all there ever were.
STANDING = """
CREATE INDEX transfer_standing ON transfer (id) WHERE state IN ('committing', 'released', 'attention');
"""
STAY = "".join(
    f"""
CREATE TRIGGER {table}_rows_stay BEFORE UPDATE OR DELETE ON {table}
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER {table}_is_not_emptied BEFORE TRUNCATE ON {table}
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON {table} TO gateway_app;
"""
    for table in ("reconciliation_book", "reconciliation_finding")
)
RIGHTS = """
GRANT SELECT, INSERT ON reconciliation TO gateway_app;
GRANT UPDATE (state, status, asked_by, announce_seconds, whole, cut, cut_at, fence, mark_id, marked_until, size, answer,
              taken_at, told, round_trips, bytes_sent, bytes_received, remarks, result_id, entry_id, begun_at, ended_at,
              next_at, leased_until, leased_by, attempts, cuts, waiting)
  ON reconciliation TO gateway_app;
"""


def upgrade() -> None:
    """Make the tables; links get their runs when a worker first looks for what is to be reconciled."""
    for part in (RUNS, BOOKS, FINDINGS, STANDING, STAY, RIGHTS):
        op.execute(part)


def downgrade() -> None:
    """Refuse: evidence is not thrown away by a command."""
    raise NotImplementedError("what was found is evidence and is not taken back")
