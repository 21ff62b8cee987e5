"""The Article 6 registry gateway. Where to begin reading, and what may import what.

One transfer, from the message that proposes it to the message that closes it, in eight files:
``web/link`` → ``messages/inbox`` → ``transfers/commands`` → ``transfers/hearing`` → ``domain/transfers`` →
``transfers/steps`` → ``transfers/relay`` → ``connectors/link``.

Imports point down: cli → demo → wiring → web, worker → doctor, reports, evidence → transfers → requests, recordings,
keys → links, access, approvals, halts, alarms → holdings → messages → audit → db, signing → crash → domain → errors.
``connectors`` sees the domain, the envelope and the errors; only ``wiring`` sees the connectors. SQL stays in ``db``,
the stores, the log and the book; keys and JOSE in ``signing``, OAuth in ``access``; HTTP in ``web``, ``connectors``,
``cli`` and ``demo``. ``make check`` enforces all of it.
"""
