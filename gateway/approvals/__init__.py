"""Approvals: what one person asks for and another decides on, said exactly, done once."""
