"""The schema of history: records as they were written, each Party's feed of them, and what was told of elsewhere.

Part of the books: it falls back with them. A record, a place in a feed and what was told are never changed
(triggers); ``history_waiting`` names what has no place in a feed yet, from the transaction that wrote it.
"""

HISTORY_SCHEMA = """
-- text: RFC 8785. The units, the host and the Parties are what it says, so that it is not read again to be found.
CREATE TABLE IF NOT EXISTS history (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  text text NOT NULL,
  sha256 bytea NOT NULL CHECK (length(sha256) = 32),
  at timestamptz NOT NULL,
  registry text COLLATE "C" NOT NULL,
  series text COLLATE "C" NOT NULL,
  first bigint NOT NULL,
  last bigint NOT NULL,
  authorised boolean NOT NULL,
  host text NOT NULL,
  comes_from text,
  comes_to text
);
-- By width (in hexadecimal digits) and beginning, so that what meets a range is found in a few steps of a B-tree.
CREATE INDEX IF NOT EXISTS history_of_units ON history (registry, series, length(to_hex(last - first)), first);
CREATE TABLE IF NOT EXISTS history_waiting (
  party text NOT NULL,
  record bigint NOT NULL,
  PRIMARY KEY (party, record)
);
CREATE TABLE IF NOT EXISTS feed (
  party text PRIMARY KEY,
  number bigint NOT NULL DEFAULT 0,
  digest bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (length(digest) = 32)
);
CREATE TABLE IF NOT EXISTS feed_entry (
  party text NOT NULL,
  number bigint NOT NULL CHECK (number >= 1),
  record bigint NOT NULL,
  digest bytea NOT NULL CHECK (length(digest) = 32),
  PRIMARY KEY (party, number),
  CONSTRAINT one_place_per_feed UNIQUE (party, record)
);
-- source: link code of the registry whose feed it is; registry: whose books here it is for.
CREATE TABLE IF NOT EXISTS told_history (
  source text NOT NULL,
  registry text NOT NULL,
  number bigint NOT NULL CHECK (number >= 1),
  digest bytea NOT NULL CHECK (length(digest) = 32),
  text text NOT NULL,
  PRIMARY KEY (source, registry, number)
);
CREATE OR REPLACE TRIGGER history_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON history
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER feed_entry_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON feed_entry
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER told_history_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON told_history
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
