"""What may be wrong with viewers, with what is owed, and with records of actions: made in a copy, as in ``planted``."""

#: Name of the fault → the statements that make it, the checks that find something, and words of a finding.
FAULTS: dict[str, tuple[list[str], set[str], str]] = {
    "a transfer its source does not see": (
        ["DELETE FROM transfer_viewer WHERE viewer = 'MEC01' AND transfer_id = {checked}"],
        {"viewers"}, "it is not seen by MEC01, whom it concerns",
    ),
    "a transfer that others see": (
        ["INSERT INTO transfer_viewer SELECT 'JPN01', created_at, id FROM transfer WHERE id = {checked}"],
        {"viewers"}, "it is seen by JPN01, whom it does not concern",
    ),
    "a transfer that is seen and not there": (
        ["INSERT INTO transfer_viewer SELECT 'MEC01', created_at, 'MEC01-x' FROM transfer WHERE id = {checked}"],
        {"viewers"}, "it is to be seen by MEC01, and is not there",
    ),
    "an approval by somebody else": (
        ["UPDATE approval SET decider = 'nobody' WHERE kind = 'transfer.resume'"],
        {"approvals"}, "that it was approved is not in the log as it stands",
    ),
    "an approval of another text": (
        ["ALTER TABLE approval DROP CONSTRAINT hash_is_of_the_text",
         "UPDATE approval SET sha256 = sha256('another'::bytea) WHERE kind = 'link.test' AND canonical LIKE '%MEC01%'"],
        {"approvals"}, "that it was requested is not in the log as it stands",
    ),
    "an approval that nobody asked for": (
        ["UPDATE approval SET requested_by = decided_by WHERE kind = 'transfer.resume'"],
        {"approvals"}, "that it was requested is not in the log as it stands",
    ),
    "a request nobody sends": (
        ["DELETE FROM owed WHERE peer = 'MEC01'"],
        {"requests"}, "it was not answered, and nobody will send it again",
    ),
    "a request answered and due": (
        ["INSERT INTO owed (message_id, peer, next_at) SELECT message_id, source, now() FROM transfer_request"
         " WHERE idempotency_key = 'answered'"],
        {"requests", "owed"}, "it is refused, and is sent all the same",
    ),
    "a request leased for a day": (
        ["UPDATE owed SET leased_until = now() + interval '1 day'"], {"owed"}, "it is leased until",
    ),
    "a lease of what is to wait": (
        ["UPDATE owed SET leased_until = now(), next_at = now() + interval '1 minute'"],
        {"owed"}, "it is leased, and nothing of it is due",
    ),
    "a request owed to another": (
        ["UPDATE owed SET peer = 'KOR01' WHERE peer = 'MEC01'"],
        {"owed"}, "it is owed to KOR01, and no message to it is stored",
    ),
    "units that nobody accounts for": (
        ["DELETE FROM unit_movement WHERE cause = {completed}"],
        {"accounts"}, "0 of its 10 units are accounted for",
    ),
    "more units accounted for than moved": (
        ["UPDATE unit_movement SET quantity = quantity + 1 WHERE cause = {completed}"],
        {"accounts"}, "11 of its 10 units are accounted for",
    ),
    "units accounted for that never moved": (
        ["UPDATE unit_movement SET cause = 'MEC01/never' WHERE cause = {completed}"],
        {"accounts"}, "10 units are accounted for, and nothing has moved them",
    ),
    "units accounted for to another Party": (
        ["UPDATE unit_movement SET acquiring_party = 'JPN' WHERE cause = {completed}"],
        {"accounts"}, "1 of its rows name another action, Party, registry or entry",
    ),
    "a record that was never made": (
        ["DELETE FROM action_record WHERE state = 'waiting'"],
        {"actions recorded"}, "its record for section KOR99 is missing",
    ),
    "a record of fewer units": (
        ["UPDATE action_record SET quantity = 1, item = replace(item, '\"quantity\":2', '\"quantity\":1')"
         " WHERE state = 'waiting'"],
        {"actions recorded", "record texts"}, "1 of its 2 units are recorded",
    ),
    "a record in another Party's section": (
        ["UPDATE action_record SET section = 'MMR99' WHERE state = 'waiting'"],
        {"record texts"}, "MMR99 is no section of KOR in INT01",
    ),
    "a record of what nothing completed": (
        ["UPDATE action_record SET entry_id = 1 WHERE state = 'waiting'"],
        {"record texts"}, "entry 1 completed no such action",
    ),
    "a record that says another time": (
        ["UPDATE action_record SET item = replace(item, '2026-03-02', '2026-03-03'), at = at + interval '1 day'"
         " WHERE state = 'waiting'"],
        {"record texts"}, "it says at 2026-03-03T10:00:00.000Z, the action had 2026-03-02T10:00:00.000Z",
    ),
    "a record with another row than text": (
        ["UPDATE action_record SET at = at + interval '1 day' WHERE state = 'waiting'"],
        {"record texts"}, "its row has the time 2026-03-03T10:00:00+00:00",
    ),
    "a record of other units": (
        ["UPDATE action_record SET item = replace(item, '\"last\":2', '\"last\":12') WHERE state = 'waiting'"],
        {"record texts"}, "no such units were in the action",
    ),
    "a record of identifiers that were not given": (
        ["UPDATE action_record SET item = replace(item, '\"last\":2', '\"last\":2,\"itmo\":"
         "{{\"first\":\"CA0001-KOR99-KOR-1-2021\",\"last\":\"CA0001-KOR99-KOR-2-2021\"}}')"
         " WHERE state = 'waiting'"],
        {"record texts"}, "its units were not given these ITMO identifiers",
    ),
    "a record that is no text": (
        ["UPDATE action_record SET item = '[]' WHERE state = 'waiting'"],
        {"record texts"}, "its text cannot be read as that of such an action",
    ),
    "a first transfer recorded as another": (
        ["UPDATE action_record SET type = 'Transfer', item = replace(item, '\"type\":\"First transfer\"',"
         " '\"type\":\"Transfer\"') WHERE type = 'First transfer'"],
        {"record texts", "record messages"}, "it says type Transfer, the action had First transfer",
    ),
    "a record changed after it was said": (
        ["UPDATE action_record SET item = item || ' ' WHERE state = 'sent'"],
        {"record messages"}, "records that are not kept of it",
    ),
    "a record that nobody sends": (
        ["DELETE FROM owed WHERE peer = 'INT01'"],
        {"records due"}, "it was not answered, and nobody will send it again",
    ),
    "a record sent for ever": (
        ["INSERT INTO owed (message_id, peer, next_at) SELECT message_id, link, now() FROM action_record"
         " ORDER BY id LIMIT 1"],
        {"owed"}, "and nothing waits for its answer",
    ),
    "a record said to another": (
        ["UPDATE action_record SET message_id = (SELECT message_id FROM message WHERE type = 'transfer.offer' LIMIT 1)"
         " WHERE state = 'recorded' AND type = 'Use'"],
        {"records due", "record messages"}, "no message of records to INT01 says it",
    ),
    "an answer that is none": (
        ["UPDATE action_record SET answered_by = 1 WHERE state = 'recorded' AND type = 'Use'"],
        {"records due"}, "it is recorded, and entry 1 is no answer to it",
    ),
    "a notification that was never made": (
        ["DELETE FROM action_record WHERE kind = 'notification'"],
        {"disposals notified", "record messages", "owed"}, "its notification is missing",
    ),
    "a notification of fewer units": (
        ["UPDATE action_record SET quantity = 1 WHERE kind = 'notification'"],
        {"disposals notified", "notification texts"}, "1 of its 2 units are notified",
    ),
    "a notification of other units than were cancelled": (
        ["UPDATE action_record SET item = replace(item, '\"last\":2', '\"last\":12') WHERE kind = 'notification'"],
        {"notification texts", "record messages"}, "its text is not the notice of these units",
    ),
    "a notification that is no text": (
        ["UPDATE action_record SET item = '[]' WHERE kind = 'notification'"],
        {"notification texts", "record messages"}, "its text is not the notice of these units",
    ),
    "a notification of what nothing applied": (
        ["UPDATE action_record SET entry_id = 1 WHERE kind = 'notification'"],
        {"notification texts"}, "entry 1 applied no such notice",
    ),
    "a notification to who keeps other books": (
        ["UPDATE action_record SET section = 'KOR99' WHERE kind = 'notification'"],
        {"notification texts"}, "KOR99 keeps no books of MMR in INT01",
    ),
    "a refusal nobody is told of": (
        ["DELETE FROM alarm WHERE link = 'INT01'"], {"records due"}, "it is refused, and no alarm says so",
    ),
}  # fmt: skip
