"""The links: which registries speak to this gateway, under which keys, and how far each link has come."""
