"""Whatever is given to PostgreSQL in an array comes back as it was, and what it cannot hold is refused before."""

from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import arrays
from gateway.embedded import Server

TEXTS = st.lists(st.none() | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), max_size=6)
ARRAYS = [
    ("text", TEXTS),
    ("bytea", st.lists(st.none() | st.binary(max_size=40), max_size=6)),
    ("bigint", st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=6)),
]


async def returned(postgres: Server, kind: str, values: list[Any]) -> Any:
    connection = await arrays.connect(postgres.dsn("postgres"), "")
    try:
        found = await (await connection.execute(f"SELECT CAST(%s AS {kind}[])", [values])).fetchone()
        return found[0] if found else None
    finally:
        await connection.close()


@pytest.mark.parametrize(("kind", "values"), ARRAYS)
async def test_an_array_comes_back_as_it_was_given(postgres: Server, kind: str, values: st.SearchStrategy[Any]) -> None:
    connection = await arrays.connect(postgres.dsn("postgres"), "")
    examples: list[list[Any]] = []

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(values)
    def collect(value: list[Any]) -> None:
        examples.append(value)

    collect()
    try:
        for value in examples:
            found = await (await connection.execute(f"SELECT CAST(%s AS {kind}[])", [value])).fetchone()
            assert found is not None and found[0] == value
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "text", ['"', "\\", '\\"', "{}", "NULL", "null", "", " ", "a,b", "\t\n\r", "\u2003", "é\U0001f600"]
)
async def test_texts_that_need_quotes(postgres: Server, text: str) -> None:
    assert await returned(postgres, "text", [text, None, text]) == [text, None, text]


async def test_what_is_no_list_of_one_kind_is_left_to_the_driver(postgres: Server) -> None:
    assert await returned(postgres, "boolean", [True, False, None]) == [True, False, None]
    assert await returned(postgres, "bigint", [[1, 2], [3, 4]]) == [[1, 2], [3, 4]]
    with pytest.raises(psycopg.DataError):
        await returned(postgres, "text", ["a\x00b"])
