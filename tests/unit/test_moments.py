"""Moments that persons and machines name: with an offset, of this century or the next wherever one is."""

from datetime import UTC, datetime

import pytest

from gateway.cli.link_keys import moment
from gateway.domain import moments
from gateway.errors import GatewayError, Kind


def test_a_moment_is_read_into_utc() -> None:
    for written in ("2026-03-01T14:00:00+02:00", "2026-03-01T12:00Z"):
        assert moments.read(written) == moment(written) == datetime(2026, 3, 1, 12, tzinfo=UTC)
        assert moments.read(written).tzinfo is UTC


@pytest.mark.parametrize(
    "written",
    [
        "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "2200-01-01T00:00:00.000001Z",
        "2000-01-01T00:00:00+00:01", "2026-03-01T12:00:00", "2026-03-01", "tomorrow", "",
    ],
)  # fmt: skip
def test_what_is_no_moment_everywhere_is_refused(written: str) -> None:
    for read in (moments.read, moment):
        with pytest.raises(GatewayError) as raised:
            read(written)
        assert raised.value.kind is Kind.MALFORMED
