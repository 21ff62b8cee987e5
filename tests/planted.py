"""What may be wrong in a gateway's database, each made in a copy, and what the doctor must say of it."""

from tests import planted_authorisations, planted_cases, planted_history, planted_keys, planted_records, planted_tree

LIVE = "closed_by IS NULL"


def rewritten(old: str, new: str, step: str, name: str) -> str:
    """Put the expression ``new`` for the first ``old`` in a statement that is kept, and its hash."""
    text = f"regexp_replace(item, '{old}', {new})"
    changed = f"UPDATE transfer_step SET item = {text}, sha256 = sha256(convert_to({text}, 'UTF8'))"
    return f"{changed} WHERE transfer_id = {{{name}}} AND step = '{step}'"


def named(member: str, step: str, name: str) -> str:
    """Let a statement of ours name nothing there is."""
    return rewritten(f'"{member}":"[^"]*', f'\'"{member}":"{"A" * 43}\'', step, name)


def rebuilt(name: str) -> list[str]:
    """Make a row that had its whole course one that began with its last event, as one that was lost and taken up."""
    last = f"(SELECT max(version) FROM transfer_event WHERE transfer_id = {{{name}}})"
    return [
        f"DELETE FROM transfer_event WHERE transfer_id = {{{name}}} AND version < {last}",
        f"UPDATE transfer_event SET version = 1 WHERE transfer_id = {{{name}}}",
        f"UPDATE transfer SET version = 1 WHERE id = {{{name}}}",
    ]


def overtaken(name: str) -> list[str]:
    """Make a release one that came before the gateway had stored a commit: it had lost that."""
    return [
        f"DELETE FROM transfer_event WHERE transfer_id = {{{name}}} AND event = 'commit-stored'",
        f"UPDATE transfer_event SET version = version - 1 WHERE transfer_id = {{{name}}} AND event = 'released'",
        f"UPDATE transfer SET version = version - 1 WHERE id = {{{name}}}",
    ]


#: Name of the fault → the statements that make it, the checks that find something, and words of a finding.
FAULTS: dict[str, tuple[list[str], set[str], str]] = {
    "a row in another state": (
        ["UPDATE transfer SET state = 'accepted' WHERE id = {committing}"],
        {"course"}, "the row is accepted, its events lead to committing",
    ),
    "a row with another version": (
        ["UPDATE transfer SET version = version + 1 WHERE id = {checked}"],
        {"course"}, "the row has version 3 after 2 events",
    ),
    "a row with another outcome": (
        ["UPDATE transfer SET outcome = 'refused' WHERE id = {rejected}"],
        {"course"}, "the row is rejected (refused), its events lead to rejected (rejected)",
    ),
    "an event lost": (
        ["DELETE FROM transfer_event WHERE transfer_id = {committing} AND event = 'accepted'"],
        {"course"}, "event 3 has version 4",
    ),
    "every event lost": (
        ["DELETE FROM transfer_event WHERE transfer_id = {proposed}"],
        {"course"}, "it has no events",
    ),
    "an event that leads elsewhere": (
        ["UPDATE transfer_event SET state = 'delayed' WHERE transfer_id = {committing} AND event = 'accepted'"],
        {"course"}, "event 3, accepted, leads to accepted, not to delayed",
    ),
    "an event that is none": (
        ["UPDATE transfer_event SET event = 'wished' WHERE transfer_id = {committing} AND event = 'commit-stored'"],
        {"course"}, "event 4 is 'wished', which is none",
    ),
    "an event that is not possible": (
        ["UPDATE transfer_event SET event = 'resumed' WHERE transfer_id = {committing} AND event = 'commit-stored'"],
        {"course", "resumptions"}, "event 4, resumed, is not possible in state accepted",
    ),
    "a quantity changed": (
        ["UPDATE transfer SET quantity = quantity + 1 WHERE id = {checked}"],
        {"proposals"}, "quantity is 11, the source proposed 10",
    ),
    "a Party changed": (
        ["UPDATE transfer SET acquiring_party = 'JPN' WHERE id = {checked}"],
        {"proposals"}, "acquiring_party is JPN, the source proposed KOR",
    ),
    "a proposal lost": (
        ["DELETE FROM transfer_step WHERE transfer_id = {checked} AND step = 'propose'"],
        {"words heard"}, "event 'proposed' has no 'propose' of a registry behind it",
    ),
    "an acceptance lost": (
        ["DELETE FROM transfer_step WHERE transfer_id = {committing} AND step = 'answer'"],
        {"words heard"}, "event 'accepted' has no 'answer'",
    ),
    "a release lost": (
        ["DELETE FROM transfer_step WHERE transfer_id = {released} AND step = 'released'"],
        {"words heard"}, "event 'released' has no 'released'",
    ),
    "a statement of another message": (
        ["UPDATE transfer_step SET entry_id = (SELECT min(entry_id) FROM message WHERE type = 'transfer.answer')"
         " WHERE transfer_id = {accepted} AND step = 'answer'"],
        {"words heard", "statements"}, "its 'answer' is not in the message it was kept from",
    ),
    "a proposal kept from a message that only carries it": (
        ["UPDATE transfer_step SET entry_id = (SELECT entry_id FROM transfer_step WHERE step = 'settle'"
         " AND transfer_id = {released}) WHERE transfer_id = {released} AND step IN ('propose', 'answer')"],
        {"words heard"}, "event 'accepted' came with entry",
    ),
    "a commit that the row does not name": (
        ["UPDATE transfer SET commit_id = NULL WHERE id = {committing}"],
        {"words said"}, "commit_id names no message: transfer.commit to MEC01",
    ),
    "a commit that is not stored": (
        ["UPDATE transfer SET commit_id = gen_random_uuid() WHERE id = {committing}"],
        {"words said"}, "which is not stored",
    ),
    "a settle where there is none": (
        ["UPDATE transfer SET settle_id = offer_id WHERE id = {checked}"],
        {"words said"}, "settle_id names a message, but nothing led to one",
    ),
    "an offer that is a commit": (
        ["UPDATE transfer SET offer_id = commit_id WHERE id = {committing}"],
        {"words said"}, "offer_id names a transfer.commit to MEC01",
    ),
    "an offer of another transfer": (
        ["UPDATE transfer SET offer_id = (SELECT offer_id FROM transfer WHERE id = {told}) WHERE id = {checked}"],
        {"words said"}, "its 'offer' is of entry",
    ),
    "a commit that is kept nowhere": (
        ["DELETE FROM transfer_step WHERE transfer_id = {committing} AND step = 'commit'"],
        {"words said", "statements"}, "we signed a 'commit' that is kept nowhere",
    ),
    "a commit and a cancel": (
        ["INSERT INTO transfer_step SELECT {committing}, step, item, sha256, entry_id FROM transfer_step"
         " WHERE transfer_id = {twice} AND step = 'cancel'"],
        {"commit and cancel", "statements"}, "it has both a commit and a cancel",
    ),
    "a cancel named beside a commit": (
        ["UPDATE transfer SET cancel_id = (SELECT cancel_id FROM transfer WHERE id = {twice}) WHERE id = {committing}"],
        {"commit and cancel", "words said"}, "it has both a commit and a cancel",
    ),
    "a commit of another proposal": (
        [named("proposal", "commit", "committing")],
        {"chain", "statements"}, "its 'commit' names another proposal than the 'propose' that is kept",
    ),
    "a commit of another acceptance": (
        [named("answer", "commit", "committing")],
        {"chain", "statements"}, "its 'commit' names another answer than the 'answer' that is kept",
    ),
    "a settle of another proposal": (
        [named("proposal", "settle", "released")],
        {"chain", "statements"}, "its 'settle' names another proposal than the 'propose' that is kept",
    ),
    "a settle of another acceptance": (
        [named("answer", "settle", "released")],
        {"chain", "statements"}, "its 'settle' names another answer than the 'answer' that is kept",
    ),
    "a settle of another release": (
        [named("release", "settle", "released")],
        {"chain", "statements"}, "its 'settle' names another release than the 'released' that is kept",
    ),
    "an offer of another proposal": (
        [named("proposal", "offer", "checked")],
        {"chain", "statements"}, "its 'offer' names another proposal than the 'propose' that is kept",
    ),
    "a commit on a rejection": (
        [rewritten('"accepted"', "'\"rejected\"'", "answer", "committing")],
        {"chain", "statements"}, "its 'commit' rests on an answer that does not accept",
    ),
    "a settle on a rejection": (
        [rewritten('"accepted"', "'\"rejected\"'", "answer", "released")],
        {"chain", "statements"}, "its 'settle' rests on an answer that does not accept",
    ),
    "a rebuilt row whose commit is of another acceptance": (
        [*rebuilt("released"), named("answer", "commit", "released")],
        {"chain", "statements"}, "its 'commit' names another answer than the 'answer' that is kept",
    ),
    "a claim released too early": (
        ["UPDATE claim SET released_by = 1 WHERE transfer_id = {committing}"],
        {"claims"}, "10 of its units are not claimed any more in state committing",
    ),
    "a claim lost": (
        ["DELETE FROM claim WHERE transfer_id = {checked}"],
        {"claims"}, "proposed and not claimed",
    ),
    "a claim of a rebuilt row lost": (
        [*rebuilt("released"), "DELETE FROM claim WHERE transfer_id = {released}"],
        {"claims"}, "proposed and not claimed",
    ),
    "a release after a refusal, without a claim": (
        [
            "DELETE FROM transfer_event WHERE transfer_id = {released} AND event IN ('accepted', 'commit-stored')",
            "UPDATE transfer_event SET event = 'checks-failed', state = 'ending', entry_id = (SELECT entry_id FROM"
            " transfer_event WHERE transfer_id = {released} AND version = 1) WHERE transfer_id = {released}"
            " AND event = 'checks-passed'",
            "UPDATE transfer_event SET version = 3 WHERE transfer_id = {released} AND event = 'released'",
            "UPDATE transfer SET version = 3 WHERE id = {released}",
            "DELETE FROM claim WHERE transfer_id = {released}",
        ],
        {"claims", "words said"}, "proposed and not claimed",
    ),
    "a claim cut": (
        ["UPDATE claim SET last = last - 1 WHERE transfer_id = {checked}"],
        {"claims"}, "claimed and not proposed",
    ),
    "a claim of what is final": (
        ["UPDATE claim SET released_by = NULL WHERE transfer_id = {cancelled}"],
        {"claims"}, "it still claims 10 units in state cancelled",
    ),
    "a claim of what never had it": (
        ["INSERT INTO claim SELECT {twice}, series_id, 2001, 2010, NULL FROM claim WHERE transfer_id = {checked}"],
        {"claims"}, "it still claims 10 units in state refused",
    ),
    "units claimed twice": (
        ["ALTER TABLE claim DROP CONSTRAINT one_claim_per_unit",
         "UPDATE claim SET first = first - 10 WHERE transfer_id = {accepted}"],
        {"claims", "series"}, "unit 91 is claimed twice",
    ),
    "a resumption nobody approved": (
        ["DELETE FROM approval WHERE kind = 'transfer.resume'"],
        {"resumptions"}, "no two persons had decided that it be resumed",
    ),
    "a resumption that was approved at another time": (
        ["ALTER TABLE approval DROP CONSTRAINT hash_is_of_the_text",
         "UPDATE approval SET canonical = replace(canonical, 'version\":', 'version\":9')"],
        {"resumptions"}, "no two persons had decided that it be resumed",
    ),
    "a resumption that was declined": (
        ["UPDATE approval SET state = 'declined' WHERE kind = 'transfer.resume'"],
        {"resumptions", "approvals"}, "no two persons had decided that it be resumed",
    ),
    "an open transfer nobody looks at": (
        ["UPDATE transfer SET next_at = NULL, attempts = 0, waiting = NULL WHERE id = {committing}"],
        {"due"}, "it is committing, and nobody will look at it again",
    ),
    "an end nobody says": (
        ["UPDATE transfer SET next_at = NULL, attempts = 0, waiting = NULL WHERE id = {completed}"],
        {"due"}, "its end is owed to the source and the acquirer, and nobody will say it",
    ),
    "an end said for ever": (
        ["UPDATE transfer SET next_at = now() WHERE id = {told}"],
        {"due"}, "everybody has been told of its end, and it is due all the same",
    ),
    "told of an end before it": (
        ["UPDATE transfer SET told_source_at = now() WHERE id = {committing}"],
        {"due"}, "the source is noted as told of an end that was not said",
    ),
    "a lease for a day": (
        ["UPDATE transfer SET leased_until = now() + interval '1 day' WHERE id = {committing}"],
        {"leases"}, "it is leased until",
    ),
    "a lease of what is not due": (
        ["UPDATE transfer SET leased_until = now() WHERE id = {told}"],
        {"leases"}, "it is leased, and nothing of it is due",
    ),
    "a wait for nothing": (
        ["UPDATE transfer SET waiting = 'MEC01' WHERE id = {attention}"],
        {"leases"}, "it is noted as waiting, and nothing of it is due",
    ),
    "bytes changed": (
        ["UPDATE message SET body = set_byte(body, octet_length(body) / 2, 65) WHERE type = 'link.activate'"],
        {"messages"}, "its bytes are not those whose hash was stored",
    ),
    "bytes that are no message": (
        ["UPDATE message SET body = '\\x7b7d', sha256 = sha256('\\x7b7d') WHERE entry_id = (SELECT entry_id"
         " FROM transfer_step WHERE transfer_id = {committing} AND step = 'answer')"],
        {"messages", "log", "replay keys", "receipts"}, "its bytes are no message",
    ),
    "a message under another hash": (
        ["UPDATE message SET sha256 = sha256(sha256) WHERE type = 'link.activate' AND peer = 'KOR01'"],
        {"messages", "log", "replay keys", "receipts"}, "its bytes are not those whose hash was stored",
    ),
    "a message of ours under another name": (
        ["UPDATE message SET message_id = gen_random_uuid() WHERE type = 'transfer.request' AND entry_id ="
         " (SELECT max(entry_id) FROM message)"],
        {"messages", "log", "requests"}, "its bytes have",
    ),
    "a message of another type": (
        ["UPDATE message SET type = 'transfer.voided' WHERE type = 'action.notice' AND direction = 'in'"],
        {"messages", "log"}, "its row has type transfer.voided, its bytes have action.notice",
    ),
    "a message signed by a key that is not registered": (
        ["DELETE FROM peer_key WHERE link = 'KOR01'"],
        {"messages"}, "it is not signed by KOR01",
    ),
    "the text of a statement changed": (
        ["UPDATE transfer_step SET item = item || ' ' WHERE transfer_id = {committing} AND step = 'answer'"],
        {"statements"}, "the text kept as its 'answer' is not the one that was signed",
    ),
    "a statement nobody signed": (
        ["UPDATE transfer_step SET item = '{{}}', sha256 = sha256('{{}}')"
         " WHERE transfer_id = {committing} AND step = 'answer'"],
        {"chain", "statements"}, "its 'answer' is not in the message it was kept from",
    ),
    "a statement about another transfer": (
        ["INSERT INTO transfer_step SELECT {released}, step, item, sha256, entry_id FROM transfer_step"
         " WHERE transfer_id = {told} AND step = 'credited'"],
        {"statements"}, "what is kept as its 'credited' is the 'credited' of",
    ),
    "a statement of another kind": (
        ["UPDATE transfer_step SET step = 'voided' WHERE transfer_id = {released} AND step = 'answer'"],
        {"words heard", "statements"}, "what is kept as its 'voided' is the 'answer' of",
    ),
    "a statement of the wrong registry": (
        ["UPDATE transfer SET source = 'JPN01' WHERE id = {proposed}"],
        {"statements", "viewers"}, "its 'propose' is not said by JPN01, who alone may say it",
    ),
    "a statement of no kind": (
        ["UPDATE transfer_step SET step = 'wish' WHERE transfer_id = {proposed}"],
        {"words heard", "statements"}, "'wish' is no statement of the protocol",
    ),
    "a receipt that promises another entry": (
        ["UPDATE log_entry SET leaf_hash = sha256(leaf_hash) WHERE kind = 'link.activate'"],
        {"log", "receipts", "tree"}, "the entry it promises is not that of the message it answers",
    ),
    "a verdict forgotten": (
        ["UPDATE replay_key SET answer = NULL WHERE sender = 'KOR01'"],
        {"receipts"}, "it is not kept as the answer to",
    ),
    "a verdict that is another's": (
        ["UPDATE replay_key SET answer = (SELECT max(entry_id) FROM message) WHERE sender = 'KOR01'"],
        {"receipts", "replay keys"}, "is no answer to it",
    ),
    "a message id used by nothing": (
        ["INSERT INTO replay_key VALUES ('KOR01', gen_random_uuid(), sha256(''), NULL)"],
        {"replay keys"}, "its id is noted as used, and the message is not stored",
    ),
    "a record changed": (
        ["UPDATE log_record SET record = record || ' ' WHERE entry_id = 3"],
        {"log"}, "its leaf does not stand for its record",
    ),
    "a record lost": (
        ["DELETE FROM log_record WHERE entry_id = (SELECT min(entry_id) FROM message WHERE type = 'receipt')"],
        {"log"}, "its record is gone",
    ),
    "a leaf changed": (["UPDATE log_entry SET leaf = leaf || ' ' WHERE id = 3"], {"log"}, "is not that of its leaf"),
    "a message lost": (
        ["DELETE FROM message WHERE type = 'transfer.request' AND entry_id = (SELECT max(entry_id) FROM message)"],
        {"log", "streams", "requests"}, "its last message has",
    ),
    "a number skipped": (
        ["UPDATE outgoing_stream SET last_seq = last_seq + 1 WHERE peer = 'KOR01'"],
        {"streams"}, "its stream stands at",
    ),
    "a stream lost": (["DELETE FROM outgoing_stream WHERE peer = 'JPN01'"], {"streams"}, "its stream has no row"),
    "a gap in what we sent": (
        ["UPDATE message SET seq = seq + 1000 WHERE direction = 'out' AND peer = 'KOR01' AND seq > 2"],
        {"messages", "streams"}, "messages 3-1002 to KOR01 are not stored",
    ),
    "units that are elsewhere": (
        [f"UPDATE position SET registry = 'KOR01' WHERE {LIVE} AND first = 501"],
        {"positions", "conservation"}, "other units moved with them",
    ),
    "units of another Party": (
        [f"UPDATE position SET party = 'JPN' WHERE {LIVE} AND first = 11"],
        {"positions"}, "not moved to KOR01 KOR",
    ),
    "used units that are held": (
        [f"UPDATE position SET account_type = 100 WHERE {LIVE} AND first = 511"],
        {"positions"}, "not moved to MEC01 200",
    ),
    "claimed units that were used": (
        [f"UPDATE position SET account_type = 200 WHERE {LIVE} AND first = 81"],
        {"units held", "positions"}, "its source holds 0 of the 10 units it claims in state committing",
    ),
    "units lost": (
        [f"UPDATE position SET closed_by = opened_by WHERE {LIVE} AND first = 521"],
        {"positions", "series", "conservation"}, "160 units were announced, 130 have a place",
    ),
    "units from nowhere": (
        ["INSERT INTO position (series_id, first, last, registry, party, account_type, attributes_id, opened_by)"
         " SELECT series_id, 9001, 9005, registry, party, account_type, attributes_id, 1 FROM position LIMIT 1"],
        {"positions", "series", "conservation"}, "its message is neither a notice nor a credit of them",
    ),
    "units in two places": (
        ["ALTER TABLE position DROP CONSTRAINT one_position_per_unit",
         f"UPDATE position SET first = first - 1 WHERE {LIVE} AND first = 521"],
        {"positions", "series", "conservation"}, "has two places",
    ),
    "a credit that moved nothing": (
        ["DELETE FROM position WHERE registry = 'KOR01' AND first = 11",
         "UPDATE position SET closed_by = NULL WHERE first = 11"],
        {"positions", "conservation"}, "not moved to KOR01 KOR",
    ),
    "more issued than there are": (
        ["UPDATE action SET quantity = quantity + 5 WHERE type = 'issuance'"],
        {"conservation"}, "what was issued is not what is held, in transit, used and cancelled",
    ),
    **planted_keys.FAULTS,
    **planted_records.FAULTS,
    **planted_authorisations.FAULTS,
    **planted_tree.FAULTS,
    **planted_history.FAULTS,
    **planted_cases.FAULTS,
}  # fmt: skip
