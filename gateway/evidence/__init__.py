"""Evidence: what the log shows to whoever was not there: searched, exported, told of a unit, and as a file."""
