"""Transfers between registries: what arrives, what the worker does next, and the rows both meet in."""
