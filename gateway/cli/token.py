"""``gateway token``: ask a gateway for an access token, as a machine or a person with a key of theirs."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.errors import GatewayError, Kind


def token(
    gateway: Annotated[str, typer.Option(help="Where its operator API is, for example https://gateway.example.")],
    client: Annotated[str, typer.Option(metavar="ID=KEYFILE", help="Who asks, and their private key (PEM).")],
    scope: Annotated[list[str] | None, typer.Option(help="A scope to ask for; all they have, where none is.")] = None,
) -> None:
    """Print an access token, good for ten minutes: curl -H "authorization: Bearer $(gateway token …)" …."""
    import httpx

    from gateway.signing.keys import SoftwareKey
    from gateway.web.client import Tokens

    name, _, file = client.partition("=")
    if not name or not file:
        raise GatewayError(Kind.MALFORMED, "--client is ID=KEYFILE")
    tokens = Tokens(gateway, name, SoftwareKey.load(Path(file)), scope or ())
    try:
        with httpx.Client(timeout=60, trust_env=False) as http:
            asking = tokens.asking()
            request = next(asking, None)
            while request is not None:
                answer = http.send(request)
                try:
                    request = asking.send(answer)
                except StopIteration:
                    request = None
    except httpx.HTTPError as error:
        raise GatewayError(Kind.UNAVAILABLE, f"{gateway}: {error}") from None
    print(tokens.token)
