"""What can be made wrong with the log's tree; as in ``planted``."""

FAULTS: dict[str, tuple[list[str], set[str], str]] = {
    "a tile changed": (
        ["UPDATE log_tile SET hashes = sha256(hashes) || substr(hashes, 33) WHERE level = 0 AND nr = 0"],
        {"tree"}, "its tile is not that of the entries",
    ),
    "a tile lost": (["DELETE FROM log_tile"], {"tree"}, "its tile is not that of the entries"),
    "two leaves exchanged": (
        ["UPDATE log_leaf SET leaf_index = 1000000 + leaf_index WHERE leaf_index IN (3, 4)",
         "UPDATE log_leaf SET leaf_index = 1000007 - leaf_index WHERE leaf_index > 1000000"],
        {"tree"}, "its checkpoint states another root",
    ),
    "a leaf lost": (["DELETE FROM log_leaf WHERE leaf_index = 5"], {"tree"}, "the head has"),
    "an entry passed over": (
        ["DELETE FROM log_leaf WHERE leaf_index = (SELECT max(leaf_index) FROM log_leaf)",
         "UPDATE log_head SET size = size - 1, swept = (SELECT max(id) FROM log_entry)", "DELETE FROM log_checkpoint"],
        {"tree"}, "it was passed over: it has no leaf",
    ),
    "another head": (["UPDATE log_head SET root = sha256(root)"], {"tree"}, "the head has another root"),
    "a checkpoint of more than there is": (
        ["UPDATE log_checkpoint SET size = size + 1,"
         " note = regexp_replace(note, '\\n[0-9]+\\n', E'\\n' || (size + 1)::text || E'\\n')"],
        {"tree"}, "its checkpoint is of more leaves than the tree has",
    ),
    "a checkpoint that is none": (
        ["UPDATE log_checkpoint SET note = 'x'"], {"tree"}, "its checkpoint states another root",
    ),
}  # fmt: skip
