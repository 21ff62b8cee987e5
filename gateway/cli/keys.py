"""``gateway keys``: make the gateway's signing key, and show the public part that registries register."""

import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import token_keys
from gateway.cli.keep import Keep, chosen
from gateway.signing.keys import ALGORITHMS, ED25519, SoftwareKey

app = typer.Typer(help="The gateway's signing keys.", no_args_is_help=True)
app.add_typer(token_keys.app, name="token")


@app.command("new")
def new(
    file: Annotated[Path, typer.Argument(help="Where to write the private key (PEM, PKCS #8, 0600).")],
    algorithm: Annotated[str, typer.Option(help=f"One of {', '.join(sorted(ALGORITHMS))}.")] = ED25519,
) -> None:
    """Make a private key; never overwrites one. Prints the public JWK set."""
    key = SoftwareKey.generate(algorithm)
    key.save(file)
    print(json.dumps({"keys": [{**key.public_jwk(), "use": "sig"}]}))


@app.command("show")
def show(keep: Keep = None) -> None:
    """Print the public JWK set of the gateway's key."""
    from gateway.settings import signer

    with chosen(keep) as settings:
        print(json.dumps({"keys": [{**signer(settings).public_jwk(), "use": "sig"}]}))
