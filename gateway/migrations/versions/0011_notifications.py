"""Notifications: what first transferring Parties are told of uses and cancellations of their units elsewhere.

They are told in the same way as records, and are rows beside them. Who keeps the books of a Party may be unknown when
its units are used, so where a notification goes is written with the message that says it. The notifications of what was
used and cancelled before are made here from the signed notices that are kept, and told.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

#: ``party`` of a notification is the one that is told; ``link`` and ``section`` (the registry that keeps its books
#: there) are given by the message that says it, once. An action is recorded once, and told once to each such Party.
KINDS = """
ALTER TABLE action_record
  ADD COLUMN kind text NOT NULL DEFAULT 'record' CHECK (kind IN ('record', 'notification')),
  ALTER COLUMN link DROP NOT NULL, ALTER COLUMN section DROP NOT NULL, DROP CONSTRAINT action_record_action_key,
  ADD CONSTRAINT a_place_is_known CHECK (
    num_nulls(link, section) = CASE WHEN kind = 'notification' AND state = 'waiting' THEN 2 ELSE 0 END);
ALTER TABLE action_record ALTER COLUMN kind DROP DEFAULT;
CREATE UNIQUE INDEX an_action_is_recorded_once ON action_record (action) WHERE kind = 'record';
CREATE UNIQUE INDEX a_party_is_notified_once ON action_record (action, party) WHERE kind = 'notification';
CREATE INDEX action_record_to_notify ON action_record (party, id) WHERE kind = 'notification' AND message_id IS NULL;
DROP TRIGGER action_record_is_said_once_and_answered_once ON action_record;
CREATE TRIGGER action_record_is_said_once_and_answered_once BEFORE UPDATE ON action_record FOR EACH ROW
  WHEN (OLD.answered_by IS NOT NULL OR NEW.message_id IS NULL OR NEW.message_id <> OLD.message_id
        OR ROW(OLD.id, OLD.kind, OLD.action, OLD.cause, OLD.type, OLD.at, coalesce(OLD.link, NEW.link),
        coalesce(OLD.section, NEW.section), OLD.party, OLD.quantity, OLD.block_count, OLD.item, OLD.entry_id)
        IS DISTINCT FROM ROW(NEW.id, NEW.kind, NEW.action, NEW.cause, NEW.type, NEW.at, NEW.link, NEW.section,
        NEW.party, NEW.quantity, NEW.block_count, NEW.item, NEW.entry_id))
  EXECUTE FUNCTION refuse_change();
GRANT UPDATE (link, section) ON action_record TO gateway_app;
"""

#: Who keeps the books of a Party: its own registry, else the international registry with a section of it.
BOOKS = """
CREATE VIEW party_books AS
SELECT DISTINCT ON (r.party) r.party, r.registry, r.link, l.state AS link_state
FROM link_registry r JOIN link l ON l.code = r.link
WHERE r.party IS NOT NULL AND l.kind IN ('party', 'international') AND l.state <> 'closed'
ORDER BY r.party, l.kind = 'party' DESC, l.state = 'active' DESC, r.registry;
GRANT SELECT ON party_books TO gateway_app;
"""

EARLIER = """
WITH notice AS (
  SELECT registry || '/' || action AS name, type, at, entry_id, CAST(item AS jsonb) AS said FROM action
  WHERE type IN ('use', 'cancellation')
), told AS (
  SELECT n.*, b.block -> 'attributes' ->> 'first_transferring_party' AS host,
         jsonb_agg(b.block ORDER BY b.nr) AS blocks,
         sum(CAST(b.block ->> 'last' AS bigint) - CAST(b.block ->> 'first' AS bigint) + 1) AS quantity
  FROM notice n CROSS JOIN LATERAL jsonb_array_elements(n.said -> 'blocks') WITH ORDINALITY AS b(block, nr)
  GROUP BY n.name, n.type, n.at, n.entry_id, n.said, host
)
INSERT INTO action_record (kind, action, cause, type, at, party, quantity, block_count, item, entry_id)
SELECT 'notification', name, name, initcap(type), at, host, quantity, jsonb_array_length(blocks),
       CAST(said || jsonb_build_object('blocks', blocks) AS text), entry_id
FROM told WHERE host <> said ->> 'party' ORDER BY entry_id, name, host
"""


def upgrade() -> None:
    """Let rows be notifications, say who keeps a Party's books, and note what is to be told of the past."""
    for part in (KINDS, BOOKS, EARLIER):
        op.execute(part)


def downgrade() -> None:
    """Refuse: evidence is not thrown away by a command."""
    raise NotImplementedError("what was told is evidence and is not taken back")
