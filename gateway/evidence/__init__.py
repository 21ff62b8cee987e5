"""Evidence: what the log says to auditors, searched, exported, and told of a unit from its issuance on."""
