"""History of units: pulled from registries and verified, handed on to a Party's books, viewed here or at its source."""
