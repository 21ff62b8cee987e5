"""Every table of the schema, and what may be done to its rows (``test_append_only``)."""

#: Rows of these are written once and stay.
APPEND_ONLY = {
    "log_entry",
    "log_record",
    "message",
    "action",
    "action_block",
    "transfer_step",
    "transfer_event",
    "unit_series",
    "unit_attributes",
    "itmo_series",
    "link_registry",
    "alarm",
    "transfer_viewer",
    "unit_movement",
    "early_withdrawal",
    "authorisation_version",
    "authorisation_revocation",
    "host_statement",
    "drawing",
    "log_leaf",
    "log_checkpoint",
    "log_cosignature",
    "log_stop",
    "history_page",
    "history_record",
    "history_entry",
    "history_finding",
    "reconciliation_book",
    "reconciliation_finding",
    "fingerprint_state",
    "case_event",
    "case_correction",
}
#: Rows of these change, in the columns named, and are never deleted, not by the owner either.
KEPT = {
    "position": {"closed_by"},
    "claim": {"released_by"},
    "replay_key": {"answer"},
    "own_key": {"retired_at", "retired_by", "revoked_at", "revoked_reason", "revoked_by"},
    "own_key_told": {"receipted_by"},
    "approval": {"state", "decider", "decided_at", "decided_by", "reason", "result"},
    "halt": {"lifted_by"},
    "authorisation": {"drawn"},
    "reliance": {"returned_by"},
    "flag": {"closed_by"},
    "action_record": {"message_id", "link", "section", "state", "findings", "answered_by"},
    "principal": {"revoked_by"},
    "principal_key": {"revoked_by"},
    "token_key": {"revoked_by"},
    "log_tile": {"width", "hashes"},
    "log_head": {"size", "root", "swept"},
    "log_key": {"retired_at", "retired_by"},
    "log_witness": {"removed_by"},
    "witnessed_log": {"size", "root", "note", "vkeys", "added_by"},
    "split_view": {"proven"},
    "fingerprint_book": {"size", "root", "series"},
    "history_feed": {
        *("number", "digest", "walk_number", "walk_digest", "compared", "log_origin", "log_size", "log_root"),
        *("delivered", "delivering"),
        *("stopped", "next_at", "leased_until", "leased_by", "attempts", "waiting", "answered", "pulled_at"),
    },
    "reconciliation": {
        *("state", "status", "asked_by", "announce_seconds", "whole", "cut", "cut_at", "fence", "mark_id"),
        *("marked_until", "size", "answer", "taken_at", "told", "round_trips", "bytes_sent", "bytes_received"),
        *("remarks", "result_id", "entry_id", "begun_at", "ended_at", "next_at", "leased_until", "leased_by"),
        *("attempts", "cuts", "waiting"),
    },
    "inconsistency_case": {
        *("state", "version", "notified_at", "due", "responded_at", "response", "corrected_by", "closed_at"),
    },
    "case_unit": {"closed_by"},
    "transfer": {
        *("acquirer", "state", "version", "outcome", "findings", "deadline", "offer_id", "commit_id", "cancel_id"),
        *("settle_id", "closed_source_id", "closed_acquirer_id", "told_source_at", "told_acquirer_at", "attempts"),
        *("next_at", "leased_until", "leased_by", "waiting", "changed_at"),
    },
}
#: Rows of these change, in the columns named; the serving role cannot delete them.
CHANGING = {
    "history_call": {"called"},
    "link": {
        *("url", "state", "time_limit_hours", "opening_parts", "changed_by", "activated_by", "capabilities"),
        *("messages_per_second", "blocks_per_day", "window_opens", "window_closes"),
    },
    "link_day": {"blocks"},
    "peer_key": {"not_after", "revoked_at", "revoked_reason", "compromised_since"},
    "outgoing_stream": {"last_seq"},
    "transfer_request": {"state", "findings"},
    "fingerprint_total": {"quantity"},
}
#: A worker that stops takes its row with it; what was answered is owed no more; assertions are over at their end; nodes
#: of which nothing is left have no row.
PASSING: dict[str, set[str]] = {
    "assertion": set(),
    "worker": {"asleep", "seen_at"},
    "owed": {"attempts", "next_at", "leased_until", "leased_by", "waiting"},
    "fingerprint_series": {"level", "nr", "count", "digest"},
    "fingerprint_directory": {"content"},
    "fingerprint_node": {"inner_node", "content"},
}
#: Written by migrations only.
FOREIGN = {"alembic_version"}
#: Rows of others, to be read.
VIEWS = {"party_action", "party_books"}
CHANGED = KEPT | CHANGING | PASSING
