"""What PostgreSQL itself refuses: by privilege to the role the processes serve as, by trigger even to the owner.

The tables in ``tables`` are the whole schema. A new one fails here until it is said there what may be done to its rows.
"""

from collections.abc import AsyncIterator

import psycopg
import pytest

from gateway.keys import commands as keys
from gateway.reconciliation.findings import Found
from gateway.signing.keys import SoftwareKey
from tests import recorded
from tests.deciding import decided
from tests.differing import opened, state, units
from tests.integration.tables import APPEND_ONLY, CHANGED, FOREIGN, KEPT, PASSING, VIEWS
from tests.integration.test_sandbox_play import uuid7
from tests.played import SERIES, block
from tests.stage import Stage

APP, OWNER = "gateway_app", "gateway_owner"
#: SQLSTATEs: the role may not; a trigger refuses.
NO_PRIVILEGE, RESTRICTED = "42501", "23001"
#: And that of a row that cannot be.
CHECKED = "23514"


@pytest.fixture
async def played(stage: Stage) -> AsyncIterator[Stage]:
    """A stage on which a transfer was completed and is to be recorded, so that the tables have rows."""
    course, _ = await recorded.begun(stage)
    await course.issue(block(1, 10))
    [transfer] = await course.complete(course.proposal(block(1, 4)))
    await stage.rows(f"INSERT INTO alarm VALUES (DEFAULT, now(), 'MEC01', '{transfer}', 3002, 'planted', 1)")
    await stage.rows("INSERT INTO principal_key VALUES ('planted', 'root', '{}', NULL, 1)")
    await stage.rows("INSERT INTO assertion VALUES ('root', 'planted', now())")
    await stage.rows(
        "INSERT INTO approval SELECT gen_random_uuid(), 'x', NULL, 'y', sha256('y'::bytea), 'one', now(),"
        " now() + interval '1 d', 1; INSERT INTO halt (reason, by, at, entry_id) VALUES ('x', 'one', now(), 1)"
    )
    await stage.rows(
        "INSERT INTO host_statement VALUES (DEFAULT, 'MMR', 'planted', 'all', NULL, now(), 'MEC01', 1);"
        " INSERT INTO flag (kind, party, opened_by) VALUES ('lapsed', 'MMR', 1);"
        " INSERT INTO authorisation_revocation SELECT id, 'planted', 'MEC01', now(), 1 FROM authorisation;"
        " INSERT INTO drawing SELECT (SELECT min(id) FROM action), id, 1, 1 FROM authorisation"
    )
    await course.void([f"MEC01-{uuid7()}"])  # overtakes its proposal
    await stage.transparency.turn()
    await stage.rows(
        "INSERT INTO log_witness VALUES ('planted', 'MEC01', NULL, 'x', 1);"
        " INSERT INTO log_cosignature SELECT size, 'planted', now(), 'x' FROM log_checkpoint;"
        " INSERT INTO witnessed_log VALUES ('planted', 'MEC01', '{x}', 5, sha256('x'), 'x', 1);"
        " INSERT INTO log_stop VALUES (true, 'planted', 'x', now(), 1);"
        " INSERT INTO split_view VALUES ('planted', 5, sha256('y'), 'y', 'x', now(), NULL, 1)"
    )
    feed = "FROM history_feed WHERE link = 'MEC01' AND registry = 'KOR01'"
    await stage.rows(
        f"INSERT INTO history_page SELECT id, 1, 1, sha256('x'), 'x', 1 {feed};"
        " INSERT INTO history_record OVERRIDING SYSTEM VALUE"
        " SELECT 1, sha256('x'), 'MEC01', 'a', 'issuance', now(), 'MEC01', 's', 1, 1, NULL, NULL, NULL,"
        " 'MEC01', 'MMR', '100-1', 'MMR', 2021, 'x', 'x', NULL, '{}';"
        f" INSERT INTO history_entry SELECT id, 1, 1 {feed};"
        " INSERT INTO history_finding OVERRIDING SYSTEM VALUE"
        f" SELECT 1, id, NULL, 4010, 'planted', now(), 1 {feed};"
        " INSERT INTO reconciliation (id, link, announce_seconds, next_at) VALUES"
        " ('00000000-0000-7000-8000-000000000001', 'MEC01', 0, now());"
        " INSERT INTO reconciliation_book SELECT id, 'KOR01', sha256('x'), NULL, '[]', '[]', '{}' FROM reconciliation;"
        " INSERT INTO reconciliation_finding (reconciliation_id, registry, code, origin_registry, series, first, last,"
        " detail, case_id) SELECT id, 'KOR01', 6301, 'MEC01', 's', 1, 1, 'planted', 'x' FROM reconciliation;"
        " INSERT INTO fingerprint_state VALUES (sha256('x'), 'x');"
        " INSERT INTO fingerprint_book VALUES ('KOR01', 1, sha256('x'), 1)"
    )
    where = units(SERIES, 1, 4)
    here, there = await state(stage, where), await state(stage, where, account_type=420)
    [case] = await opened(stage, Found("KOR01", 6304, where, here, there))
    await decided(stage, f"cases/{case}/correct", version=1, reason="planted", evidence="planted")
    jwk = SoftwareKey.generate().public_jwk()
    await stage.run(lambda tx: keys.announce(tx, stage.gateway.node, jwk))
    yield stage


async def refusal(stage: Stage, role: str, statement: str) -> str | None:
    """The SQLSTATE with which a statement is refused; nothing when it is not."""
    try:
        await stage.rows(statement, role)
    except psycopg.Error as error:
        return error.sqlstate
    return None


async def writable(stage: Stage, table: str) -> list[str]:
    """The columns that a statement can give a value to: PostgreSQL itself refuses identity columns."""
    found = await stage.rows(
        "SELECT column_name FROM information_schema.columns "
        f"WHERE table_name = '{table}' AND is_identity = 'NO' ORDER BY ordinal_position"
    )
    return [name for (name,) in found]


async def test_every_table_is_append_only_or_lists_the_columns_that_change(stage: Stage) -> None:
    tables = {t for (t,) in await stage.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert tables == APPEND_ONLY | CHANGED.keys() | FOREIGN
    granted: dict[str, set[str]] = {}
    for table, column in await stage.rows(
        "SELECT table_name, column_name FROM information_schema.column_privileges "
        f"WHERE table_schema = 'public' AND grantee = '{APP}' AND privilege_type = 'UPDATE'"
    ):
        granted.setdefault(table, set()).add(column)
    assert granted == {table: columns for table, columns in CHANGED.items() if columns}


async def test_every_table_is_guarded_as_it_is_said_here(stage: Stage) -> None:
    guards: dict[str, set[str]] = {t: set() for t in APPEND_ONLY | KEPT.keys()}
    for table, event, condition in await stage.rows(
        "SELECT event_object_table, event_manipulation, action_condition FROM information_schema.triggers "
        "WHERE trigger_schema = 'public' AND action_timing = 'BEFORE' AND action_statement LIKE '%refuse_change()'"
    ):
        guards[table] |= {event} if condition is None else set()
    for (table,) in await stage.rows(  # TRUNCATE is not in the information schema
        "SELECT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgtype & 34 = 34"
    ):
        guards[table].add("TRUNCATE")
    assert guards == {
        **{t: {"UPDATE", "DELETE", "TRUNCATE"} for t in APPEND_ONLY},
        **{t: {"DELETE", "TRUNCATE"} for t in KEPT},
    }
    disabled = await stage.rows("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'O'")
    assert disabled == []


async def test_serving_role_may_read_and_add_and_little_else(stage: Stage) -> None:
    granted: dict[str, set[str]] = {}
    for table, privilege in await stage.rows(
        "SELECT table_name, privilege_type FROM information_schema.table_privileges "
        f"WHERE table_schema = 'public' AND grantee IN ('{APP}', 'PUBLIC')"
    ):
        granted.setdefault(privilege, set()).add(table)
    tables = APPEND_ONLY | CHANGED.keys()
    written = tables - {"log_head"}  # its one row is made with it
    assert granted == {"SELECT": tables | FOREIGN | VIEWS, "INSERT": written, "DELETE": set(PASSING)}


async def test_what_was_written_cannot_be_changed_or_removed(played: Stage) -> None:
    for table in sorted(APPEND_ONLY - {"itmo_series"} | KEPT.keys()):  # the transfer was no first transfer
        assert await played.count(table) > 0, table
        [column, *_] = await writable(played, table)
        changes = {"DELETE": f"DELETE FROM {table}", "TRUNCATE": f"TRUNCATE {table} CASCADE"}
        if table in APPEND_ONLY:
            changes["UPDATE"] = f"UPDATE {table} SET {column} = {column}"
        for change, statement in changes.items():
            assert (change, table, await refusal(played, APP, statement)) == (change, table, NO_PRIVILEGE)
            assert (change, table, await refusal(played, OWNER, statement)) == (change, table, RESTRICTED)


async def test_position_is_closed_once_and_nothing_else_of_it_changes(played: Stage) -> None:
    [(entry,)] = await played.rows("SELECT max(id) FROM log_entry")
    [(closed,)] = await played.rows("SELECT min(id) FROM position WHERE closed_by IS NOT NULL")
    [(live,)] = await played.rows("SELECT id FROM position WHERE closed_by IS NULL AND registry = 'KOR01'")
    for role in (APP, OWNER):
        again = f"UPDATE position SET closed_by = {entry} WHERE id = {closed}"
        assert await refusal(played, role, again) == RESTRICTED
        assert await refusal(played, role, f"UPDATE position SET closed_by = NULL WHERE id = {closed}") == RESTRICTED
    for change in ("registry = 'MEC01'", "last = last + 1", "account_type = 200", "itmo_offset = 0"):
        statement = f"UPDATE position SET closed_by = {entry}, {change} WHERE id = {live}"
        assert await refusal(played, APP, statement) == NO_PRIVILEGE
        assert await refusal(played, OWNER, statement) == RESTRICTED
    assert await refusal(played, APP, f"UPDATE position SET closed_by = {entry} WHERE id = {live}") is None


async def test_claim_is_released_once_and_an_answer_is_kept_as_given(played: Stage) -> None:
    [(entry,)] = await played.rows("SELECT max(entry_id) FROM message")
    assert await played.count("claim WHERE released_by IS NOT NULL") > 0
    for role in (APP, OWNER):
        for table, column in (("claim", "released_by"), ("replay_key", "answer")):
            for value in (entry, "NULL"):
                again = f"UPDATE {table} SET {column} = {value} WHERE {column} IS NOT NULL"
                assert (table, await refusal(played, role, again)) == (table, RESTRICTED)
    await played.rows(
        "INSERT INTO claim SELECT transfer_id, series_id, 7, 9 FROM claim LIMIT 1;"
        "INSERT INTO replay_key SELECT sender, gen_random_uuid(), sha256 FROM replay_key LIMIT 1"
    )
    for change in (f"released_by = {entry}, last = last + 1", f"released_by = {entry}, first = 8", "last = last"):
        assert await refusal(played, OWNER, f"UPDATE claim SET {change} WHERE released_by IS NULL") == RESTRICTED
    taken = "sha256 = sha256('other'::bytea)"
    for change in (f"answer = {entry}, {taken}", f"answer = {entry}, sender = 'KOR01'", "sender = sender"):
        assert await refusal(played, OWNER, f"UPDATE replay_key SET {change} WHERE answer IS NULL") == RESTRICTED
    for table, column in (("claim", "released_by"), ("replay_key", "answer")):
        given = f"UPDATE {table} SET {column} = {entry} WHERE {column} IS NULL"
        assert await refusal(played, APP, given) is None
        assert await played.count(f"{table} WHERE {column} IS NULL") == 0


async def test_a_record_is_said_once_and_answered_once_and_nothing_else_of_it_changes(played: Stage) -> None:
    [(first, second)] = await played.rows("SELECT min(id), max(id) FROM action_record")
    [(entry,)] = await played.rows("SELECT max(id) FROM log_entry")
    said = "message_id = gen_random_uuid(), state = 'sent'"
    for change in ("quantity = quantity + 1", "item = '{}'", "section = 'MMR99', party = 'KOR'", "entry_id = 1"):
        assert await refusal(played, APP, f"UPDATE action_record SET {change}") == NO_PRIVILEGE
        assert await refusal(played, OWNER, f"UPDATE action_record SET {said}, {change}") == RESTRICTED
    for odd in ("state = 'sent'", "message_id = gen_random_uuid()", f"{said}, answered_by = {entry}"):
        assert await refusal(played, APP, f"UPDATE action_record SET {odd}") in (CHECKED, RESTRICTED)
    assert await refusal(played, APP, f"UPDATE action_record SET {said}") is None
    for role in (APP, OWNER):
        for again in (said, "message_id = NULL, state = 'waiting'"):
            assert await refusal(played, role, f"UPDATE action_record SET {again}") == RESTRICTED
    answered = f"UPDATE action_record SET state = 'recorded', answered_by = {entry} WHERE id = {first}"
    assert await refusal(played, APP, answered) is None
    for role in (APP, OWNER):
        for again in ("state = 'refused'", "state = 'sent', answered_by = NULL", "findings = '[{}]'"):
            late = f"UPDATE action_record SET {again} WHERE id = {first}"
            assert await refusal(played, role, late) == RESTRICTED
    assert await played.rows(f"SELECT state FROM action_record WHERE id = {second}") == [("sent",)]


async def test_serving_role_owns_nothing_and_cannot_make_or_unmake_guards(stage: Stage) -> None:
    owned = await stage.rows(
        f"SELECT relname FROM pg_class WHERE relowner = '{APP}'::regrole "
        f"UNION ALL SELECT proname FROM pg_proc WHERE proowner = '{APP}'::regrole "
        f"UNION ALL SELECT nspname FROM pg_namespace WHERE nspowner = '{APP}'::regrole "
        f"UNION ALL SELECT datname FROM pg_database WHERE datdba = '{APP}'::regrole"
    )
    assert owned == []
    replaced = "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'"
    for statement in (
        "CREATE TABLE mine (n integer)",
        "CREATE SCHEMA mine",
        "CREATE TABLE public.mine AS SELECT 1",
        "DROP TABLE message",
        "DROP FUNCTION refuse_change() CASCADE",
        replaced,
        "ALTER TABLE message DISABLE TRIGGER ALL",
        "ALTER TABLE log_entry DROP COLUMN leaf",
        "ALTER TABLE position DROP CONSTRAINT one_position_per_unit",
        "CREATE RULE silent AS ON INSERT TO claim DO INSTEAD NOTHING",
        "CREATE TRIGGER mine BEFORE INSERT ON claim FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        "DROP TRIGGER message_rows_stay ON message",
        "SET session_replication_role = replica",
        f"SET ROLE {OWNER}",
        f"SET SESSION AUTHORIZATION {OWNER}",
        f"ALTER TABLE message OWNER TO {APP}",
    ):
        assert (statement, await refusal(stage, APP, statement)) == (statement, NO_PRIVILEGE)


async def test_serving_role_cannot_pass_privileges_on(stage: Stage) -> None:
    assert await refusal(stage, APP, f"GRANT {OWNER} TO {APP}") == NO_PRIVILEGE
    privileges = "SELECT relname, relacl::text FROM pg_class WHERE relname IN ('message', 'worker') ORDER BY relname"
    before = await stage.rows(privileges)
    # PostgreSQL only warns where the role has some privilege of its own on the table, without grant option.
    for statement in (f"GRANT UPDATE ON message TO {APP}", "GRANT DELETE ON worker TO PUBLIC"):
        assert await refusal(stage, APP, statement) in (None, NO_PRIVILEGE)
    assert await stage.rows(privileges) == before != []


async def test_roles_are_not_above_the_rules(stage: Stage) -> None:
    assert await stage.rows(
        "SELECT rolname, rolsuper, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles "
        f"WHERE rolname IN ('{APP}', '{OWNER}') ORDER BY rolname"
    ) == [(APP, False, False, False, False), (OWNER, False, False, False, False)]
    assert await stage.rows(f"SELECT pg_has_role('{APP}', '{OWNER}', 'MEMBER')") == [(False,)]


async def test_serving_role_cannot_change_another_column(played: Stage) -> None:
    for table in sorted(CHANGED.keys() - {"worker"}):
        fixed = next(name for name in await writable(played, table) if name not in CHANGED[table])
        assert (table, await refusal(played, APP, f"UPDATE {table} SET {fixed} = {fixed}")) == (table, NO_PRIVILEGE)


async def test_a_tile_grows_at_its_end_and_the_tree_forward_only(played: Stage) -> None:
    for statement in (
        "UPDATE log_tile SET hashes = hashes",
        "UPDATE log_tile SET width = width + 1, hashes = sha256('x') || hashes",
        "UPDATE log_head SET size = size - 1",
        "UPDATE log_head SET root = sha256('x')",
        "UPDATE log_head SET swept = swept - 1",
        "UPDATE witnessed_log SET size = 4",
        "UPDATE witnessed_log SET root = sha256('z')",
    ):
        for role in (APP, OWNER):
            assert (statement, await refusal(played, role, statement)) == (statement, RESTRICTED)
    assert await refusal(played, APP, "UPDATE log_head SET size = size + 1, root = sha256('x')") is None
    assert await refusal(played, APP, "UPDATE split_view SET proven = true") is None
    for role in (APP, OWNER):
        assert await refusal(played, role, "UPDATE split_view SET proven = false") == RESTRICTED


async def test_a_case_goes_on_step_by_step_and_ends_once(played: Stage) -> None:
    for statement in (
        "UPDATE inconsistency_case SET state = 'responded'",
        "UPDATE inconsistency_case SET version = version + 2",
        "UPDATE inconsistency_case SET version = version + 1, effect = NOT effect",
        "UPDATE case_unit SET closed_by = NULL",
        "UPDATE case_unit SET last = last + 1, closed_by = 1",
    ):
        assert (statement, await refusal(played, OWNER, statement)) == (statement, RESTRICTED)
    end = "UPDATE inconsistency_case SET version = version + 1, state = 'closed', closed_at = now()"
    assert await refusal(played, APP, end) is None
    again = "UPDATE inconsistency_case SET version = version + 1, state = 'open', closed_at = NULL"
    assert await refusal(played, APP, again) == RESTRICTED
