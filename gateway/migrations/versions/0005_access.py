"""Who may call: people and machines, their keys, the keys that tokens are signed with, and assertions used up.

A principal is never deleted and its name never given again in its registry, so that the pseudonym in an old log entry
means one person or machine for ever. What changes is only that it, or a key, counts no longer, once. Assertions are
remembered while they could be shown again.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: A person has a role, which is a name for scopes; a machine has scopes. ``registry`` null: bound to all.
PRINCIPALS = """
CREATE TABLE principal (
  id text PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('machine', 'person')),
  name text NOT NULL,
  registry text,
  role text CHECK (role IS NULL OR kind = 'person'),
  scopes text[] CHECK ((scopes IS NULL) = (role IS NOT NULL)),
  added_by bigint NOT NULL REFERENCES log_entry,
  revoked_by bigint REFERENCES log_entry,
  UNIQUE NULLS NOT DISTINCT (registry, name)
);
CREATE TABLE principal_key (
  kid text PRIMARY KEY,
  principal text NOT NULL REFERENCES principal,
  jwk jsonb NOT NULL,
  not_after timestamptz,
  added_by bigint NOT NULL REFERENCES log_entry,
  revoked_by bigint REFERENCES log_entry
);
CREATE INDEX principal_key_of ON principal_key (principal);
CREATE TABLE token_key (
  kid text PRIMARY KEY,
  jwk jsonb NOT NULL,
  registered_by bigint NOT NULL REFERENCES log_entry,
  revoked_by bigint REFERENCES log_entry
);
CREATE TABLE assertion (
  principal text NOT NULL REFERENCES principal,
  jti text NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (principal, jti)
);
CREATE INDEX assertion_over ON assertion (principal, expires_at);
GRANT SELECT, INSERT ON principal, principal_key, token_key TO gateway_app;
GRANT SELECT, INSERT, DELETE ON assertion TO gateway_app;
"""

#: Table → its columns that stay; the other, ``revoked_by``, is written once.
REVOKED_ONCE = {
    "principal": ("id", "kind", "name", "registry", "role", "scopes", "added_by"),
    "principal_key": ("kid", "principal", "jwk", "not_after", "added_by"),
    "token_key": ("kid", "jwk", "registered_by"),
}


def upgrade() -> None:
    """Add the tables; rows stay, and are revoked once."""
    op.execute(PRINCIPALS)
    for table, columns in REVOKED_ONCE.items():
        old, new = (", ".join(f"{row}.{name}" for name in columns) for row in ("OLD", "NEW"))
        op.execute(
            f"CREATE TRIGGER {table}_is_revoked_once BEFORE UPDATE ON {table} FOR EACH ROW "
            f"WHEN (OLD.revoked_by IS NOT NULL OR NEW.revoked_by IS NULL OR ROW({old}) IS DISTINCT FROM ROW({new})) "
            "EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_is_kept BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_is_not_emptied BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        op.execute(f"GRANT UPDATE (revoked_by) ON {table} TO gateway_app")


def downgrade() -> None:
    """Refuse: evidence is not thrown away by a command."""
    raise NotImplementedError("who was registered is evidence and is not taken back")
