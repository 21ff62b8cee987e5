"""Evidence: what is shown of the log to whoever was not there, so that they need to trust nobody."""
