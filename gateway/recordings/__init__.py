"""Recordings: completed actions are told to the international registry, until it has said that each is recorded."""
