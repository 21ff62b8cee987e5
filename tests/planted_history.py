"""What can be made wrong with pulled history; as in ``planted``. KOR01 has six records of MEC01, in pages of two."""

FEED = "(SELECT id FROM history_feed WHERE link = 'MEC01' AND registry = 'KOR01')"
THIRD = f"id = (SELECT record_id FROM history_entry WHERE feed_id = {FEED} AND number = 3)"

FAULTS: dict[str, tuple[list[str], set[str], str]] = {
    "a record lost from its feed": (
        [f"DELETE FROM history_entry WHERE feed_id = {FEED} AND number = 3"],
        {"history"}, "source MEC01, registry KOR01, record 3: its record is gone",
    ),
    "a record that is in no feed": (
        [f"DELETE FROM history_entry WHERE feed_id = {FEED} AND number = 3"], {"history"}, "it is in no feed",
    ),
    "two records exchanged": (
        [f"UPDATE history_entry SET number = 1000 + number WHERE feed_id = {FEED} AND number IN (3, 4)",
         f"UPDATE history_entry SET number = 1007 - number WHERE feed_id = {FEED} AND number > 1000"],
        {"history"}, "the digest of its page is not that of the records up to there",
    ),
    "a record of another text": (
        [f"UPDATE history_record SET item = replace(item, '\"kind\":', '\"kind\": ') WHERE {THIRD}"],
        {"history"}, "it is named by another hash than that of its text",
    ),
    "a record of another text and its hash": (
        [f"UPDATE history_record SET item = replace(item, 'PoA 10471', 'PoA 1'), activity = 'PoA 1' WHERE {THIRD}",
         f"UPDATE history_record SET sha256 = sha256(convert_to(item, 'UTF8')) WHERE {THIRD}"],
        {"history"}, "its page lists other records",
    ),
    "a record that is found by what it does not say": (
        [f"UPDATE history_record SET vintage = 2022, host = 'JPN' WHERE {THIRD}"],
        {"history"}, "its row says otherwise than its text: host, vintage",
    ),
    "a record that is no text": (
        [f"UPDATE history_record SET item = '{{{{}}}}' WHERE {THIRD}"],
        {"history"}, "its text cannot be read as that of a record",
    ),
    "a page lost": (
        [f"DELETE FROM history_page WHERE feed_id = {FEED} AND first = 3"],
        {"history"}, "record 3: its page begins at record 5",
    ),
    "the last page lost": (
        [f"DELETE FROM history_page WHERE feed_id = {FEED} AND first = 5"],
        {"history"}, "record 5: no page ends between there and record 6",
    ),
    "a page of other records": (
        [f"UPDATE history_page SET jws = (SELECT jws FROM history_page WHERE feed_id = {FEED} AND first = 1)"
         f" WHERE feed_id = {FEED} AND first = 3"],
        {"history"}, "its page states records 1-2, or another digest of them",
    ),
    "a page that nobody has signed": (
        [f"UPDATE history_page SET jws = regexp_replace(jws, '[^.]{{{{40}}}}$', repeat('A', 40))"
         f" WHERE feed_id = {FEED} AND first = 3"],
        {"history"}, "its page proves nothing: the signature is not good over the received bytes",
    ),
    "a page whose entry is gone": (
        [f"UPDATE history_page SET entry_id = 0 WHERE feed_id = {FEED} AND first = 3"],
        {"history"}, "its page proves nothing: its entry in the log is gone",
    ),
    "a page of another digest": (
        [f"UPDATE history_page SET digest = sha256('x') WHERE feed_id = {FEED} AND first = 3"],
        {"history"}, "the digest of its page is not that of the records up to there",
    ),
    "a feed of another digest": (
        [f"UPDATE history_feed SET digest = sha256('x') WHERE id = {FEED}"],
        {"history"}, "record 6: its digest is not that of its records",
    ),
    "a feed that goes on beyond its end": (
        [f"UPDATE history_feed SET number = 4 WHERE id = {FEED}"],
        {"history"}, "2 records and 1 pages lie beyond its end",
    ),
    "a feed for another Party": (
        [f"UPDATE history_feed SET party = 'JPN' WHERE id = {FEED}"],
        {"history"}, "its page is a history.page of MEC01, of MEC01 for KOR01",
    ),
    "more handed on than there is": (
        ["ALTER TABLE history_feed DROP CONSTRAINT history_feed_check",
         f"UPDATE history_feed SET delivered = 7 WHERE id = {FEED}"],
        {"history"}, "7 records are said to be delivered, of 6",
    ),
}  # fmt: skip
