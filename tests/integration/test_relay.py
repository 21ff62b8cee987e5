"""Transfers through a real gateway between real registries, whole courses: what arrives, and where it ends."""

from tests.stage import Stage


async def test_units_proposed_arrive_and_both_sides_are_told(linked: Stage) -> None:
    held = await linked.issue(10_000)
    transfers = await linked.propose(held - 100, 100)
    assert await linked.relay(transfers) == ["completed", "completed"]
    books = {row["registry"]: row for row in (await linked.books())["registries"]}
    assert books["KOR01"]["held"] == books["KOR01"]["moved_in"] == held
    assert books["MEC01"]["held"] == 0 and books["MEC01"]["moved_out"] == held
    assert (await linked.books())["conservation"] == "holds"
    for code in ("MEC01", "KOR01"):
        own = await linked.registries[code].get("books")
        assert {n: own[n] for n in ("issued", "held", "used", "cancelled", "moved_in", "moved_out")} == {
            n: books[code][n] for n in ("issued", "held", "used", "cancelled", "moved_in", "moved_out")
        }
    assert {t["state"] for t in (await linked.registries["MEC01"].get("transfers"))["transfers"]} == {"done"}
    assert {t["state"] for t in (await linked.registries["KOR01"].get("transfers"))["transfers"]} == {"done"}
