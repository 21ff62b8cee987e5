"""Reconciliation: the books of each registry compared with the gateway's, and differences taken to their end."""
