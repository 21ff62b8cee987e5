"""The schema of what is kept to compare books: touched units, nodes, totals; cuts; results; corrections by hand.

Part of the books: it falls back with them. A movement writes one row for what it touched (triggers on ``holding``), and
nothing is computed before a cut. What was found, and what was put right by hand, is never changed (triggers).
"""

BOOK_SCHEMA = """
-- Units that were put into an account (1) or taken out of one (-1) since the nodes were last computed.
CREATE TABLE IF NOT EXISTS book_touched (
  series integer NOT NULL,
  first bigint NOT NULL,
  last bigint NOT NULL,
  party text NOT NULL,
  account text NOT NULL,
  attributes integer NOT NULL,
  sign integer NOT NULL
);
-- What a state, named by its SHA-256, says; its attributes and its stem are never changed once they are written.
CREATE TABLE IF NOT EXISTS book_state (
  hash bytea PRIMARY KEY CHECK (length(hash) = 32),
  party text NOT NULL,
  account_type integer NOT NULL,
  attributes integer NOT NULL,
  itmo integer,
  itmo_offset bigint
);
CREATE TABLE IF NOT EXISTS book_node (
  book text NOT NULL,
  series integer NOT NULL,
  level smallint NOT NULL,
  nr bigint NOT NULL,
  runs bytea,
  children bytea,
  PRIMARY KEY (book, series, level, nr),
  CHECK ((runs IS NULL) <> (children IS NULL))
);
-- The apex of each series with units, and what is said of it.
CREATE TABLE IF NOT EXISTS book_series (
  book text NOT NULL,
  series integer NOT NULL,
  level smallint NOT NULL,
  nr bigint NOT NULL,
  count bigint NOT NULL,
  digest bytea NOT NULL,
  head bytea NOT NULL,
  tail bytea NOT NULL,
  PRIMARY KEY (book, series)
);
CREATE TABLE IF NOT EXISTS book_total (
  party text NOT NULL,
  account_type integer NOT NULL,
  vintage integer NOT NULL,
  quantity bigint NOT NULL,
  PRIMARY KEY (party, account_type, vintage)
);
-- The cut announced or taken last; answer: what is said of it once it is taken.
CREATE TABLE IF NOT EXISTS cut (
  cut uuid PRIMARY KEY,
  at timestamptz NOT NULL,
  answer jsonb
);
-- Positions of the cut, of a registry that tells no nodes.
CREATE TABLE IF NOT EXISTS cut_position (
  party text NOT NULL,
  name text COLLATE "C" NOT NULL,
  first bigint NOT NULL,
  last bigint NOT NULL,
  account text NOT NULL,
  attributes integer NOT NULL,
  itmo integer,
  itmo_offset bigint,
  PRIMARY KEY (name, first)
);
CREATE TABLE IF NOT EXISTS reconciliation (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  message uuid NOT NULL UNIQUE,
  cut uuid NOT NULL,
  status integer NOT NULL,
  body jsonb NOT NULL,
  findings text[] NOT NULL,
  entry text NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS correction (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  "case" text NOT NULL,
  units jsonb NOT NULL,
  state text,
  who text[] NOT NULL CHECK (cardinality(who) = 2 AND who[1] <> who[2]),
  why text NOT NULL,
  evidence text NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS transfer_moving ON transfer (transfer)
  WHERE state IN ('locked', 'released', 'accepted', 'credited');

CREATE OR REPLACE FUNCTION book_is_touched() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO book_touched SELECT series, first, last, party, account, attributes, 1 FROM put;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO book_touched SELECT series, first, last, party, account, attributes, -1 FROM taken;
  ELSE
    -- A lock is no change.
    INSERT INTO book_touched SELECT series, first, last, party, account, attributes, -1
      FROM (SELECT series, first, last, party, account, attributes, itmo, itmo_offset FROM taken EXCEPT ALL
            SELECT series, first, last, party, account, attributes, itmo, itmo_offset FROM put) AS before;
    INSERT INTO book_touched SELECT series, first, last, party, account, attributes, 1
      FROM (SELECT series, first, last, party, account, attributes, itmo, itmo_offset FROM put EXCEPT ALL
            SELECT series, first, last, party, account, attributes, itmo, itmo_offset FROM taken) AS after;
  END IF;
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER holding_is_put AFTER INSERT ON holding REFERENCING NEW TABLE AS put
  FOR EACH STATEMENT EXECUTE FUNCTION book_is_touched();
CREATE OR REPLACE TRIGGER holding_is_taken AFTER DELETE ON holding REFERENCING OLD TABLE AS taken
  FOR EACH STATEMENT EXECUTE FUNCTION book_is_touched();
CREATE OR REPLACE TRIGGER holding_is_changed AFTER UPDATE ON holding REFERENCING OLD TABLE AS taken NEW TABLE AS put
  FOR EACH STATEMENT EXECUTE FUNCTION book_is_touched();
CREATE OR REPLACE TRIGGER reconciliation_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON reconciliation
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER correction_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON correction
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
