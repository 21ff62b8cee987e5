"""Keys and signatures: the only code of the gateway that touches keys or JOSE.

Reading order: ``faults`` (every reason to refuse), ``strict_json`` and ``compact`` (bytes to values),
``messages`` (what a payload may say), ``keys`` (ours), ``trust`` (our peers'), ``envelope`` (read, verify,
sign). Nothing here performs HTTP or SQL. Input that is refused raises ``faults.EnvelopeError``; a fault of
the gateway's own raises ``errors.GatewayError``.
"""
