"""Which hosts are exempt from the share of proceeds."""

from gateway.domain.parties import EXEMPT_FROM_PROCEEDS, LEAST_DEVELOPED, PARTIES, SMALL_ISLANDS


def test_the_lists_of_exempt_hosts_name_parties() -> None:
    assert EXEMPT_FROM_PROCEEDS <= PARTIES
    assert (len(LEAST_DEVELOPED), len(SMALL_ISLANDS)) == (44, 39)


def test_a_host_is_exempt_by_either_list() -> None:
    assert {"MMR", "MDV", "TUV"} <= EXEMPT_FROM_PROCEEDS
    assert not {"CHN", "IND", "GHA", "THA", "KEN"} & EXEMPT_FROM_PROCEEDS
