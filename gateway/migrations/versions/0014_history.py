"""History of units: the feeds that are pulled, their pages and records as they came, and what was found in them.

A feed's row says how far it is pulled and handed on, and when it is due: it is the job. Whoever makes it due writes
``history_call`` instead, so that the relay never waits for a pull. Pages, records and their places are written once.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

#: ``walk_*``: how far a feed that is read again from its beginning was found to be as before. ``delivered``: up to
#: which record its books have acknowledged. ``stopped``: its past has changed, nothing more is pulled until two persons
#: reactivate the link. ``answered``: the last call that a pull was begun after. ``log_*``: the largest tree of its
#: registry's own log, the last one where it has several, under which a page was found. ``compared``: whether it was
#: read again to its end since the last page that held.
FEEDS = """
CREATE TABLE history_feed (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  link text NOT NULL REFERENCES link,
  registry text NOT NULL REFERENCES link_registry,
  party text NOT NULL,
  number bigint NOT NULL DEFAULT 0 CHECK (number >= 0),
  digest bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (octet_length(digest) = 32),
  walk_number bigint,
  walk_digest bytea,
  compared boolean NOT NULL DEFAULT false,
  log_origin text,
  log_size bigint NOT NULL DEFAULT 0 CHECK (log_size >= 0),
  log_root bytea,
  delivered bigint NOT NULL DEFAULT 0,
  delivering uuid,
  stopped boolean NOT NULL DEFAULT false,
  next_at timestamptz NOT NULL,
  leased_until timestamptz,
  leased_by text,
  attempts integer NOT NULL DEFAULT 0,
  waiting text,
  answered bigint NOT NULL DEFAULT 0,
  pulled_at timestamptz,
  UNIQUE (link, registry),
  CHECK (delivered <= number),
  CHECK ((walk_number IS NULL) = (walk_digest IS NULL)),
  CHECK ((log_size = 0) = (log_root IS NULL)),
  CHECK ((log_origin IS NULL) = (log_root IS NULL)),
  CHECK ((leased_until IS NULL) = (leased_by IS NULL))
);
CREATE INDEX history_feed_due ON history_feed (next_at);
CREATE UNIQUE INDEX history_feed_delivering ON history_feed (delivering) WHERE delivering IS NOT NULL;
CREATE TRIGGER history_feed_only_goes_on BEFORE UPDATE ON history_feed FOR EACH ROW
  WHEN (NEW.number < OLD.number OR NEW.delivered < OLD.delivered
        OR (NEW.number = OLD.number AND NEW.digest <> OLD.digest)
        OR ROW(NEW.link, NEW.registry, NEW.party) IS DISTINCT FROM ROW(OLD.link, OLD.registry, OLD.party))
  EXECUTE FUNCTION refuse_change();
CREATE TRIGGER history_feed_rows_stay BEFORE DELETE ON history_feed
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER history_feed_is_not_emptied BEFORE TRUNCATE ON history_feed
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TABLE history_call (
  feed_id integer PRIMARY KEY REFERENCES history_feed,
  called bigint NOT NULL DEFAULT 0
);
"""

#: ``jws``: the page as its registry signed it; its items are the texts of its records, in order. ``itmo_stem`` and
#: ``itmo_first`` are of the identifier of the block's first unit, ``CANNNN-PPPRR-PPP-SERIAL-YYYY``, where it has one.
PAGES = """
CREATE TABLE history_page (
  feed_id integer NOT NULL REFERENCES history_feed,
  first bigint NOT NULL CHECK (first >= 1),
  last bigint NOT NULL,
  digest bytea NOT NULL CHECK (octet_length(digest) = 32),
  jws text NOT NULL,
  entry_id bigint NOT NULL REFERENCES log_entry,
  PRIMARY KEY (feed_id, last),
  UNIQUE (feed_id, first),
  CHECK (first <= last)
);
CREATE TABLE history_record (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  sha256 bytea NOT NULL UNIQUE CHECK (octet_length(sha256) = 32),
  registry text COLLATE "C" NOT NULL,
  transaction text COLLATE "C" NOT NULL,
  type text NOT NULL,
  at timestamptz NOT NULL,
  origin_registry text COLLATE "C" NOT NULL,
  series text COLLATE "C" NOT NULL,
  first bigint NOT NULL,
  last bigint NOT NULL,
  from_registry text,
  from_party text,
  from_account text,
  to_registry text,
  to_party text,
  to_account text,
  host text NOT NULL,
  vintage integer NOT NULL,
  activity text NOT NULL,
  authorisation text NOT NULL,
  corrects bytea,
  item text NOT NULL,
  itmo_stem text COLLATE "C",
  itmo_first bigint,
  CHECK ((itmo_stem IS NULL) = (itmo_first IS NULL)),
  CHECK (1 <= first AND first <= last AND last <= 9007199254740991)
);
CREATE INDEX history_record_of_transaction ON history_record (registry, transaction);
CREATE INDEX history_record_covering ON history_record (origin_registry, series, length(to_hex(last - first)), first);
CREATE INDEX history_record_named ON history_record (itmo_stem, length(to_hex(last - first)), itmo_first)
  WHERE itmo_stem IS NOT NULL;
CREATE INDEX history_record_in_time ON history_record (at, id);
CREATE INDEX history_record_correcting ON history_record (corrects) WHERE corrects IS NOT NULL;
CREATE TABLE history_entry (
  feed_id integer NOT NULL REFERENCES history_feed,
  number bigint NOT NULL CHECK (number >= 1),
  record_id bigint NOT NULL REFERENCES history_record,
  PRIMARY KEY (feed_id, number)
);
CREATE INDEX history_entry_of_record ON history_entry (record_id);
"""

#: What a record (by its SHA-256) contradicts, or a page could not be taken for.
FINDINGS = """
CREATE TABLE history_finding (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  feed_id integer NOT NULL REFERENCES history_feed,
  record bytea,
  code integer NOT NULL,
  detail text NOT NULL,
  at timestamptz NOT NULL,
  entry_id bigint NOT NULL REFERENCES log_entry
);
CREATE INDEX history_finding_of_feed ON history_finding (feed_id, id);
CREATE INDEX history_finding_of_record ON history_finding (record) WHERE record IS NOT NULL;
"""
STAY = "".join(
    f"""
CREATE TRIGGER {table}_rows_stay BEFORE UPDATE OR DELETE ON {table}
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER {table}_is_not_emptied BEFORE TRUNCATE ON {table}
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON {table} TO gateway_app;
"""
    for table in ("history_page", "history_record", "history_entry", "history_finding")
)
RIGHTS = """
GRANT SELECT, INSERT ON history_feed, history_call TO gateway_app;
GRANT UPDATE (number, digest, walk_number, walk_digest, compared, log_origin, log_size, log_root, delivered, delivering,
              stopped, next_at, leased_until, leased_by, attempts, waiting, answered, pulled_at)
  ON history_feed TO gateway_app;
GRANT UPDATE (called) ON history_call TO gateway_app;
"""


def upgrade() -> None:
    """Make the tables; feeds get their rows when a worker first looks for what is to be pulled."""
    for part in (FEEDS, PAGES, FINDINGS, STAY, RIGHTS):
        op.execute(part)


def downgrade() -> None:
    """Refuse: evidence is not thrown away by a command."""
    raise NotImplementedError("what registries have signed is evidence and is not taken back")
