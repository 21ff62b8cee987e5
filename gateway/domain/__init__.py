"""The rules of the field as plain Python: values, checks and the transition table.

Read in this order: ``identifiers`` (names of registries, Parties, accounts, transfers and ITMOs), ``units``
(blocks of serials), ``check_codes`` (what can be found wrong), ``transfers`` (states and the one table that
moves them), ``wire`` and ``proposals`` (from JSON to values and back), ``integrity`` and ``checks`` (the
verdict on a proposal), ``actions`` and ``notices`` (what a registry tells about its own units), ``registry``
(the port the connectors fill).

Nothing here does I/O, reads a clock, knows asyncio or imports a third-party package: time and facts come in
as arguments, findings and values go out.
"""
