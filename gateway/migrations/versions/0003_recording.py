"""Records of completed actions for the international registry, and one table for what is due as a whole.

A record is what was signed about an action, put together once; only which message says it, and what its receiver has
answered, is added later.
"""

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

#: The log entry since which actions of a section's Party are recorded there, and who has one. ``sections`` looks only
#: once it holds the lock that a registration holds alone, and a volatile function's statements each see what is
#: committed then: an action whose entry is later than ``since`` has seen the section, and one before has not.
SECTIONS = """
ALTER TABLE link_registry ADD COLUMN since bigint REFERENCES log_entry;
CREATE FUNCTION sections() RETURNS TABLE (party text, registry text, link text) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(4, 0);
  RETURN QUERY SELECT r.party, r.registry, r.link FROM link_registry r JOIN link l ON l.code = r.link
    WHERE l.kind = 'international' AND r.party IS NOT NULL;
END $$;
"""

#: ``link`` and ``section`` are what ``sections`` gave in the same transaction; to look them up again for every row
#: would double what writing it costs. The doctor holds them against each other.
RECORDS = """
CREATE TABLE action_record (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  action text NOT NULL UNIQUE CHECK (length(action) <= 128),
  cause text NOT NULL,
  type text NOT NULL CHECK (type IN ('First transfer', 'Transfer', 'Acquisition', 'Use', 'Cancellation')),
  at timestamptz NOT NULL,
  link text NOT NULL,
  section text NOT NULL,
  party text NOT NULL,
  quantity bigint NOT NULL CHECK (quantity >= 1),
  block_count integer NOT NULL,
  item text NOT NULL,
  entry_id bigint NOT NULL REFERENCES log_entry,
  message_id uuid,
  state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'recorded', 'refused')),
  findings jsonb NOT NULL DEFAULT '[]',
  answered_by bigint REFERENCES log_entry,
  CHECK ((state = 'waiting') = (message_id IS NULL)),
  CHECK ((state IN ('recorded', 'refused')) = (answered_by IS NOT NULL))
);
CREATE INDEX action_record_waiting ON action_record (link, id) WHERE message_id IS NULL;
CREATE INDEX action_record_message ON action_record (message_id) WHERE message_id IS NOT NULL;
CREATE TRIGGER action_record_is_said_once_and_answered_once BEFORE UPDATE ON action_record FOR EACH ROW
  WHEN (OLD.answered_by IS NOT NULL OR NEW.message_id IS NULL OR NEW.message_id <> OLD.message_id
        OR ROW(OLD.id, OLD.action, OLD.cause, OLD.type, OLD.at, OLD.link, OLD.section, OLD.party, OLD.quantity,
        OLD.block_count, OLD.item, OLD.entry_id) IS DISTINCT FROM ROW(NEW.id, NEW.action, NEW.cause, NEW.type, NEW.at,
        NEW.link, NEW.section, NEW.party, NEW.quantity, NEW.block_count, NEW.item, NEW.entry_id))
  EXECUTE FUNCTION refuse_change();
CREATE TRIGGER action_record_is_kept BEFORE DELETE ON action_record FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER action_record_is_not_emptied BEFORE TRUNCATE ON action_record
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON action_record TO gateway_app;
GRANT UPDATE (message_id, state, findings, answered_by) ON action_record TO gateway_app;
"""


def upgrade() -> None:
    """Add the tables, move what is due, and say what the serving role may do."""
    for part in (OWED, SECTIONS, RECORDS):
        op.execute(part)


def downgrade() -> None:
    """Refuse: evidence is not thrown away by a command."""
    raise NotImplementedError("what was recorded is evidence and is not taken back")
