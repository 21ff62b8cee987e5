"""The schema of one registry: its books, its transfers, its messages. Made at start where it is not there.

What must never happen is refused here and not only in Python: two live holdings of one unit or two units
under one ITMO identifier (exclusion constraints, exact up to 2^53), a transfer credited twice (R21: the key
of ``crediting``), a step taken twice (R24: the key of ``step``), a journal line or a record changed (trigger),
two recorded units under one identifier (exclusion constraints of ``record_name``).
"""

#: Taken while the schema is made, so that two processes starting at once do not collide.
SCHEMA_LOCK = 64_0017

SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name text PRIMARY KEY, value jsonb NOT NULL);

CREATE TABLE IF NOT EXISTS account (
  party text NOT NULL,
  account text NOT NULL CHECK (account ~ '^[0-9]{3}-[1-9][0-9]*$'),
  open boolean NOT NULL DEFAULT true,
  name text NOT NULL,
  PRIMARY KEY (party, account)
);
CREATE TABLE IF NOT EXISTS series (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  registry text NOT NULL,
  name text NOT NULL,
  next_serial bigint NOT NULL DEFAULT 1,
  UNIQUE (registry, name)
);
CREATE TABLE IF NOT EXISTS unit_attributes (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  digest text NOT NULL UNIQUE,
  attributes jsonb NOT NULL
);
CREATE TABLE IF NOT EXISTS itmo_series (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stem text NOT NULL UNIQUE,
  next_serial bigint NOT NULL DEFAULT 1
);
CREATE TABLE IF NOT EXISTS holding (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  series integer NOT NULL REFERENCES series,
  first bigint NOT NULL,
  last bigint NOT NULL,
  party text NOT NULL,
  account text NOT NULL,
  attributes integer NOT NULL REFERENCES unit_attributes,
  itmo integer REFERENCES itmo_series,
  itmo_offset bigint,
  first_transferred boolean NOT NULL,
  locked_by text,
  FOREIGN KEY (party, account) REFERENCES account,
  CHECK (1 <= first AND first <= last AND last <= 9007199254740991),
  CHECK ((itmo IS NULL) = (itmo_offset IS NULL)),
  CHECK (1 <= first + itmo_offset AND last + itmo_offset <= 9007199254740991),
  CONSTRAINT one_holding_per_unit
    EXCLUDE USING gist (box(point(series, first), point(series + 0.5::float8, last)) WITH &&),
  CONSTRAINT one_unit_per_itmo
    EXCLUDE USING gist (box(point(itmo, first + itmo_offset), point(itmo + 0.5::float8, last + itmo_offset)) WITH &&)
    WHERE (itmo IS NOT NULL)
);
CREATE INDEX IF NOT EXISTS holding_of_account ON holding (party, account, id);
CREATE INDEX IF NOT EXISTS holding_of_lock ON holding (locked_by) WHERE locked_by IS NOT NULL;

CREATE TABLE IF NOT EXISTS journal (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  entry text NOT NULL CHECK (entry IN
    ('issuance', 'lock', 'unlock', 'debit', 'credit', 'use', 'cancellation', 'adaptation', 'first_transfer')),
  reference text NOT NULL,
  party text NOT NULL,
  account text NOT NULL,
  quantity bigint NOT NULL CHECK (quantity > 0)
);
CREATE INDEX IF NOT EXISTS journal_of_reference ON journal (reference);
CREATE TABLE IF NOT EXISTS crediting (
  transfer text PRIMARY KEY,
  party text NOT NULL,
  account text NOT NULL,
  quantity bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);

-- Versions of authorisations of the Parties whose books are kept here; item is the text that tells of one.
CREATE TABLE IF NOT EXISTS authorisation (
  party text NOT NULL,
  id text NOT NULL,
  version bigint NOT NULL CHECK (version >= 1),
  terms jsonb NOT NULL,
  item text NOT NULL,
  told boolean NOT NULL DEFAULT false,
  revoked boolean NOT NULL DEFAULT false,
  PRIMARY KEY (party, id, version)
);
CREATE INDEX IF NOT EXISTS authorisation_untold ON authorisation (party, id) WHERE NOT told;

-- Use and cancellation elsewhere of units hosted here, as the gateway told of them.
CREATE TABLE IF NOT EXISTS told_action (
  registry text COLLATE "C" NOT NULL,
  action text COLLATE "C" NOT NULL,
  party text COLLATE "C" NOT NULL,
  item text NOT NULL,
  PRIMARY KEY (registry, action, party)
);

CREATE TABLE IF NOT EXISTS stream (peer text PRIMARY KEY, last_seq bigint NOT NULL);
CREATE TABLE IF NOT EXISTS sent (
  id uuid PRIMARY KEY,
  seq bigint NOT NULL UNIQUE,
  type text NOT NULL,
  content_type text NOT NULL,
  jws text NOT NULL,
  body bytea NOT NULL,
  answers uuid UNIQUE,
  owed boolean NOT NULL,
  -- What rests on it is sent when it is receipted: parts of a balance on those before, notices on all of these.
  leads boolean NOT NULL DEFAULT false,
  expires_at timestamptz,
  attempts integer NOT NULL DEFAULT 0,
  next_at timestamptz NOT NULL DEFAULT now(),
  answer_jws text,
  answer_items text[],
  at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS sent_owed ON sent (next_at, seq) WHERE owed;
CREATE INDEX IF NOT EXISTS sent_leading ON sent (seq) WHERE owed AND leads;
-- Without sha256: a message seen only as it was carried inside another.
CREATE TABLE IF NOT EXISTS received (
  id uuid PRIMARY KEY,
  sha256 text,
  jws_sha256 text NOT NULL,
  type text NOT NULL,
  jws text NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);

-- The gateway's announcements: without jwk, the end of a key of its pinned set.
CREATE TABLE IF NOT EXISTS gateway_key (
  kid text PRIMARY KEY,
  jwk jsonb,
  not_before timestamptz,
  not_after timestamptz,
  CHECK ((jwk IS NULL) = (not_before IS NULL))
);

CREATE TABLE IF NOT EXISTS transfer (
  transfer text NOT NULL,
  role text NOT NULL CHECK (role IN ('source', 'acquirer')),
  state text NOT NULL,
  request uuid UNIQUE,
  terms jsonb,
  proposal text,
  answer_by timestamptz,
  ask_at timestamptz,
  changed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (transfer, role),
  CHECK (CASE role WHEN 'source' THEN state IN ('locked', 'released', 'done', 'void')
                   ELSE state IN ('offered', 'accepted', 'rejected', 'credited', 'done', 'void') END)
);
CREATE INDEX IF NOT EXISTS transfer_offered ON transfer (transfer) WHERE state = 'offered';
CREATE INDEX IF NOT EXISTS transfer_asking ON transfer (ask_at) WHERE ask_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS step (
  transfer text NOT NULL,
  role text NOT NULL,
  step text NOT NULL,
  item text NOT NULL,
  message uuid NOT NULL,
  PRIMARY KEY (transfer, role, step)
);
-- What was recorded of actions, apart from what is held here; only the international registry has any.
CREATE TABLE IF NOT EXISTS record (
  action text COLLATE "C" PRIMARY KEY,
  type text NOT NULL CHECK (type IN ('First transfer', 'Transfer', 'Acquisition', 'Use', 'Cancellation')),
  section text NOT NULL,
  party text NOT NULL,
  quantity bigint NOT NULL CHECK (quantity > 0),
  sha256 text NOT NULL,
  item text NOT NULL,
  message uuid NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS record_block (
  action text COLLATE "C" NOT NULL REFERENCES record,
  series integer NOT NULL REFERENCES series,
  first bigint NOT NULL,
  last bigint NOT NULL,
  itmo integer REFERENCES itmo_series,
  itmo_offset bigint,
  PRIMARY KEY (action, series, first),
  CHECK (1 <= first AND first <= last AND last <= 9007199254740991),
  CHECK ((itmo IS NULL) = (itmo_offset IS NULL))
);
-- The identifiers of all recorded units, each unit once however many records name it.
CREATE TABLE IF NOT EXISTS record_name (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  series integer NOT NULL REFERENCES series,
  first bigint NOT NULL,
  last bigint NOT NULL,
  itmo integer NOT NULL REFERENCES itmo_series,
  itmo_offset bigint NOT NULL,
  CHECK (1 <= first AND first <= last AND last <= 9007199254740991),
  CHECK (1 <= first + itmo_offset AND last + itmo_offset <= 9007199254740991),
  CONSTRAINT one_name_per_recorded_unit
    EXCLUDE USING gist (box(point(series, first), point(series + 0.5::float8, last)) WITH &&),
  CONSTRAINT one_recorded_unit_per_name
    EXCLUDE USING gist (box(point(itmo, first + itmo_offset), point(itmo + 0.5::float8, last + itmo_offset)) WITH &&)
);

CREATE TABLE IF NOT EXISTS alarm (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  transfer text NOT NULL,
  code integer NOT NULL,
  detail text NOT NULL
);

CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% on % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE OR REPLACE TRIGGER journal_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER crediting_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON crediting
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER record_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON record
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER told_action_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON told_action
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER record_block_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON record_block
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE OR REPLACE TRIGGER record_name_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON record_name
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
