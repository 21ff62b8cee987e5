"""Which addresses the gateway may call: those of registries on the public internet, and private ones that are named.

An address that is registered may be chosen by somebody else, and its name may lead elsewhere tomorrow: into our own
network, to the machine itself, to a cloud's metadata service. So an address is judged twice: as text when it is
registered (``Reach.check``), and as what it resolved to at every connection (``Reach.permits``). Plain HTTP goes to
named private networks only. Sources: RFC 6890 (special-purpose addresses), RFC 6052 and 3056 (IPv4 inside IPv6).
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self, TypeAlias
from urllib.parse import SplitResult, urlsplit

from gateway.errors import GatewayError, Kind

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

#: This machine alone: for the demo, the tests and the benchmark, whose registries run beside the gateway.
LOOPBACK = "127.0.0.0/8,::1/128"
#: Longest link address, in characters.
MAX_URL = 2_000
#: Below it are ports of other services, but for those of HTTP and HTTPS; whoever names a network knows what is there.
LOWEST_PORT, WELL_KNOWN = 1_024, (80, 443)

#: All that is given out of IPv6 for the internet; whatever else has a meaning has a special one.
_UNICAST = IPv6Network("2000::/3")
#: What looks public and is not, whatever the version of ``ipaddress`` knows: protocol assignments, of which clouds take
#: addresses for what tells their machines their secrets (192.0.0.192, and 168.63.129.16 beside), relays, documentation.
_SPECIAL: tuple[Network, ...] = (
    *map(IPv4Network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")),
    *map(IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20")),
)
#: Addresses that end in an IPv4 address that is what is reached.
_NAT64 = IPv6Network("64:ff9b::/96")
_URL = re.compile(r"[!-~]+")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


@dataclass(frozen=True, slots=True)
class Reach:
    """The private networks in which registries may be; none by default."""

    private: tuple[Network, ...] = ()

    @classmethod
    def of(cls, text: str) -> Self:
        """Read networks, separated by commas; raises ValueError for what is none, or is not private."""
        networks = tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
        for network in networks:
            if network.is_global or network.prefixlen == 0:
                raise ValueError(f"{network} is not a private network")
        return cls(networks)

    def permits(self, address: str, *, plain: bool) -> bool:
        """Whether a connection to an IP address (as the resolver gave it) may be made; ``plain`` without TLS."""
        ip = _reached(ip_address(address.partition("%")[0]))
        named = any(ip in network for network in self.private if network.version == ip.version)
        return named or (not plain and _is_public(ip))

    def check(self, url: str) -> None:
        """Raise MALFORMED, naming what is wrong, unless ``url`` may be the address of a link."""
        parts = _parts(url)
        plain = parts.scheme == "http"
        host = (parts.hostname or "").rstrip(".")
        if plain and not self.private:
            raise _wrong("it is plain HTTP, which goes to private networks that are named only (GATEWAY_PRIVATE_PEERS)")
        try:
            permitted = self.permits(host, plain=plain)
        except ValueError:  # a name: judged by what it leads to, at each connection
            if _NUMBER.fullmatch(host.rpartition(".")[2]):
                raise _wrong(f"host {host} is an address in an unusual spelling") from None
            return
        if not permitted:
            raise _wrong(f"host {host} is not public, and no network of GATEWAY_PRIVATE_PEERS has it")


#: Public addresses, by HTTPS.
PUBLIC = Reach()


def is_loopback(host: str) -> bool:
    """Whether a host, as it stands in an address, is this machine itself and nobody can listen between."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _parts(url: str) -> SplitResult:
    if len(url) > MAX_URL or not _URL.fullmatch(url) or "\\" in url:
        raise _wrong(f"it has at most {MAX_URL} visible ASCII characters, without backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _wrong(str(error)) from None
    if parts.scheme not in ("http", "https"):
        raise _wrong("its scheme is not https (or http)")
    if "@" in parts.netloc:
        raise _wrong("it names a user or a password")
    if "?" in url or "#" in url:
        raise _wrong("it has a query or a fragment")
    if not parts.hostname:
        raise _wrong("it names no host")
    if port == 0 or (port is not None and parts.scheme == "https" and port < LOWEST_PORT and port not in WELL_KNOWN):
        raise _wrong(f"port {port} is another service's")
    return parts


def _reached(ip: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it does."""
    if isinstance(ip, IPv4Address):
        return ip
    inner = ip.ipv4_mapped or ip.sixtofour
    if inner is None and ip in _NAT64:
        inner = IPv4Address(int(ip) & 0xFFFFFFFF)
    return inner or ip


def _is_public(ip: Address) -> bool:
    special = ip.is_multicast or any(ip in network for network in _SPECIAL if network.version == ip.version)
    return ip.is_global and not special and (isinstance(ip, IPv4Address) or ip in _UNICAST)


def _wrong(why: str) -> GatewayError:
    return GatewayError(Kind.MALFORMED, f"url: {why}")
