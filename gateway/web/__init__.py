"""The HTTP edge: one file an audience. Registries are authenticated by their signatures, operators by being here."""
