"""Alarms: what a registry said that cannot be true, or that shows that somebody has lost data."""
