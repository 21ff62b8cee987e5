"""The log: what happened, in entries that stay as they were written."""
