"""What two persons decide, how far a link may be used, and whether the gateway is halted.

An approval says what will be done as one text and its hash; PostgreSQL itself holds the two together, lets it be
decided once, and never by who asked for it. Agreements to resume a transfer were rows of their own: the log keeps
those, approvals take their place.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

APPROVALS = """
CREATE TABLE approval (
  id uuid PRIMARY KEY,
  kind text NOT NULL,
  registry text,
  canonical text NOT NULL CHECK (octet_length(canonical) <= 65536),
  sha256 bytea NOT NULL,
  initiator text NOT NULL,
  requested_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL CHECK (expires_at > requested_at),
  requested_by bigint NOT NULL REFERENCES log_entry,
  state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'approved', 'declined', 'expired', 'void')),
  decider text,
  decided_at timestamptz,
  decided_by bigint REFERENCES log_entry,
  reason text,
  result jsonb,
  CONSTRAINT hash_is_of_the_text CHECK (sha256 = sha256(convert_to(canonical, 'UTF8'))),
  CONSTRAINT nobody_approves_what_they_asked_for CHECK (state NOT IN ('approved', 'void') OR decider <> initiator),
  CHECK ((state = 'open') = (decided_at IS NULL)),
  CHECK ((state = 'open') = (decided_by IS NULL)),
  CHECK ((state IN ('approved', 'declined', 'void')) = (decider IS NOT NULL))
);
CREATE UNIQUE INDEX approval_waits_once ON approval (sha256) WHERE state = 'open';
CREATE INDEX approval_recent ON approval (requested_at DESC, id DESC);
CREATE INDEX approval_of_registry ON approval (registry, requested_at DESC, id DESC);
CREATE TRIGGER approval_is_decided_once BEFORE UPDATE ON approval FOR EACH ROW
  WHEN (OLD.state <> 'open' OR NEW.state = 'open' OR ROW(OLD.id, OLD.kind, OLD.registry, OLD.canonical, OLD.sha256,
        OLD.initiator, OLD.requested_at, OLD.expires_at, OLD.requested_by) IS DISTINCT FROM ROW(NEW.id, NEW.kind,
        NEW.registry, NEW.canonical, NEW.sha256, NEW.initiator, NEW.requested_at, NEW.expires_at, NEW.requested_by))
  EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON approval TO gateway_app;
GRANT UPDATE (state, decider, decided_at, decided_by, reason, result) ON approval TO gateway_app;
DROP TABLE resumption;
"""

#: ``activated_by`` is the log entry of the last part of the opening balance; ``window`` is in minutes of the day (UTC).
LINKS = """
ALTER TABLE link DROP CONSTRAINT link_state_check,
  ADD CONSTRAINT link_state_check CHECK (state IN ('requested', 'testing', 'active', 'suspended', 'closed')),
  ADD COLUMN activated_by bigint REFERENCES log_entry,
  ADD COLUMN capabilities text[] NOT NULL DEFAULT '{view,reconcile}' CHECK (capabilities <@
    ARRAY['view', 'transfer_in', 'transfer_out', 'record', 'reconcile']),
  ADD COLUMN messages_per_second integer CHECK (messages_per_second >= 1),
  ADD COLUMN blocks_per_day bigint CHECK (blocks_per_day >= 1),
  ADD COLUMN window_opens smallint CHECK (window_opens BETWEEN 0 AND 1439),
  ADD COLUMN window_closes smallint CHECK (window_closes BETWEEN 0 AND 1439),
  ADD CONSTRAINT window_has_two_ends
    CHECK (coalesce(window_opens <> window_closes, window_opens IS NULL AND window_closes IS NULL));
ALTER TABLE link ALTER COLUMN capabilities DROP DEFAULT;
UPDATE link SET activated_by = changed_by WHERE state <> 'requested';
UPDATE link SET capabilities = CASE kind
  WHEN 'international' THEN ARRAY['view', 'transfer_in', 'transfer_out', 'record', 'reconcile']
  WHEN 'party' THEN ARRAY['view', 'transfer_in', 'transfer_out', 'reconcile']
  ELSE ARRAY['view', 'transfer_out', 'reconcile'] END;
GRANT UPDATE (activated_by, capabilities, messages_per_second, blocks_per_day, window_opens, window_closes)
  ON link TO gateway_app;
CREATE TABLE link_day (
  link text NOT NULL REFERENCES link,
  day date NOT NULL,
  blocks bigint NOT NULL CHECK (blocks >= 0),
  PRIMARY KEY (link, day)
);
GRANT SELECT, INSERT, UPDATE (blocks) ON link_day TO gateway_app;
"""

#: ``halted`` looks only once it holds the lock that a halt holds alone: what has looked and seen none is committed
#: before the halt is, and what looks later sees it.
HALTS = """
CREATE TABLE halt (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  reason text NOT NULL,
  by text NOT NULL,
  at timestamptz NOT NULL,
  entry_id bigint NOT NULL REFERENCES log_entry,
  lifted_by bigint REFERENCES log_entry
);
CREATE UNIQUE INDEX one_halt_at_a_time ON halt ((true)) WHERE lifted_by IS NULL;
CREATE TRIGGER halt_is_lifted_once BEFORE UPDATE ON halt FOR EACH ROW
  WHEN (OLD.lifted_by IS NOT NULL OR NEW.lifted_by IS NULL OR ROW(OLD.id, OLD.reason, OLD.by, OLD.at, OLD.entry_id)
        IS DISTINCT FROM ROW(NEW.id, NEW.reason, NEW.by, NEW.at, NEW.entry_id))
  EXECUTE FUNCTION refuse_change();
CREATE FUNCTION halted() RETURNS TABLE (id bigint, reason text) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(6, 0);
  RETURN QUERY SELECT h.id, h.reason FROM halt h WHERE h.lifted_by IS NULL;
END $$;
GRANT SELECT, INSERT, UPDATE (lifted_by) ON halt TO gateway_app;
"""

KEPT = ("approval", "halt")


def upgrade() -> None:
    """Add the tables and columns, and say what the serving role may do."""
    for part in (APPROVALS, LINKS, HALTS):
        op.execute(part)
    for table in KEPT:
        op.execute(
            f"CREATE TRIGGER {table}_is_kept BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_is_not_emptied BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    """Refuse: evidence is not thrown away by a command."""
    raise NotImplementedError("what was approved is evidence and is not taken back")
