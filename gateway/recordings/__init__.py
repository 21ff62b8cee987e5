"""Recordings: completed actions are told to whom they concern, until each registry has said that it has taken them."""
