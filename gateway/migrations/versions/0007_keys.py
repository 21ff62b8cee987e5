"""The gateway's own keys, who was told of each, and an index of what the log says of keys.

``own_key`` holds every message key this gateway has signed with or announced. A row is written once and then only
ended: retired in good order, or revoked. What is stored as sent is signed by a key that is neither (``may_sign``).
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

OWN_KEYS = """
CREATE TABLE own_key (
  kid text PRIMARY KEY,
  jwk jsonb NOT NULL,
  not_before timestamptz NOT NULL,
  registered_by bigint NOT NULL REFERENCES log_entry,
  retired_at timestamptz,
  retired_by bigint REFERENCES log_entry,
  revoked_at timestamptz,
  revoked_reason text CHECK (revoked_reason IN ('compromised', 'superseded')),
  revoked_by bigint REFERENCES log_entry,
  CHECK ((retired_at IS NULL) = (retired_by IS NULL)),
  CHECK ((revoked_at IS NULL) = (revoked_by IS NULL) AND (revoked_at IS NULL) = (revoked_reason IS NULL))
);
CREATE TABLE own_key_told (
  message_id uuid PRIMARY KEY,
  kid text NOT NULL REFERENCES own_key,
  link text NOT NULL REFERENCES link,
  ends boolean NOT NULL,
  receipted_by bigint REFERENCES log_entry,
  UNIQUE (kid, link, ends)
);
CREATE TRIGGER own_key_is_ended_once BEFORE UPDATE ON own_key FOR EACH ROW
  WHEN (OLD.revoked_by IS NOT NULL
        OR (OLD.retired_by IS NOT NULL AND NEW.retired_by IS DISTINCT FROM OLD.retired_by)
        OR ROW(OLD.kid, OLD.jwk, OLD.not_before, OLD.registered_by)
           IS DISTINCT FROM ROW(NEW.kid, NEW.jwk, NEW.not_before, NEW.registered_by))
  EXECUTE FUNCTION refuse_change();
CREATE TRIGGER own_key_told_is_receipted_once BEFORE UPDATE ON own_key_told FOR EACH ROW
  WHEN (OLD.receipted_by IS NOT NULL OR NEW.receipted_by IS NULL
        OR ROW(OLD.message_id, OLD.kid, OLD.link, OLD.ends)
           IS DISTINCT FROM ROW(NEW.message_id, NEW.kid, NEW.link, NEW.ends))
  EXECUTE FUNCTION refuse_change();
"""

#: What keeps rows, and what the serving role may do, for each of the two tables.
KEPT = """
CREATE TRIGGER {0}_is_kept BEFORE DELETE ON {0} FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER {0}_is_not_emptied BEFORE TRUNCATE ON {0} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON {0} TO gateway_app;
GRANT UPDATE ({1}) ON {0} TO gateway_app;
"""

#: Before the first key is registered any may sign: a gateway that has just been migrated has not started yet.
MAY_SIGN = """
CREATE FUNCTION may_sign(wanted text) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT FROM own_key WHERE kid = wanted AND retired_by IS NULL AND revoked_by IS NULL)
      OR NOT EXISTS (SELECT FROM own_key)
$$;
"""

#: Few of many entries: what happened to a key is found without walking through the log.
OF_KEYS = """
CREATE INDEX log_entry_of_keys ON log_entry (id)
  WHERE kind IN ('link.registered', 'key.registered', 'key.ended', 'key.reopened', 'key.revoked',
                 'own-key.registered', 'own-key.retired', 'own-key.revoked');
"""


def upgrade() -> None:
    """Add the tables, their guards and grants, the function and the index."""
    op.execute(OWN_KEYS)
    op.execute(KEPT.format("own_key", "retired_at, retired_by, revoked_at, revoked_reason, revoked_by"))
    op.execute(KEPT.format("own_key_told", "receipted_by"))
    op.execute(MAY_SIGN)
    op.execute(OF_KEYS)


def downgrade() -> None:
    """Refuse: evidence is not thrown away by a command."""
    raise NotImplementedError("which keys this gateway has signed with is evidence and is not taken back")
