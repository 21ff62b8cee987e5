from datetime import UTC, datetime
from gateway.doctor.examination import examine
from gateway.doctor.scene import Own
from tests.played import Course, block
from tests.stage import Stage

async def test_x(stage: Stage) -> None:
    async def look():
        r = await examine(stage.gateway.database, Own.of(stage.gateway.node), stage.clock())
        print([(x.name,x.examined) for x in r.results])
        for name, remark in [*r.findings, *r.notes]: print(name, remark)
        assert r.fits
    await look()
    c = await Course.begun(stage)
    await look()
    await c.issue(block(1, 10))
    await look()
    p = c.proposal(block(3, 4))
    await c.propose(p); await look()
    await c.turn(); await look()
    t=[p["transfer"]]
    await c.accept(t); await look()
    await c.turn(); await look()
    await c.release(t); await look()
    await c.credit(t); await look()
    assert 0
