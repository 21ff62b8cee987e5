"""Twenty thousand messages that are signed, and right or almost right: none is an internal fault, each has its answer.

``A6_SEED`` repeats a run; the seed of a run that fails is in its message. ``A6_MESSAGES`` makes it longer.
"""

import asyncio
import json
import os
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.generated import Generator
from tests.integration.test_sandbox_play import Party, text
from tests.played import Course, block
from tests.refusals import payload_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = int(os.environ.get("A6_MESSAGES", "20000"))
SEED = int(os.environ.get("A6_SEED") or datetime.now(UTC).strftime("%Y%m%d"))
AT_ONCE = 16
ISSUED = 5_000
#: What an unsigned answer may be; 408 is for slow senders, 413 for long ones.
UNSIGNED = {400, 401, 415, 503}


async def _under_way(course: Course) -> list[str]:
    """Transfers at every stage of their course."""
    await course.issue(block(1, ISSUED))
    made: list[str] = []
    for stage in range(5):
        proposals = [course.proposal(block(1 + 200 * stage + 10 * n, 10 + 200 * stage + 10 * n)) for n in range(5)]
        transfers = [str(p["transfer"]) for p in proposals]
        await course.propose(*proposals)
        steps = (course.turn, lambda t=transfers: course.accept(t), course.turn, lambda t=transfers: course.release(t))
        for step in steps[:stage]:
            await step()  # type: ignore[operator]
        made += transfers
    return made


async def test_generated_messages_are_each_answered_with_a_code_and_never_with_a_fault(course: Course) -> None:
    parties = [course.source.party, course.acquirer.party]
    generator = Generator(SEED, parties, Party("MEC01"), await _under_way(course))
    heard: Counter[str] = Counter()
    faults: list[str] = []

    async def send_on() -> None:
        while generator.made < MESSAGES and not faults:
            kind, body = generator.one()
            answer = await course.stage.http.post(
                f"{course.stage.link_url}/messages", content=body, headers={"content-type": kind}
            )
            told = _told(answer)
            if told is None:
                faults.append(f"seed {SEED}: {answer.status_code} {answer.text[:300]} for {body[:2000]!r}")
            else:
                heard[told] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(send_on())
    assert not faults, faults[0]
    print(f"seed {SEED}: {dict(heard.most_common())}")
    assert sum(heard.values()) >= MESSAGES
    assert {"receipt", "refusal", "400", "401"} <= set(heard), "every kind of answer was given"
    assert (await course.stage.books())["conservation"] == "holds"
    assert await course.stage.doctor() == []


def _told(answer: httpx.Response) -> str | None:
    """What kind of answer it is; nothing when it is none, or a refusal without a code."""
    if answer.status_code in UNSIGNED:
        document = answer.json()
        return str(answer.status_code) if isinstance(document.get("code"), int) else None
    if answer.status_code != 200:
        return None
    said = payload_of(answer.content)
    findings: list[dict[str, Any]] = said["body"].get("findings", [])
    items = json.loads(answer.content)["items"] if answer.content[:1] == b"{" else []
    findings += [found for one in items for found in json.loads(one).get("findings", [])]
    refused = said["type"] == "refusal"
    if (refused and not findings) or any(not isinstance(f["code"], int) or f["code"] == 9999 for f in findings):
        return None
    return str(said["type"])


async def test_white_space_before_a_message_is_not_part_of_its_evidence(course: Course) -> None:
    await course.issue(block(ISSUED + 1, ISSUED + 10))
    proposal = course.proposal(block(ISSUED + 1, ISSUED + 10))
    kind, body = course.source.compose("transfer.propose", [text(proposal)])
    assert (await course.source.post(kind, b"\r\n\t " + body)).items[0]["state"] == "proposed"
    await course.turn()
    [[offer]] = await course.stage.rows(
        "SELECT convert_from(body, 'UTF8')::jsonb ->> 'jws' FROM message WHERE direction = 'out' "
        f"AND message_id = (SELECT offer_id FROM transfer WHERE id = '{proposal['transfer']}')"
    )
    evidence = payload_of(offer.encode())["body"]["evidence"]
    assert [jws for jws in evidence if " " in jws] == []
    assert json.loads(body)["jws"] in evidence
