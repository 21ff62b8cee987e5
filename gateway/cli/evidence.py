"""``gateway evidence``: the evidence of a transfer as a file, and what such a file proves, offline."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.api import Where, ask, asking
from gateway.cli.keep import AsJson, plain_console
from gateway.cli.transfers import segment
from gateway.domain.transfers import FINAL
from gateway.errors import GatewayError, Kind

if TYPE_CHECKING:
    from gateway.evidence.verify import Report
    from gateway.signing.notes import Verifier

#: How long ``--wait`` waits: what a receipt promises is in the log within a minute.
WAIT_SECONDS = 60.0
#: What the API answers while an entry is not in a published checkpoint.
NOT_YET = 3006
_KEY = "A C2SP verifier key, or a file with one a line; may be given again."

Output = Annotated[Path | None, typer.Option("-o", "--output", help="Where to write it; else it is printed.")]

app = typer.Typer(help="Evidence that verifies without us.", no_args_is_help=True)


@app.command("get")
@asking
def get(
    where: Where,
    transfer: str,
    output: Output = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until its last entries are published.")] = False,
) -> None:
    """Get the evidence bundle of a transfer."""
    made = json.dumps(
        _asked(where, f"/api/v1/transfers/{segment(transfer)}/evidence", wait), ensure_ascii=False, indent=1
    )
    _give(made + "\n", output)


def _give(text: str, output: Path | None) -> None:
    """Write it where it is wanted, or print it."""
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise GatewayError(Kind.UNAVAILABLE, f"{output}: {error.strerror}") from None


def _asked(where: Where, path: str, wait: bool) -> Any:
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return ask(where, "GET", path)
        except GatewayError as error:
            if not wait or error.kind is not Kind.CONFLICT or error.code != NOT_YET or time.monotonic() > until:
                raise
        time.sleep(1.0)


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="A bundle.")],
    log_key: Annotated[list[str] | None, typer.Option(help=f"A key of the log. {_KEY}")] = None,
    witness: Annotated[list[str] | None, typer.Option(help=f"A witness's key. {_KEY}")] = None,
    quorum: Annotated[
        int | None, typer.Option(min=0, help="How many of the witnesses must have cosigned; 1 if some are named.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify an evidence bundle, offline. Exit code 0 when every check is passed, 1 when one is not.

    Each name and kind of the log's keys that are named must have signed. Since when entries were in the log is then
    what the witnesses that are named say, as many of them as --quorum asks for.
    """
    from gateway.evidence.said import Pins
    from gateway.evidence.verify import verify as verified

    logs, witnesses = _keys("--log-key", log_key or ()), _keys("--witness", witness or (), of_witnesses=True)
    needed = quorum if quorum is not None else min(1, len(witnesses))
    report = verified(_read(file), Pins(logs, witnesses, needed))
    if as_json:
        print(json.dumps(report.as_dict()))
    else:
        _print(report)
    if not report.valid:
        raise typer.Exit(1)


@app.command("proof")
def proof(
    file: Annotated[Path, typer.Argument(help="A bundle.")],
    index: Annotated[int, typer.Argument(min=0, help="Which of its entries: the index in the log.")],
    output: Output = None,
    leaf: Annotated[
        bool, typer.Option("--leaf", help="The leaf instead, exactly: what the proof is about and its verifier needs.")
    ] = False,
) -> None:
    """Take the proof of one entry out of a bundle, offline, for C2SP programs (c2sp.org/tlog-proof)."""
    from gateway.evidence.receipts import receipt

    made = receipt(_read(file), index)
    _give(made.leaf if leaf else made.proof, output)


def _read(file: Path) -> bytes:
    """The file, or one byte more than a bundle may have."""
    from gateway.evidence.form import MAX_BYTES

    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise GatewayError(Kind.NOT_FOUND, f"{file}: {error.strerror}") from None


def _keys(option: str, given: Sequence[str], *, of_witnesses: bool = False) -> "tuple[Verifier, ...]":
    """The keys that an option names; raises MALFORMED for what is none, or a witness's where a log's is wanted."""
    from gateway.signing import notes

    found: list[Verifier] = []
    for text in given:
        try:
            # A key is no name of a file: it holds a plus sign on either side of its id, and is longer than names are.
            listed = Path(text).read_text("utf-8") if text.count("+") < 2 or Path(text).exists() else text
            read = notes.read_keys(listed)
        except (OSError, ValueError) as error:
            raise GatewayError(Kind.MALFORMED, f"{option} {text[:64]}: neither a key nor a file: {error}") from None
        except GatewayError as error:
            raise GatewayError(error.kind, f"{option} {text[:64]}: {error.detail}") from None
        if any((key.kind == notes.COSIGNATURE) is not of_witnesses for key in read):
            wanted = "a witness (type 04)" if of_witnesses else "a log (type 01 or 06)"
            raise GatewayError(Kind.MALFORMED, f"{option} {text[:64]}: not a key of {wanted}")
        found += read
    if given and not found:
        raise GatewayError(Kind.MALFORMED, f"{option}: there is no key in {given[0][:64]}")
    return tuple(found)


def _print(report: "Report") -> None:
    console = plain_console()
    if report.bundle is not None:
        about = report.bundle
        least = "" if about.state in FINAL else "at least "
        told = f"{about.transfer} {least}{about.state}, as the log of {about.gateway} has it"
        console.print(told, soft_wrap=True)
        if about.synthetic:
            console.print(about.synthetic, soft_wrap=True)
    for result in report.results:
        remark = f" ({result.remark})" if result.remark else ""
        line = f"{result.check.number:>2} {result.word:<8} {result.check.title}{remark} [{result.check.source}]"
        console.print(line, soft_wrap=True)
        for fault in result.faults:
            console.print(f"            {fault.place}: {fault.detail}", soft_wrap=True)
    console.print("valid" if report.valid else "not valid")
