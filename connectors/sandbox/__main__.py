"""``python -m connectors.sandbox {mechanism,party,international,services} ...``: one registry as a process of its own.

Prints one JSON line with its URL when it is ready. SIGTERM stops it cleanly: requests under way are
answered, what is still owed stays in the database and is sent after the next start. Only loopback addresses
are listened on, because the operator's side is not authenticated.
"""

import argparse
import asyncio
import ipaddress
import json
import logging
import signal
import socket
import sys
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from . import log_keys, shapes
from .app import build
from .database import Database
from .keys import Trust
from .logs import Logs
from .registry import KEEPS_LOG, Registry
from .units import section_of


def main() -> None:
    """Run one registry until it is told to stop."""
    options = _options()
    logging.basicConfig(level=logging.WARNING, format=f"{options.code} %(levelname)s %(name)s: %(message)s")
    host, _, port = options.listen.rpartition(":")
    if not ipaddress.ip_address(host.strip("[]")).is_loopback:
        raise SystemExit("the operator's side is not authenticated: listen on a loopback address")
    # uvicorn raises the signal once more after its own clean end; that one must not count as a failure.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    asyncio.run(_serve(_registry(options), host.strip("[]"), int(port)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m connectors.sandbox", description=__doc__)
    parser.add_argument("kind", choices=["mechanism", "party", "international", "services"])
    parser.add_argument("--code", required=True, help="link code of this registry, for example MEC01")
    parser.add_argument("--party", default="", help="the Party whose registry this is (party registries)")
    parser.add_argument(
        "--section",
        action="append",
        default=[],
        metavar="PARTY",
        help="a Party with a section here, THA for the registry THA99 (the international registry)",
    )
    parser.add_argument("--international", default="INT01", help="link code of who speaks for all sections")
    parser.add_argument("--database", required=True, help="libpq DSN or URL of a database of its own")
    parser.add_argument("--listen", default="127.0.0.1:0", help="loopback HOST:PORT, port 0 for any")
    parser.add_argument("--key", required=True, type=Path, help="PKCS #8 PEM, made (0600) where absent")
    parser.add_argument("--gateway-url", required=True, help="link URL of the gateway")
    parser.add_argument("--gateway-code", default="GWY01")
    parser.add_argument(
        "--gateway-keys",
        required=True,
        help="JWK set FILE, or a URL: fetched once from GATEWAY/keys at activation",
    )
    parser.add_argument("--peer", action="append", default=[], metavar="CODE=FILE", help="JWK set of a registry")
    parser.add_argument(
        "--gateway-log-keys",
        type=Path,
        metavar="FILE",
        help="vkeys of the gateway's log, one a line: it is followed and witnessed",
    )
    parser.add_argument(
        "--witness", action="store_true", help="feed the log this registry keeps (mechanism) to the gateway's witness"
    )
    parser.add_argument(
        "--history",
        type=int,
        default=0,
        metavar="N",
        help="make N synthetic records of history at the start, of units nobody has",
    )
    parser.add_argument("--history-of", default="MMR", metavar="PARTY", help="whose units those are")
    parser.add_argument(
        "--no-ranges", action="store_true", help="tell no nodes of a cut: whoever compares gets all positions listed"
    )
    parser.add_argument("--answer", choices=["reply", "message"], default="reply")
    parser.add_argument(
        "--wire",
        choices=["link", "des"],
        default="link",
        help="what is spoken with the gateway; with des the link is at URL/des, and orders are answered by message",
    )
    options = parser.parse_args()
    if options.kind == "party" and not options.party:
        parser.error("a party registry needs --party")
    if (options.kind == "international") != bool(options.section):
        parser.error("the international registry, and nothing else, has sections: --section")
    if options.kind == "international" and options.party:
        parser.error("the Parties of the international registry are those of its sections")
    if options.witness and options.kind not in KEEPS_LOG:
        parser.error("only the mechanism registry keeps a log to feed: --witness")
    if not all(map(shapes.is_party, [options.history_of, *options.section])):
        parser.error("a Party code has three letters: --section, --history-of")
    return options


def _registry(options: argparse.Namespace) -> Registry:
    files = {code: Path(path) for code, _, path in (peer.partition("=") for peer in options.peer)}
    if not options.gateway_keys.startswith(("http://", "https://")):
        files[options.gateway_code] = Path(options.gateway_keys)
    return Registry(
        code=options.code,
        kind=options.kind,
        party=options.party,
        gateway=options.gateway_code,
        gateway_url=options.gateway_url.rstrip("/"),
        at_once=options.answer == "reply" and options.wire == "link",
        trust=Trust(options.code, options.key, files),
        database=Database(options.database),
        logs=_logs(options),
        sections={section_of(party): party for party in options.section},
        international=options.code if options.kind == "international" else options.international,
        made=(options.history_of, options.history) if options.history else None,
        wire=options.wire,
        ranges=not options.no_ranges,
    )


def _logs(options: argparse.Namespace) -> Logs:
    keys = options.gateway_log_keys
    return Logs(
        witness=log_keys.own("witness", options.code, options.key),
        own=log_keys.own("log", options.code, options.key) if options.kind in KEEPS_LOG else None,
        pinned=log_keys.Pinned(options.gateway_code, keys) if keys else None,
        fed=options.witness,
    )


class _Protocol(HttpToolsProtocol):
    """HTTP as ever; a fault (``arrivals.Cut``) can close the connection its request came on."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["cut"] = self.transport.abort  # type: ignore[typeddict-unknown-key]


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(json.dumps({"url": f"http://{shown}:{port}"}), flush=True)


async def _serve(registry: Registry, host: str, port: int) -> None:
    config = uvicorn.Config(
        build(registry),
        host=host,
        port=port,
        http=_Protocol,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    await _Server(config).serve()


if __name__ == "__main__":
    main()
