"""ITMO identifiers and onward transfers: given once, at first transfer, kept for ever, whatever is split and moved.

Units go from the mechanism registry to Korea and from there to Japan; what Korea uses or cancels moves the book too.
"""

from typing import Any

import pytest

from tests import handmade
from tests.handmade import play
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Cooperative approach, registry, Party and vintage of the identifiers that MEC01 gives.
STEM = "CA0001-MMR99-MMR-2021"
#: How many pairs of live positions have an identifier in common.
DOUBLED = """
  SELECT count(*) FROM position a JOIN position b ON a.id < b.id AND a.itmo_series_id = b.itmo_series_id
  AND int8range(a.first + a.itmo_offset, a.last + a.itmo_offset, '[]')
   && int8range(b.first + b.itmo_offset, b.last + b.itmo_offset, '[]')
  WHERE a.closed_by IS NULL AND b.closed_by IS NULL
"""


async def test_onward_units_keep_their_identifiers_and_the_time_of_their_first_transfer(shared: Stage) -> None:
    await shared.issue(net=1_000, series="ONWARD")
    assert await shared.relay(await shared.propose(1_000)) == ["completed"]
    [(place, first, last, stem, offset, moved_at)] = await named(shared, "ONWARD")
    assert (place, first, last, stem) == ("KOR01", 1, 1_000, STEM)
    wanted = [{"origin": {"registry": "MEC01", "series": "ONWARD"}, "first": 301, "last": 700}]
    [onward] = await shared.propose(400, to="JPN01", source="KOR01", blocks=wanted)
    assert await shared.relay([onward]) == ["completed"]
    assert await named(shared, "ONWARD") == [
        ("KOR01", 1, 300, stem, offset, moved_at),
        ("JPN01", 301, 700, stem, offset, moved_at),
        ("KOR01", 701, 1_000, stem, offset, moved_at),
    ]
    released = play.json.loads(await kept(shared, onward, "released"))
    assert (released["first_transfer"], released["itmo"]) == (False, [])
    there = {b["block"]["first"]: b["block"] for b in await holdings(shared, "JPN01", "ONWARD")}
    serials = [there[301]["itmo"][end].split("-")[3] for end in ("first", "last")]
    assert serials == [str(301 + offset), str(700 + offset)]
    await agree(shared)


async def test_parts_of_a_block_first_transferred_apart_get_identifiers_of_their_own(shared: Stage) -> None:
    await shared.issue(net=100, series="PARTS")
    transfers = [*await shared.propose(30, 20), *await shared.propose(50, to="JPN01")]
    assert await shared.relay(transfers) == ["completed"] * 3
    pieces = await named(shared, "PARTS")
    assert sorted(p[2] - p[1] + 1 for p in pieces) == [20, 30, 50]
    taken = [serial for _, first, last, _, offset, _ in pieces for serial in range(first + offset, last + offset + 1)]
    assert len(set(taken)) == len(taken) == 100
    assert {p[3] for p in pieces} == {STEM} and None not in {p[5] for p in pieces}
    for transfer in transfers:
        released = play.json.loads(await kept(shared, transfer, "released"))
        assert released["first_transfer"] and len(released["itmo"]) == 1
    assert await shared.rows(DOUBLED) == [(0,)]
    await agree(shared)


async def test_units_of_other_vintages_or_purposes_are_named_by_their_own_rule(shared: Stage) -> None:
    await shared.issue(net=10, series="V2022", vintage=2022)
    [later] = await shared.propose(10)
    assert await shared.relay([later]) == ["completed"]
    [(_, _, _, stem, _, _)] = await named(shared, "V2022")
    assert stem == "CA0001-MMR99-MMR-2022"
    await shared.issue(net=10, series="OTHERUSE")
    [unnamed] = await shared.propose(10, purpose="OP")
    assert await shared.relay([unnamed]) == ["completed"]
    assert await named(shared, "OTHERUSE") == [("KOR01", 1, 10, None, None, None)]
    await agree(shared)


async def test_use_and_cancellation_after_a_transfer_move_the_book_and_nothing_is_lost(shared: Stage) -> None:
    await shared.issue(net=300, series="SPENT")
    assert await shared.relay(await shared.propose(300)) == ["completed"]
    before = await totals(shared, "KOR01")
    korea = shared.registries["KOR01"]
    for path, account, first, last in (("use", "200-1", 1, 120), ("cancel", "330-1", 121, 150)):
        block = {"origin": {"registry": "MEC01", "series": "SPENT"}, "first": first, "last": last}
        await korea.post(path, party="KOR", to_account=account, quantity=last - first + 1, blocks=[block])
    await shared.until(shared.registries["KOR01"].owes_nothing)
    after = await totals(shared, "KOR01")
    changes = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert changes == {"held": -150, "used": 120, "cancelled": 30}
    assert (await shared.books())["conservation"] == "holds"
    spent = await shared.rows(
        "SELECT p.account_type, p.first, p.last FROM position p JOIN unit_series s ON s.id = p.series_id"
        " WHERE s.series = 'SPENT' AND p.closed_by IS NULL AND account_type NOT IN (320, 410) ORDER BY p.first"
    )
    assert spent == [(200, 1, 120), (330, 121, 150), (100, 151, 300)]
    await agree(shared)
    # By hand, because Korea's own books would not let them go again.
    [used] = [b["block"] for b in await holdings(shared, "KOR01", "SPENT") if b["account"] == "200-1"]
    refused = await announce(shared, {**used, "last": 10, "itmo": part(used, 1, 10)}, "330-1")
    assert (refused["state"], [f["code"] for f in refused["findings"]]) == ("refused", [4006])
    assert await totals(shared, "KOR01") == after


async def test_a_notice_cannot_touch_units_that_a_transfer_claims(shared: Stage) -> None:
    await shared.issue(net=80, series="CLAIMED")
    assert await shared.relay(await shared.propose(80)) == ["completed"]
    [held] = [b["block"] for b in await holdings(shared, "KOR01", "CLAIMED")]
    wanted = [{"origin": held["origin"], "first": 41, "last": 80}]
    [onward] = await shared.propose(40, to="JPN01", source="KOR01", blocks=wanted)
    await shared.until(lambda: shared.count(f"transfer WHERE id = '{onward}'"))
    before = await totals(shared, "KOR01")
    for first, last, codes in ((41, 50, [4005]), (31, 41, [4005]), (1, 80, [4005])):
        block = {**held, "first": first, "last": last, "itmo": part(held, first, last)}
        notice = await announce(shared, block, "200-1")
        assert (notice["state"], [f["code"] for f in notice["findings"]]) == ("refused", codes)
    assert await totals(shared, "KOR01") == before
    assert await shared.relay([onward]) == ["completed"]
    await agree(shared)


async def test_units_return_and_go_out_again_under_the_same_identifiers(shared: Stage) -> None:
    await shared.issue(net=60, series="RETURN")
    assert await shared.relay(await shared.propose(60)) == ["completed"]
    before = await named(shared, "RETURN")
    units = [{"origin": {"registry": "MEC01", "series": "RETURN"}, "first": 1, "last": 60}]
    for source, acquirer in (("KOR01", "JPN01"), ("JPN01", "KOR01"), ("KOR01", "JPN01")):
        moved = await shared.propose(60, to=acquirer, source=source, blocks=units)
        assert await shared.relay(moved) == ["completed"]
    assert await named(shared, "RETURN") == [("JPN01", *before[0][1:])]
    assert await shared.rows(DOUBLED) == [(0,)]
    await agree(shared)


async def test_a_transfer_of_three_thousand_blocks_completes_and_names_each(shared: Stage) -> None:
    await shared.issue(net=6_000, series="BLOCKS")
    origin = {"registry": "MEC01", "series": "BLOCKS"}
    blocks = [{"origin": origin, "first": serial, "last": serial} for serial in range(1, 6_000, 2)]
    [transfer] = await shared.propose(3_000, blocks=blocks)
    assert await shared.relay([transfer]) == ["completed"]
    course = await shared.transfer(transfer)
    assert [(b["first"], b["last"], b["claimed"]) for b in course["blocks"]] == [
        (b["first"], b["last"], False) for b in blocks
    ]
    split = await shared.rows(
        "SELECT p.registry, count(*), sum(last - first + 1), count(DISTINCT first + itmo_offset)"
        " FROM position p JOIN unit_series s ON s.id = p.series_id WHERE s.series = 'BLOCKS' AND closed_by IS NULL"
        " AND account_type <> 320"
        " GROUP BY p.registry ORDER BY p.registry"
    )
    assert split == [("KOR01", 3_000, 3_000, 3_000), ("MEC01", 3_000, 3_000, 0)]
    assert (await shared.books())["conservation"] == "holds"


async def named(stage: Stage, series: str) -> list[tuple[Any, ...]]:
    """Where the units of a series are, with their identifiers and the time of their first transfer."""
    return await stage.rows(
        "SELECT p.registry, p.first, p.last, i.stem, p.itmo_offset, p.first_transferred_at FROM position p"
        " JOIN unit_series s ON s.id = p.series_id LEFT JOIN itmo_series i ON i.id = p.itmo_series_id"
        f" WHERE s.series = '{series}' AND p.closed_by IS NULL AND p.account_type NOT IN (320, 410) ORDER BY p.first"
    )


async def holdings(stage: Stage, code: str, series: str) -> list[dict[str, Any]]:
    listed = (await stage.registries[code].get("books?blocks=1"))["blocks"]
    return [b for b in listed if b["block"]["origin"]["series"] == series]


async def agree(stage: Stage) -> None:
    """Every registry's own books have the totals that the gateway's book has of it."""
    names = ("issued", "held", "used", "cancelled", "moved_in", "moved_out")
    for code, registry in stage.registries.items():
        own, known = await registry.get("books"), await totals(stage, code)
        assert {n: own[n] for n in names} == {n: known[n] for n in names}, code
        assert own["alarms"] == []
    assert (await stage.books())["conservation"] == "holds"


async def totals(stage: Stage, code: str) -> dict[str, int]:
    [found] = [row for row in (await stage.books())["registries"] if row["registry"] == code]
    return {name: value for name, value in found.items() if name != "registry"}


async def kept(stage: Stage, transfer: str, step: str) -> str:
    found = await stage.rows(f"SELECT item FROM transfer_step WHERE transfer_id = '{transfer}' AND step = '{step}'")
    return str(found[0][0])


def part(block: dict[str, Any], first: int, last: int) -> dict[str, str]:
    """The identifiers of some units of a named block."""
    head, host, party, serial, vintage = block["itmo"]["first"].split("-")
    offset = int(serial) - block["first"]
    return {
        "first": f"{head}-{host}-{party}-{first + offset}-{vintage}",
        "last": f"{head}-{host}-{party}-{last + offset}-{vintage}",
    }


async def announce(stage: Stage, block: dict[str, Any], to_account: str) -> dict[str, Any]:
    """Announce by hand, in Korea's name, that units have left its holding account; the receipt's item."""
    kind = "use" if to_account[0] == "2" else "cancellation"
    members = {"kind": "action", "action": f"BY-HAND-{play.uuid7()}", "type": kind, "registry": "KOR01"}
    at = play.stamp(play.datetime.now(play.UTC))
    where = {"at": at, "party": "KOR", "account": "100-1", "to_account": to_account, "blocks": [block]}
    signer = handmade.signer(stage, "KOR01")
    answer = await handmade.say(stage, signer, "action.notice", [play.text(members | where)])
    [receipt] = answer.items
    return receipt
