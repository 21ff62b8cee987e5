"""The showcase: registries, gateway and database as real processes on one machine, and units moved between them.

``network`` starts everything, ``story`` lets it happen, ``show`` says what came of it. The registries are the
sandboxes; their serials, accounts and authorisations are synthetic, and whatever is shown says so.
"""

#: The gateway's private key in a kept folder.
KEY = "gateway.pem"
#: And the one that it signs access tokens with.
TOKEN_KEY = "tokens.pem"  # noqa: S105 - the name of a file
#: And those of its transparency log.
LOG_KEY = "log.pem"
