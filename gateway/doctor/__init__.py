"""Examines the whole database of a gateway, reading only, and says what does not fit together."""
