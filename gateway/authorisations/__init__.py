"""Authorisations: what Parties have authorised, what relies on it, and what is left."""
