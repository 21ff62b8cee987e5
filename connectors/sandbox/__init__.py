"""Registries to run the gateway against: real HTTP servers with real books, as programs of their own.

Reading order: ``registry`` (what one process holds), ``inbox`` (what arrives), ``source`` and ``acquirer``
(the two state tables), ``books`` (the units), ``post`` and ``sender`` (what leaves), ``admin`` (the
operator's side, unauthenticated and for a loopback address only).

Nothing here imports the gateway or another connector: envelope, SQL and books are written a second time on
purpose, so that a mistake is not shared by both ends. All units, serials and accounts are synthetic.
"""
