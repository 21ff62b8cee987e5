"""Which addresses may be registered and which may be called: public ones by HTTPS, private ones if they are named."""

import pytest

from gateway.domain.addresses import LOOPBACK, PUBLIC, Reach
from gateway.errors import GatewayError, Kind

INSIDE = Reach.of("10.1.0.0/16, fd00:1::/32")
PRIVATE = {
    "loopback": "127.0.0.1",
    "all loopback": "127.8.8.8",
    "unspecified": "0.0.0.0",  # noqa: S104 - refused
    "this network": "0.1.2.3",
    "private": "10.0.0.1",
    "private in the middle": "172.31.255.255",
    "private at home": "192.168.1.1",
    "carrier": "100.64.0.1",
    "link-local": "169.254.0.1",
    "metadata": "169.254.169.254",
    "metadata that is public": "168.63.129.16",
    "documentation": "192.0.2.1",
    "benchmark": "198.18.0.1",
    "multicast": "224.0.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "IPv6 loopback": "::1",
    "IPv6 unspecified": "::",
    "IPv6 private": "fd00::1",
    "IPv6 metadata": "fd00:ec2::254",
    "IPv6 link-local": "fe80::1",
    "IPv6 multicast": "ff02::1",
    "IPv4-mapped": "::ffff:127.0.0.1",
    "IPv4-mapped metadata": "::ffff:a9fe:a9fe",
    "IPv4-compatible": "::127.0.0.1",
    "6to4": "2002:7f00:1::",
    "NAT64": "64:ff9b::a9fe:a9fe",
    "Teredo": "2001:0:7f00:1::1",
    "protocol assignment": "192.0.0.8",
    "metadata in a protocol assignment": "192.0.0.192",
    "6to4 relay": "192.88.99.1",
    "NAT64 of a network": "64:ff9b:1::808:808",
    "NAT64 of a protocol assignment": "64:ff9b::c000:c0",
    "IPv4-translated": "::ffff:0:a9fe:a9fe",
    "IPv4-translated that is public": "::ffff:0:808:808",
    "site-local": "fec0::1",
    "discard-only": "100::1",
    "dummy prefix": "100:0:0:1::1",
    "segment routing": "5f00::1",
    "IPv6 documentation": "2001:db8::1",
    "longer documentation": "3fff::1",
    "IPv6 benchmark": "2001:2::1",
    "hash identities": "2001:20::1",
    "IPv6 that nobody has": "4000::1",
}
GLOBAL = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE.values(), ids=PRIVATE)
def test_what_is_not_public_is_called_only_where_it_is_named(address: str) -> None:
    for plain in (True, False):
        assert not PUBLIC.permits(address, plain=plain)
        assert not INSIDE.permits(address, plain=plain)
    written = f"[{address}]" if ":" in address else address
    for reach in (PUBLIC, INSIDE):
        assert "not public" in refused(reach, f"https://{written}/link")


@pytest.mark.parametrize("address", GLOBAL)
def test_public_addresses_are_called_by_https_alone(address: str) -> None:
    for reach in (PUBLIC, INSIDE):
        assert reach.permits(address, plain=False)
        assert not reach.permits(address, plain=True)


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "fd00:1::2", "fd00:1::2%eth0"])
def test_named_private_networks_are_called_either_way(address: str) -> None:
    assert INSIDE.permits(address, plain=True)
    assert INSIDE.permits(address, plain=False)
    assert Reach.of(LOOPBACK).permits("::1", plain=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://registry.example",
        "https://registry.example:8443/link",
        "https://8.8.8.8",
        "https://[2606:4700::1111]:443/",
    ],
)
def test_an_address_of_a_registry_is_taken(url: str) -> None:
    PUBLIC.check(url)
    INSIDE.check(url)


def test_plain_http_is_taken_where_private_networks_are_named() -> None:
    for url in ("http://10.1.0.9:8640", "http://registry:8640/link"):
        INSIDE.check(url)
        assert "plain HTTP" in refused(PUBLIC, url)
    assert "not public" in refused(INSIDE, "http://8.8.8.8")


BAD = {
    "ftp://registry.example": "scheme",
    "file:///etc/passwd": "scheme",
    "registry.example": "scheme",
    "HTTPS://": "no host",
    "https://": "no host",
    "https://user@registry.example": "user",
    "https://user:secret@registry.example": "user",
    "https://registry.example@10.0.0.1": "user",
    "https://registry.example/?a=1": "query",
    "https://registry.example/?": "query",
    "https://registry.example/#part": "fragment",
    "https://registry.example:22": "port 22",
    "https://registry.example:0": "port 0",
    "https://registry.example:65536": "Port",
    "https://registry.example:x": "Port",
    "https://registry.example\\@10.0.0.1": "visible",
    "https://registry example": "visible",
    "https://registry.example\n": "visible",
    "https://regístry.example": "visible",
    "https://[::1": "IPv6",
    "https://2130706433": "unusual",
    "https://0x7f000001": "unusual",
    "https://0x7f.0.0.1": "unusual",
    "https://0177.0.0.1": "unusual",
    "https://127.1": "unusual",
    "https://127.0.0.1.": "not public",
    "https://" + "a" * 2_000: "2000",
    "": "visible",
}


@pytest.mark.parametrize("url", BAD)
def test_what_is_no_address_of_a_registry_is_refused_by_what_is_wrong(url: str) -> None:
    said = refused(INSIDE, url)
    assert said.startswith("url: ") and BAD[url] in said
    assert "secret" not in said


@pytest.mark.parametrize(
    "text", ["10.0.0.1/8", "10.0.0.0/33", "home", "0.0.0.0/0", "::/0", "8.8.8.0/24", "10.0.0.0/8 fd00::/8"]
)
def test_only_private_networks_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Reach.of(text)


def refused(reach: Reach, url: str) -> str:
    with pytest.raises(GatewayError) as raised:
        reach.check(url)
    assert raised.value.kind is Kind.MALFORMED
    return raised.value.detail
