"""The evidence of a transfer that was really relayed: what is in it, what it proves, and to whom it is shown."""

import json

import pytest
import pytest_asyncio

from gateway.evidence.verify import verify
from tests.publishing import Press
from tests.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def press(shared: Stage) -> Press:
    return Press(shared)


async def relayed(stage: Stage, press: Press) -> str:
    """A transfer that was relayed to its end and published on the way."""
    await press.publish()
    held = await stage.issue(net=100, series=f"EV{await stage.count('transfer')}")
    [transfer] = await stage.propose(held)
    await press.publish()
    assert await stage.relay([transfer]) == ["completed"]
    await press.publish()
    return transfer


async def test_a_relayed_transfer_verifies(shared: Stage, press: Press) -> None:
    transfer = await relayed(shared, press)
    answer = await shared.api.get(f"/api/v1/transfers/{transfer}/evidence")
    assert answer.status_code == 200, answer.text
    report = verify(answer.content)
    assert report.valid, report.faults
    print([r.remark for r in report.results], len(answer.content))
    print(json.dumps(answer.json()["timeline"], indent=1))
    print({k: (len(v) if not isinstance(v, (str, int)) else v) for k, v in answer.json().items()})
