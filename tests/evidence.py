"""Evidence for tests: a transfer that was relayed and published, and the bundle of one that is kept as a file.

``python -m tests.evidence`` relays a transfer between real registries and writes its bundle to ``KEPT`` anew; that is
needed when what a bundle says is changed. All units are synthetic.
"""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from gateway import embedded
from tests import stage as staging
from tests.publishing import Press
from tests.stage import Stage

KEPT = Path(__file__).parent / "vectors" / "evidence" / "completed.json"


async def relayed(press: Press, *quantities: int, **changes: Any) -> list[str]:
    """Transfers of these quantities that were proposed together and relayed to their end, published on the way."""
    stage = press.stage
    await press.publish()
    await stage.issue(net=sum(quantities), series=f"EVIDENCE{await stage.count('transfer')}")
    transfers = await stage.propose(*quantities, **changes)
    await press.publish()
    assert set(await stage.relay(transfers)) == {"completed"}
    await press.publish()
    return transfers


async def bundle(stage: Stage, transfer: str) -> bytes:
    """The evidence of a transfer, as the operator API gives it."""
    answer = await stage.api.get(f"/api/v1/transfers/{transfer}/evidence")
    assert answer.status_code == 200, answer.text
    return answer.content


async def _make() -> bytes:
    with tempfile.TemporaryDirectory(prefix="gateway-evidence-") as folder:
        with embedded.running(Path(folder)) as server:
            staging.make_template(server)
            async with staging.opened(server, Path(folder)) as stage:
                await stage.link("MEC01", "mechanism")
                await stage.link("KOR01", "party", "KOR", answer="message")
                [transfer, _] = await relayed(Press(stage), 60, 40)
                made = await bundle(stage, transfer)
        embedded.remove(Path(folder))
    return made


if __name__ == "__main__":
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_bytes(asyncio.run(_make()) + b"\n")
    print(json.loads(KEPT.read_text())["transfer"])
