"""The first schema: log, messages, links, book, transfers.

Runs as ``gateway_owner``. Two rules of the product live here and not in Python: a unit has at most one live
position and at most one live claim (exclusion constraints), and what was written to the log, to messages
and to histories stays (triggers that refuse UPDATE, DELETE and TRUNCATE to everybody, the owner included).
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: Tables nobody may change or delete a row of (R27: what is closed is not forgotten).
APPEND_ONLY = (
    "log_entry", "log_record", "message", "action", "action_block", "transfer_step", "transfer_event",
    "unit_series", "unit_attributes", "itmo_series", "link_registry",
)  # fmt: skip

GUARDS = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% on % is refused: its rows stay as they were written', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation';
END $$;
"""

LOG = """
CREATE TABLE log_entry (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL,
  kind text NOT NULL,
  leaf bytea NOT NULL CHECK (octet_length(leaf) <= 200),
  leaf_hash bytea NOT NULL CHECK (octet_length(leaf_hash) = 32)
);
CREATE TABLE log_record (
  entry_id bigint PRIMARY KEY REFERENCES log_entry,
  salt bytea NOT NULL CHECK (octet_length(salt) = 32),
  record bytea NOT NULL
);
"""

LINKS = """
CREATE TABLE link (
  code text PRIMARY KEY,
  kind text NOT NULL,
  url text NOT NULL,
  state text NOT NULL CHECK (state IN ('requested', 'active', 'suspended', 'closed')),
  time_limit_hours integer NOT NULL DEFAULT 24 CHECK (time_limit_hours BETWEEN 1 AND 240),
  opening_parts integer NOT NULL DEFAULT 0 CHECK (opening_parts >= 0),
  changed_by bigint NOT NULL REFERENCES log_entry
);
CREATE TABLE link_registry (
  registry text PRIMARY KEY,
  link text NOT NULL REFERENCES link,
  party text
);
CREATE TABLE peer_key (
  link text NOT NULL REFERENCES link,
  kid text NOT NULL UNIQUE,
  jwk jsonb NOT NULL,
  not_before timestamptz NOT NULL,
  not_after timestamptz,
  revoked_at timestamptz,
  revoked_reason text,
  compromised_since timestamptz,
  registered_by bigint NOT NULL REFERENCES log_entry,
  PRIMARY KEY (link, kid),
  CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
);
CREATE TABLE outgoing_stream (
  peer text PRIMARY KEY REFERENCES link,
  last_seq bigint NOT NULL DEFAULT 0
);
"""

MESSAGES = """
CREATE TABLE message (
  entry_id bigint PRIMARY KEY REFERENCES log_entry,
  direction text NOT NULL CHECK (direction IN ('in', 'out')),
  peer text NOT NULL REFERENCES link,
  message_id uuid NOT NULL,
  type text NOT NULL,
  seq bigint CHECK (seq >= 1),
  in_reply_to uuid,
  sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
  content_type text NOT NULL,
  body bytea NOT NULL,
  at timestamptz NOT NULL
);
CREATE INDEX message_by_id ON message (message_id);
CREATE INDEX message_stream_in ON message (peer, seq) WHERE direction = 'in';
CREATE UNIQUE INDEX message_stream_out ON message (peer, seq) WHERE direction = 'out';
CREATE TABLE replay_key (
  sender text NOT NULL REFERENCES link,
  message_id uuid NOT NULL,
  sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
  answer bigint REFERENCES message,
  PRIMARY KEY (sender, message_id)
);
CREATE TRIGGER replay_key_is_answered_once BEFORE UPDATE ON replay_key FOR EACH ROW
  WHEN (OLD.answer IS NOT NULL OR NEW.answer IS NULL OR ROW(OLD.sender, OLD.message_id, OLD.sha256)
        IS DISTINCT FROM ROW(NEW.sender, NEW.message_id, NEW.sha256))
  EXECUTE FUNCTION refuse_change();
"""

BOOK = """
CREATE TABLE unit_series (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  registry text NOT NULL,
  series text NOT NULL,
  UNIQUE (registry, series)
);
CREATE TABLE unit_attributes (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  digest bytea NOT NULL UNIQUE,
  attributes jsonb NOT NULL
);
CREATE TABLE itmo_series (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stem text NOT NULL UNIQUE
);
CREATE TABLE position (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  series_id integer NOT NULL REFERENCES unit_series,
  first bigint NOT NULL,
  last bigint NOT NULL,
  registry text NOT NULL,
  party text NOT NULL,
  account_type smallint NOT NULL,
  attributes_id integer NOT NULL REFERENCES unit_attributes,
  itmo_series_id integer REFERENCES itmo_series,
  itmo_offset bigint,
  first_transferred_at timestamptz,
  opened_by bigint NOT NULL REFERENCES log_entry,
  closed_by bigint REFERENCES log_entry,
  CONSTRAINT serials_are_exact CHECK (1 <= first AND first <= last AND last <= 9007199254740991),
  CONSTRAINT itmo_names_are_whole CHECK (
    (itmo_series_id IS NULL) = (itmo_offset IS NULL)
    AND (itmo_offset IS NULL OR (first + itmo_offset >= 1 AND last + itmo_offset <= 9007199254740991))),
  CONSTRAINT one_position_per_unit EXCLUDE USING gist
    (box(point(series_id, first), point(series_id, last)) WITH &&) WHERE (closed_by IS NULL),
  CONSTRAINT one_identifier_per_unit EXCLUDE USING gist
    (box(point(itmo_series_id, first + itmo_offset), point(itmo_series_id, last + itmo_offset)) WITH &&)
    WHERE (closed_by IS NULL AND itmo_series_id IS NOT NULL)
);
CREATE TRIGGER position_is_closed_once BEFORE UPDATE ON position FOR EACH ROW
  WHEN (OLD.closed_by IS NOT NULL OR NEW.closed_by IS NULL OR ROW(OLD.id, OLD.series_id, OLD.first, OLD.last,
        OLD.registry, OLD.party, OLD.account_type, OLD.attributes_id, OLD.itmo_series_id, OLD.itmo_offset,
        OLD.first_transferred_at, OLD.opened_by)
        IS DISTINCT FROM ROW(NEW.id, NEW.series_id, NEW.first, NEW.last, NEW.registry, NEW.party,
        NEW.account_type, NEW.attributes_id, NEW.itmo_series_id, NEW.itmo_offset, NEW.first_transferred_at,
        NEW.opened_by))
  EXECUTE FUNCTION refuse_change();
CREATE TABLE action (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  registry text NOT NULL,
  action text NOT NULL,
  type text NOT NULL,
  at timestamptz NOT NULL,
  quantity bigint NOT NULL,
  item text NOT NULL,
  entry_id bigint NOT NULL REFERENCES log_entry,
  UNIQUE (registry, action)
);
CREATE TABLE action_block (
  action_id bigint NOT NULL REFERENCES action,
  series_id integer NOT NULL REFERENCES unit_series,
  first bigint NOT NULL,
  last bigint NOT NULL,
  account_type smallint NOT NULL,
  PRIMARY KEY (action_id, series_id, first)
);
"""

TRANSFERS = """
CREATE TABLE transfer (
  id text PRIMARY KEY,
  source text NOT NULL REFERENCES link,
  acquirer text REFERENCES link,
  request_id uuid UNIQUE,
  transferring_registry text NOT NULL,
  transferring_party text NOT NULL,
  transferring_account text NOT NULL,
  acquiring_registry text NOT NULL,
  acquiring_party text NOT NULL,
  acquiring_account text NOT NULL,
  purpose text NOT NULL,
  quantity bigint NOT NULL,
  block_count integer NOT NULL,
  state text NOT NULL CHECK (state IN ('proposed', 'delayed', 'checked', 'accepted', 'committing', 'released',
    'ending', 'completed', 'refused', 'rejected', 'cancelled', 'attention')),
  version integer NOT NULL CHECK (version >= 1),
  outcome text CHECK (outcome IN ('refused', 'rejected', 'cancelled')),
  findings jsonb NOT NULL DEFAULT '[]',
  deadline timestamptz NOT NULL,
  offer_id uuid,
  commit_id uuid,
  cancel_id uuid,
  settle_id uuid,
  closed_source_id uuid,
  closed_acquirer_id uuid,
  told_source_at timestamptz,
  told_acquirer_at timestamptz,
  attempts integer NOT NULL DEFAULT 0,
  next_at timestamptz,
  leased_until timestamptz,
  waiting text,
  created_at timestamptz NOT NULL,
  changed_at timestamptz NOT NULL,
  CHECK ((state = 'ending') <= (outcome IS NOT NULL))
);
CREATE INDEX transfer_due ON transfer (state, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX transfer_recent ON transfer (created_at DESC, id DESC);
CREATE TABLE transfer_step (
  transfer_id text NOT NULL REFERENCES transfer,
  step text NOT NULL,
  item text NOT NULL,
  sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
  entry_id bigint NOT NULL REFERENCES message,
  PRIMARY KEY (transfer_id, step)
);
CREATE TABLE transfer_event (
  transfer_id text NOT NULL REFERENCES transfer,
  version integer NOT NULL,
  state text NOT NULL,
  event text NOT NULL,
  at timestamptz NOT NULL,
  entry_id bigint NOT NULL REFERENCES log_entry,
  PRIMARY KEY (transfer_id, version)
);
CREATE TABLE claim (
  transfer_id text NOT NULL REFERENCES transfer,
  series_id integer NOT NULL REFERENCES unit_series,
  first bigint NOT NULL,
  last bigint NOT NULL,
  released_by bigint REFERENCES log_entry,
  PRIMARY KEY (transfer_id, series_id, first),
  CONSTRAINT serials_are_exact CHECK (1 <= first AND first <= last AND last <= 9007199254740991),
  CONSTRAINT one_claim_per_unit EXCLUDE USING gist
    (box(point(series_id, first), point(series_id, last)) WITH &&) WHERE (released_by IS NULL)
);
CREATE TRIGGER claim_is_released_once BEFORE UPDATE ON claim FOR EACH ROW
  WHEN (OLD.released_by IS NOT NULL OR NEW.released_by IS NULL OR ROW(OLD.transfer_id, OLD.series_id, OLD.first,
        OLD.last) IS DISTINCT FROM ROW(NEW.transfer_id, NEW.series_id, NEW.first, NEW.last))
  EXECUTE FUNCTION refuse_change();
CREATE TABLE transfer_request (
  id uuid PRIMARY KEY,
  caller text NOT NULL,
  idempotency_key text NOT NULL,
  sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
  source text NOT NULL REFERENCES link,
  message_id uuid NOT NULL,
  state text NOT NULL CHECK (state IN ('sent', 'recorded', 'refused')),
  findings jsonb NOT NULL DEFAULT '[]',
  attempts integer NOT NULL DEFAULT 0,
  next_at timestamptz,
  leased_until timestamptz,
  waiting text,
  created_at timestamptz NOT NULL,
  UNIQUE (caller, idempotency_key)
);
CREATE INDEX transfer_request_message ON transfer_request (message_id);
CREATE INDEX transfer_request_due ON transfer_request (next_at) WHERE next_at IS NOT NULL;
CREATE TABLE worker (
  id text PRIMARY KEY,
  asleep boolean NOT NULL,
  seen_at timestamptz NOT NULL
);
"""

#: What ``gateway_app`` may do beside reading: rows are added everywhere, changed only here.
MAY_UPDATE = {
    "link": "url, state, time_limit_hours, opening_parts, changed_by",
    "peer_key": "not_after, revoked_at, revoked_reason, compromised_since",
    "outgoing_stream": "last_seq",
    "replay_key": "answer",
    "position": "closed_by",
    "claim": "released_by",
    "transfer": (
        "acquirer, state, version, outcome, findings, deadline, offer_id, commit_id, cancel_id, settle_id, "
        "closed_source_id, closed_acquirer_id, told_source_at, told_acquirer_at, attempts, next_at, leased_until, "
        "waiting, changed_at"
    ),
    "transfer_request": "state, findings, attempts, next_at, leased_until, waiting",
    "worker": "asleep, seen_at",
}


def upgrade() -> None:
    """Create everything, then say what the serving role may do."""
    for part in (GUARDS, LOG, LINKS, MESSAGES, BOOK, TRANSFERS):
        op.execute(part)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_rows_stay BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
    for table in (*APPEND_ONLY, "position", "claim", "transfer", "replay_key"):
        op.execute(
            f"CREATE TRIGGER {table}_is_not_emptied BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    for table in ("position", "claim", "transfer", "replay_key"):
        op.execute(
            f"CREATE TRIGGER {table}_is_kept BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
    op.execute("GRANT USAGE ON SCHEMA public TO gateway_app")
    op.execute("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO gateway_app")
    op.execute("REVOKE INSERT ON alembic_version FROM gateway_app")
    for table, columns in MAY_UPDATE.items():
        op.execute(f"GRANT UPDATE ({columns}) ON {table} TO gateway_app")
    op.execute("GRANT DELETE ON worker TO gateway_app")


def downgrade() -> None:
    """Refuse: evidence is not thrown away by a command."""
    raise NotImplementedError("the first schema holds evidence and is not taken back")
