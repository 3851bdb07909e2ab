"""Outgoing requests reach public addresses, what the operator allows, and nothing else."""

from __future__ import annotations

import pytest

from workflow_service.outbound.addresses import Allowed, RefusedAddress, literal

NOT_PUBLIC = {
    "this host": ["0.0.0.0", "0.1.2.3"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"],
    "shared": ["100.64.0.1", "100.127.255.254"],
    "loopback": ["127.0.0.1", "127.255.255.254"],
    "link-local": ["169.254.0.1", "169.254.255.254"],
    "metadata": ["169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16"],
    "assignments": ["192.0.0.1", "192.88.99.1", "198.18.0.1", "198.19.255.255"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1"],
    "multicast": ["224.0.0.1", "239.255.255.255"],
    "reserved": ["240.0.0.1", "255.255.255.255"],
    "IPv6 unspecified and loopback": ["::", "::1"],
    "IPv6 private": ["fc00::1", "fd00:ec2::254", "fec0::1"],
    "IPv6 link-local": ["fe80::1", "fe80::1%eth0", "febf::1"],
    "IPv6 multicast": ["ff02::1"],
    "IPv6 documentation and discard": ["2001:db8::1", "3fff::1", "100::1"],
    "IPv4-mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8"],
    "IPv4-compatible": ["::127.0.0.1", "::10.0.0.1"],
    "IPv4 translated": ["::ffff:0:10.0.0.1"],
    "NAT64": ["64:ff9b::10.0.0.1", "64:ff9b:1::1"],
    "6to4": ["2002:7f00:1::", "2002:a00:1::1"],
    "Teredo": ["2001:0:7f00:1::", "2001::1"],
    "segment routing": ["5f00::1"],
}
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "223.255.255.254", "2606:4700::1111"]
ODD = {
    "127.1": "127.0.0.1",
    "0x7f000001": "127.0.0.1",
    "0x7F.1": "127.0.0.1",
    "2130706433": "127.0.0.1",
    "0177.0.0.1": "127.0.0.1",
    "0177.0x0.0.1": "127.0.0.1",
    "127.0.0.1.": "127.0.0.1",
    "3232235777": "192.168.1.1",
    "0": "0.0.0.0",
    "[::1]": "::1",
    "::ffff:10.0.0.1": "::ffff:10.0.0.1",
    "0:0:0:0:0:ffff:a00:1": "::ffff:a00:1",
    "00000::1": None,
}


@pytest.mark.parametrize("family", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused(family: str):
    for address in NOT_PUBLIC[family]:
        with pytest.raises(RefusedAddress, match="not public"):
            Allowed().check(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_not(address: str):
    Allowed().check(address)


@pytest.mark.parametrize("spelling", ODD)
def test_an_address_in_an_odd_spelling_is_an_address(spelling: str):
    meant = ODD[spelling]
    found = literal(spelling)
    assert (found and str(found)) == (meant and str(literal(meant)))
    if found is not None:
        with pytest.raises(RefusedAddress):
            Allowed().checked([str(found)], spelling)


@pytest.mark.parametrize("name", ["localhost", "shop.example", "127.1.example", "0xg", "1.2.3.4.5"])
def test_a_name_is_not_an_address(name: str):
    assert literal(name) is None


def test_the_operator_opens_what_is_named_and_nothing_beside():
    allowed = Allowed.parse("10.1.0.0/16, 127.0.0.1,fd00::7, Shop.Internal, ")
    for address in ("10.1.255.255", "127.0.0.1", "fd00::7"):
        allowed.check(address)
    for address in ("10.2.0.1", "127.0.0.2", "fd00::8", "::ffff:127.0.0.1", "::1"):
        with pytest.raises(RefusedAddress):
            allowed.check(address)
    for host in ("shop.internal", "SHOP.internal."):
        allowed.check("192.168.7.7", host)
    for host in ("xshop.internal", "a.shop.internal", "shop.internal.example", None):
        with pytest.raises(RefusedAddress):
            allowed.check("192.168.7.7", host)
    with pytest.raises(RefusedAddress):
        Allowed.parse("").check("127.0.0.1")


@pytest.mark.parametrize(
    "entry", ["10.1.0.1/16", "127.1", "2130706433", "http://shop", "shop:80", "*", "a b", "-x"]
)
def test_an_entry_that_is_none_is_told(entry: str):
    with pytest.raises(ValueError, match=r"separated by commas, got") as told:
        Allowed.parse(f"10.1.0.0/16,{entry}")
    assert entry in str(told.value)


def test_of_several_addresses_of_a_name_the_public_ones_are_used():
    found = ["10.0.0.1", "1.1.1.1", "::1", "2606:4700::1111"]
    assert Allowed().checked(found, "shop.example") == ["1.1.1.1", "2606:4700::1111"]
    with pytest.raises(RefusedAddress) as told:
        Allowed().checked(["10.0.0.1", "::1"], "shop.example")
    # Which address it is would tell about the names inside.
    assert str(told.value) == "Host 'shop.example' leads to an address that is not public"
