"""``make bench``: how fast the relay is, as ratios to what the same machine and database can do at all."""
