"""The schema ``log``: this registry's own log, and what it knows of the gateway's.

It is apart from the books and no part of their backup: a witness that fell back could cosign a fork, and a log that
fell back would be one. What is in a tree, and what shows that somebody broke his word, cannot be changed (triggers).
"""

LOG_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS log;

-- What the gateway has promised to publish; broken stays broken, whatever is published later.
CREATE TABLE IF NOT EXISTS log.promise (
  answer uuid PRIMARY KEY,
  leaf bytea NOT NULL CHECK (length(leaf) = 32),
  received_at timestamptz NOT NULL,
  jws text NOT NULL,
  items text[] NOT NULL,
  state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'kept', 'broken')),
  leaf_index bigint,
  judged_at timestamptz,
  why text,
  CHECK (state = 'open' OR judged_at IS NOT NULL),
  CHECK (state <> 'kept' OR leaf_index IS NOT NULL)
);
CREATE INDEX IF NOT EXISTS promise_unseen ON log.promise (received_at) WHERE leaf_index IS NULL;

-- Every head of the gateway's log that was proven and grows from the one before, and the leaves under the last.
CREATE TABLE IF NOT EXISTS log.followed_head (
  size bigint PRIMARY KEY,
  root bytea NOT NULL,
  peaks bytea NOT NULL,
  note text NOT NULL,
  at timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS log.followed_leaf (leaf_index bigint PRIMARY KEY, hash bytea NOT NULL);
CREATE INDEX IF NOT EXISTS followed_leaf_hash ON log.followed_leaf (hash);

-- As a witness: the last checkpoint of a log that was cosigned here.
CREATE TABLE IF NOT EXISTS log.witnessed (
  origin text PRIMARY KEY,
  size bigint NOT NULL DEFAULT 0,
  root bytea NOT NULL DEFAULT sha256(''),
  note text NOT NULL DEFAULT ''
);
-- Two signed checkpoints that cannot both be true.
CREATE TABLE IF NOT EXISTS log.fork (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL,
  known text NOT NULL,
  shown text NOT NULL
);

-- This registry's own log: what waits for its place, entries, tiles, head, checkpoints. An entry is of a line of the
-- journal, which is kept beside it, of a record of history, or of a reconciliation: that one says itself what it is of.
CREATE TABLE IF NOT EXISTS log.own_waiting (LIKE journal);
CREATE TABLE IF NOT EXISTS log.own_history_waiting (id bigint PRIMARY KEY);
CREATE TABLE IF NOT EXISTS log.own_reconciliation_waiting (id bigint PRIMARY KEY);
CREATE TABLE IF NOT EXISTS log.own_entry (
  leaf_index bigint PRIMARY KEY,
  journal bigint,
  history bigint,
  reconciliation bigint,
  entry text NOT NULL,
  record text,
  salt bytea,
  CHECK ((journal IS NULL) = (record IS NULL) AND num_nonnulls(journal, history, reconciliation) = 1),
  CHECK ((reconciliation IS NULL) = (salt IS NOT NULL))
);
CREATE UNIQUE INDEX IF NOT EXISTS own_entry_of_line ON log.own_entry (journal) WHERE journal IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS own_entry_of_record ON log.own_entry (history) WHERE history IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS own_entry_of_reconciliation ON log.own_entry (reconciliation)
  WHERE reconciliation IS NOT NULL;
CREATE TABLE IF NOT EXISTS log.own_tile (
  level integer NOT NULL,
  number bigint NOT NULL,
  hashes bytea NOT NULL,
  PRIMARY KEY (level, number)
);
CREATE TABLE IF NOT EXISTS log.own_head (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  size bigint NOT NULL DEFAULT 0,
  root bytea NOT NULL DEFAULT sha256('')
);
INSERT INTO log.own_head DEFAULT VALUES ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS log.own_checkpoint (
  size bigint PRIMARY KEY,
  note text NOT NULL,
  cosignature text,
  refused text
);

CREATE OR REPLACE FUNCTION log.wait_for_place() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO log.own_waiting SELECT * FROM written;
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION log.have_history_wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO log.own_history_waiting SELECT id FROM written;
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION log.have_reconciliation_wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO log.own_reconciliation_waiting SELECT id FROM written;
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER own_entry_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON log.own_entry
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER followed_leaf_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON log.followed_leaf
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER fork_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON log.fork
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
