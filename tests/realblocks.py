"""Files of the shape of the CDM registry's issuance report, made here; and where the real one lies, if it does."""

import os
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gateway.demo.blocks import COLUMNS

#: The folder of shared data. It is read where it lies and never copied into the project.
DATA = Path(os.environ.get("A6_DATA") or Path(__file__).parents[1] / "../shared/data")
REAL = DATA / "cdm_registry_cer_issuance_2007_2023.csv"
REAL_BLOCKS, REAL_UNITS = 12_533, 2_421_589_626

needs_real_file = pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not there (A6_DATA names its folder)")

#: Hosts of the made files: large and small, exempt from the share of proceeds and not, an acquiring Party among them.
HOSTS = ("CN", "IN", "BR", "KR", "MM", "UG", "FJ", "PK")
TYPES = ("CER", "CER", "CER", "tCER", "lCER")
HEADER = ",".join(COLUMNS)


def rows(count: int) -> list[dict[str, str]]:
    """So many rows of a synthetic report: as the real one, in order of time, each series without a gap."""
    next_serial: dict[tuple[str, str], int] = defaultdict(lambda: 1)
    made = []
    for nr in range(count):
        party, unit_type = HOSTS[nr * nr % 8 if nr % 3 else nr % 8], TYPES[nr % 5]
        quantity = 1 + (nr * 7919) % 250_000
        first = next_serial[party, unit_type]
        next_serial[party, unit_type] += quantity
        at = datetime(2007, 11, 9, 10, 33, 23, 293_000) + timedelta(hours=7 * nr)
        values = (
            at.isoformat(timespec="milliseconds"), "1", "4", str(first), str(first + quantity - 1), unit_type,
            "12"[nr % 2], party, str(nr % 900 + 1), str(quantity),
        )  # fmt: skip
        made.append(dict(zip(COLUMNS, values, strict=True)))
    return made


def text(lines: list[dict[str, str]]) -> str:
    """These rows as a file has them."""
    return "\n".join([HEADER, *(",".join(line.values()) for line in lines)]) + "\n"
