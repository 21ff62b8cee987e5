"""Requests: an operator asks a source registry to propose a transfer. Only the source can lock units."""
