"""Registries to run the gateway against: real HTTP servers with real books, as programs of their own.

Reading order: ``registry`` (what one process holds, sections included), ``inbox`` (what arrives), ``source`` and
``acquirer`` (the two state tables), ``books`` (the units), ``issuing`` and ``actions`` (what happens to them here),
``records`` and ``naming`` (what is recorded of them, apart), ``post`` and ``sender`` (what leaves), ``status`` and
``hearing`` (what is asked, and what the answer leads to), ``retelling`` (what is said again), ``admin`` (the
operator's side, unauthenticated and for a loopback address only). Logs come after that: ``promises`` and ``following``
(whether the gateway publishes what it must), ``witnessing`` (its checkpoints, cosigned), ``own_log`` and ``feeding``
(the log of the mechanism registry), on ``merkle``, ``tiles`` and ``notes``. Then history: ``history`` (records),
``feeds`` (who sees which, in which order), ``history_pages`` and ``showing_positions`` (how it is asked for),
``told_history`` (what others' was), ``made_history`` (a long one, for trials). ``des`` says all of it over another
wire. How a registry is disturbed comes last: ``disturbing`` (the operator's side of it), ``crash``, ``faults`` and
``arrivals``, ``lies``, ``history_lies`` and ``history_tricks``, ``backup`` and ``restoring``.

Nothing here imports the gateway or another connector: envelope, SQL and books are written a second time on
purpose, so that a mistake is not shared by both ends. All units, serials and accounts are synthetic.
"""
