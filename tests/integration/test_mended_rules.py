"""Rules of first transfer, marks and grants at their edges, on the way from a notice or a proposal to the books.

Method: registries that the tests play; each test has authorisations and series of its own. Scope: what an examination
of the rules had found to go wrong. The decisions' texts were not available, so the rules are those of public summaries
and of the link contract. All data are synthetic.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from gateway import embedded
from tests import stage as staging
from tests.authorised import action, issued, told, under
from tests.authorised import terms as terms_of
from tests.integration.test_actions import account, few, listed, transferred, used
from tests.integration.test_post_issuance import issued as contributed
from tests.integration.test_post_issuance import ranges
from tests.integration.test_sandbox_play import text, uuid7
from tests.played import Course, Played, block, join, levied, naming
from tests.refusals import Verdict, counts, effects, ineffective, refused, verdicts

pytestmark = pytest.mark.asyncio(loop_scope="module")
RECORDED = Verdict("recorded", [])
#: Where Korea holds units at the mechanism's registry.
KOREA_AT_MEC01 = {"registry": "MEC01", "party": "KOR", "account": "100-1"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def course(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Course]:
    """MEC01 and KOR01, both played by the tests."""
    async with staging.opened(postgres, tmp_path_factory.mktemp("mended")) as stage:
        yield await Course.begun(stage)
        assert await stage.doctor() == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(course: Course) -> Played:
    return await join(course.stage, "MMR01", "party", "MMR")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def japan(course: Course) -> Played:
    return await join(course.stage, "JPN01", "party", "JPN")


async def authorised(course: Course, **members: Any) -> dict[str, Any]:
    """A new authorisation of Myanmar's, wide open but for these members; the reference to it."""
    reference = {"id": f"A-{uuid7()}", "version": 1}
    await told(course.source, terms_of(**reference, **members))
    return reference


async def holding(course: Course, reference: dict[str, Any] | None) -> dict[str, Any]:
    """98 units under an authorisation, in Myanmar's holding account at MEC01."""
    units = under(block(1, 98, series=uuid7()), reference)
    await issued(course, units)
    return units


def onward() -> dict[str, Any]:
    """What a proposal of units from Korea to Japan says otherwise, under a new transfer id."""
    return {
        "transfer": f"KOR01-{uuid7()}",
        "transferring": {"registry": "KOR01", "party": "KOR", "account": "100-1"},
        "acquiring": {"registry": "JPN01", "party": "JPN", "account": "100-1"},
    }


def part(units: dict[str, Any], first: int, last: int) -> dict[str, Any]:
    return units | {"first": first, "last": last}


def bare(units: dict[str, Any]) -> dict[str, Any]:
    """The range alone."""
    return {name: units[name] for name in ("origin", "first", "last")}


async def moved(course: Course, cause: str) -> list[tuple[Any, ...]]:
    """What is accounted for of a cause: type, whether this first transferred it, whether it is ITMOs, tonnes."""
    return await course.stage.rows(
        "SELECT type, first_transfer, first_transferred, quantity FROM unit_movement "
        f"WHERE cause = '{cause}' ORDER BY type, quantity"
    )


async def sides(course: Course, cause: str) -> list[tuple[Any, ...]]:
    """The actions that Parties see of a cause."""
    seen = [few(a, "party", "type", "subtype", "quantity") for a in await listed(course.stage) if a["cause"] == cause]
    return sorted(seen, key=str)


async def in_book(course: Course, units: dict[str, Any], registry: str) -> list[tuple[Any, ...]]:
    """A registry's positions of a series: serials, whether they bear identifiers, are ITMOs, and the version kept."""
    return await course.stage.rows(
        "SELECT p.first, p.last, p.itmo_series_id IS NOT NULL, p.first_transferred_at IS NOT NULL, p.relied_on"
        f" FROM position p JOIN unit_series s ON s.id = p.series_id WHERE s.series = '{units['origin']['series']}'"
        f" AND p.closed_by IS NULL AND p.registry = '{registry}' ORDER BY p.first"
    )


async def refusal(course: Course, item: dict[str, Any]) -> list[int]:
    """Propose what must not pass its checks; the codes found, once the source has unlocked the units."""
    await course.propose(item)
    await course.turn()
    return await ended(course, str(item["transfer"]))


async def ended(course: Course, transfer: str) -> list[int]:
    """Let the source confirm the end of a transfer, which must be refused; the codes told."""
    await course.void([transfer])
    shown = (await course.stage.transfer(transfer))["transfer"]
    assert shown["state"] == "refused", shown
    return [f["code"] for f in shown["findings"]]


async def revoke(course: Course, reference: dict[str, Any]) -> None:
    heard = await course.notice("revocation", party="MMR", authorisation=reference, reason="by agreement")
    assert verdicts(heard) == [RECORDED]


def part_named(units: dict[str, Any], first: int, last: int) -> dict[str, Any]:
    """A part of units that bear identifiers, with its own."""
    return part(units, first, last) | {"itmo": naming(part(units, first, last))["itmo"]}


async def accepted(course: Course, item: dict[str, Any]) -> str:
    """A transfer that has passed its checks and is accepted, and not committed yet."""
    transfer = str(item["transfer"])
    await course.propose(item)
    await course.turn()
    await course.accept([transfer])
    assert await course.stage.states([transfer]) == ["accepted"]
    return transfer


async def test_only_what_never_was_is_first_transferred_by_a_relay_of_both(course: Course) -> None:
    given = await authorised(course)
    units = await holding(course, given)
    notice = course.action("first_transfer", party="MMR", subtype="Use or cancellation", blocks=[part(units, 1, 30)])
    assert verdicts(await course.source.say("action.notice", [notice])) == [RECORDED]
    transfer = await transferred(course, part(units, 1, 60), names=False, authorisation=given)
    assert await moved(course, transfer) == [("First transfer", True, True, 30), ("Transfer", False, True, 30)]
    causes = {f"MEC01/{notice['action']}", transfer}
    year = (await account(course.stage, "party=MMR&last=2021&explain=true"))["years"][0]
    assert sum(b["quantity"] for b in year["behind"] if b["cause"] in causes) == 60


async def test_units_that_a_relay_does_not_first_transfer_get_no_identifiers_and_cancellation_does(
    course: Course,
) -> None:
    given = await authorised(course)
    units = await holding(course, given)
    item = course.proposal(units, purpose="OP", authorisation=given)
    transfer = await accepted(course, item)
    await course.turn()
    heard = await course.release([transfer], {transfer: [naming(units)]})
    assert [[f["code"] for f in i["findings"]] for i in heard.items] == [[5134]]
    await course.credit([transfer])
    assert await course.stage.states([transfer]) == ["completed"]
    assert await in_book(course, units, "KOR01") == [(1, 98, False, False, 1)]
    cause = await used(course, [part(units, 1, 10)], kind="cancellation", to_account="310-1", purpose="OP")
    assert await sides(course, cause) == [
        ("KOR", "Cancellation", "Other cancellations", 10), ("MMR", "First transfer", "Use or cancellation", 10)
    ]  # fmt: skip


async def test_a_reversal_is_resolved_by_who_issued_the_units_and_only_where_it_says_so(course: Course) -> None:
    given = await authorised(course)
    units = await holding(course, given)
    assert verdicts(await course.notice("reversal", blocks=[bare(units)], resolved=False)) == [RECORDED]
    foreign = action("KOR01", "reversal", blocks=[bare(units)], resolved=True)
    assert verdicts(await course.acquirer.say("action.notice", [foreign])) == [Verdict("refused", [1010])]
    assert verdicts(await course.notice("reversal", blocks=[bare(part(units, 1, 20))], resolved=True)) == [RECORDED]
    assert await refusal(course, course.proposal(part(units, 21, 98), authorisation=given)) == [5124]
    await course.complete(course.proposal(part(units, 1, 20), authorisation=given))


async def test_a_registry_gives_no_authorisation_to_units_that_another_issued(course: Course, host: Played) -> None:
    series = await contributed(course)
    wanted = ranges(series, (1, 100))
    named = terms_of(id=f"A-{uuid7()}")
    before = await counts(course.stage)
    item = action("MMR01", "authorisation", authorisation=named, units=wanted, synthetic=True)
    assert verdicts(await host.say("action.notice", [item])) == [Verdict("refused", [1010])]
    assert effects(before, await counts(course.stage)) == {}


async def test_units_under_a_revoked_authorisation_are_not_given_it_by_telling_its_version_again(
    course: Course,
) -> None:
    given = await authorised(course)
    told_again = {"authorisation": terms_of(**given), "synthetic": True}
    series = await contributed(course)
    await revoke(course, given)
    wanted = ranges(series, (1, 100))
    found = verdicts(await course.notice("authorisation", units=wanted, **told_again))
    assert found == [Verdict("refused", [5103])]
    assert verdicts(await course.notice("authorisation", **told_again)) == [RECORDED]


async def test_an_authorisation_of_entities_alone_authorises_no_transfer(course: Course) -> None:
    given = await authorised(course, kinds=["entities"])
    units = await holding(course, given)
    assert await refusal(course, course.proposal(units, authorisation=given)) == [5102]


async def test_nothing_is_committed_that_is_revoked_after_its_checks(course: Course) -> None:
    given = await authorised(course)
    transfer = await accepted(course, course.proposal(await holding(course, given), authorisation=given))
    await revoke(course, given)
    await course.turn()
    assert await ended(course, transfer) == [5103]
    assert await course.stage.count(f"transfer_step WHERE transfer_id = '{transfer}' AND step = 'commit'") == 0


async def test_what_moved_before_and_is_no_itmo_is_not_committed_once_it_is_revoked(
    course: Course, japan: Played
) -> None:
    given = await authorised(course)
    units = await holding(course, given)
    await course.complete(course.proposal(units, purpose="OP", authorisation=given))
    beyond = Course(course.stage, course.acquirer, japan)
    transfer = await accepted(beyond, beyond.proposal(units, purpose="OP", authorisation=given, **onward()))
    await revoke(course, given)
    await course.turn()
    assert await ended(beyond, transfer) == [5103]


async def test_nothing_is_committed_that_is_reversed_after_its_checks(course: Course) -> None:
    given = await authorised(course)
    units = await holding(course, given)
    transfer = await accepted(course, course.proposal(part(units, 1, 50), authorisation=given))
    reversed_units = [bare(part(units, 41, 60))]
    assert verdicts(await course.notice("reversal", blocks=reversed_units, resolved=False)) == [RECORDED]
    await course.turn()
    assert await ended(course, transfer) == [5124]
    assert await course.stage.count(f"transfer_step WHERE transfer_id = '{transfer}' AND step = 'commit'") == 0


async def test_an_issuance_outside_the_terms_is_refused_and_draws_nothing(course: Course) -> None:
    defined = {"purposes": "OIMP", "first_transfer_definition": "Issuance", "quantity": 1000}
    for outside, code in (
        ({"vintages": {"first": 2022, "last": 2030}}, 5105),
        ({"period": {"first": None, "last": "2025-12-31"}}, 5102),
    ):
        given = await authorised(course, **defined, **outside)
        before = await counts(course.stage)
        heard = await course.issue(under(block(1, 98, series=uuid7()), given))
        assert verdicts(heard) == [Verdict("refused", [code])]
        assert effects(before, await counts(course.stage)) == {}
        shown = await course.stage.api.get(f"/api/v1/authorisations/MMR/{given['id']}")
        assert (shown.json()["drawn"], shown.json()["left"]) == (0, 1000)


async def test_units_of_a_vintage_to_come_are_not_issued(course: Course) -> None:
    units = block(1, 98, series=uuid7())
    late = units | {"attributes": units["attributes"] | {"vintage": datetime.now(UTC).year + 1}}
    assert verdicts(await course.issue(late)) == [Verdict("refused", [2013])]


async def test_a_version_or_a_vintage_beyond_what_is_kept_is_refused_and_has_no_effect(course: Course) -> None:
    beyond = terms_of(id=f"A-{uuid7()}", version=3_000_000_000)
    item = course.action("authorisation", authorisation=beyond)
    await refused(course.source, *course.source.compose("action.notice", [text(item)]), 2001)
    units = block(1, 98, series=uuid7())
    late = units | {"attributes": units["attributes"] | {"vintage": 3_000_000_000}}
    item = course.action("issuance", positions=levied(late), synthetic=True)
    assert await ineffective(course.source, "action.notice", [item]) == [Verdict("refused", [2013])]


async def test_myanmars_units_that_korea_takes_home_from_the_mechanism_are_first_transferred(course: Course) -> None:
    given = await authorised(course)
    units = under(block(1, 98, series=uuid7()), given)
    positions = [place | {"party": "KOR"} for place in levied(units)]
    assert verdicts(await course.notice("issuance", positions=positions, synthetic=True)) == [RECORDED]
    transfer = await transferred(course, units, names=False, authorisation=given, transferring=KOREA_AT_MEC01)
    assert await moved(course, transfer) == [("First transfer", True, True, 98)]
    assert ("MMR", "First transfer", "First transfer to another Party", 98) in await sides(course, transfer)


async def test_of_a_first_transfer_by_another_party_the_host_sees_that_and_the_other_a_transfer(
    course: Course, japan: Played
) -> None:
    given = await authorised(course)
    units = await holding(course, given)
    await course.complete(course.proposal(units, purpose="OP", authorisation=given))
    beyond = Course(course.stage, course.acquirer, japan)
    transfer = await transferred(beyond, units, names=False, authorisation=given, **onward())
    assert await sides(course, transfer) == [
        ("JPN", "Acquisition", None, 98),
        ("KOR", "Transfer", None, 98),
        ("MMR", "First transfer", "First transfer to another Party", 98),
    ]


async def test_units_that_opened_with_identifiers_stay_under_their_version_when_they_are_relayed(
    course: Course,
) -> None:
    """Korea, which the second version does not name, may use them: the first, under which they came, does not say."""
    given = await authorised(course)
    units = under(block(1001, 1098, series=uuid7()), given)
    units |= {"origin": units["origin"] | {"registry": "GHA01"}, "itmo": naming(units)["itmo"]}  # nobody's link
    place = {"party": "CHE", "account": "100-1", "block": units}
    swiss = await join(course.stage, "CHE01", "party", "CHE", holdings=[place])
    await told(course.source, terms_of(**given | {"version": 2}, parties=["CHE"]))
    beyond = Course(course.stage, swiss, course.acquirer)
    await beyond.complete(
        beyond.proposal(
            units, authorisation=given, transfer=f"CHE01-{uuid7()}",
            transferring={"registry": "CHE01", "party": "CHE", "account": "100-1"},
        )
    )  # fmt: skip
    assert await in_book(course, units, "KOR01") == [(1001, 1098, True, True, None)]
    await used(course, [part_named(units, 1001, 1010)])
