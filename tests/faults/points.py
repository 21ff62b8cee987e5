"""Which course leads to which crash point: at the gateway, at the registry that passes it, and at other registries."""

from tests.faults import callers, comparing, historic, load, members, rotation
from tests.faults.courses import (
    Course,
    activate_until_pinned,
    back_up,
    calls,
    decides,
    end_one,
    fall_back,
    fetch_keys_again,
    have_them_asked,
    keep_a_window,
    kill_korea,
    leave_it,
    let_a_stranger_answer,
    let_the_lease_run,
    lie,
    meets,
    mend_it,
    propose_more,
    says,
    speaks_on,
    spoil_one,
    store_offers_one_by_one,
    tell_to_end,
    uses,
    wake_it,
)

ISSUE = members.issuance("MMR", "MMR-MORE", net=100)
MANY = [members.issuance("GHA", "GHA-MORE", net=100 + nr) for nr in range(20)]
ACCOUNT = {"party": "MMR", "account": "100-7"}
CANCELLED = {"party": "MMR", "account": members.OWN, "to_account": "300-1", "quantity": 1}
STATED = {"party": "MMR", "activity": "PoA 10471", "says": "all"}
REVERSED = {"party": "MMR", "resolved": True, "blocks": [
    {"origin": {"registry": "MEC01", "series": "MMR-OWN"}, "first": 1, "last": 1}
]}  # fmt: skip

_refuse_settle = meets("KOR01", "refuse-settle", "transfer.settle", 1)

#: KOR01 decides, nobody else: what is passed by that is passed while the transfers on all other arrows are under way.
_KOREA = Course(during=load.end_in_korea)

#: MEC01 tells of an issuance: its feeds are pulled at once.
_TOLD = Course(during=calls("MEC01", "POST", "issue", **ISSUE))

#: Of the gateway: what the ordinary load does not pass, or only at its end.
GATEWAY = {
    **dict.fromkeys(("decide.end_overdue", "decide.commit", "receive.transfer.voided"), _KOREA),
    **dict.fromkeys(("send.transfer.commit", "send.transfer.settle"), _KOREA),
    "receive.link.activate": Course(during=calls("KOR01", "POST", "activate")),
    "receive.link.keys": Course(during=rotation.of("MEC01")),
    "send.link.keys": Course(during=rotation.announce),
    **dict.fromkeys(("start", "log-keys"), Course(during=leave_it)),
    "receive.action.notice": Course(during=calls("MEC01", "POST", "issue", **ISSUE)),
    "receive.transfer.propose": Course(during=propose_more),
    "receive.transfer.answer": Course(mirrored=False),
    "receive.transfer.released": Course(during=load.end_in_korea, mirrored=True),
    "receive.transfer.credited": Course(during=load.end_in_korea, mirrored=False),
    "receive.history.query": Course(during=says("KOR01", "KOR01", "GWY01", "history.query")),
    **dict.fromkeys(("pull.lease", "pull.ask", "send.history.query", "absorb.history.page"), _TOLD),
    "pull.take-over": Course(during=leave_it),
    "pull.wait": Course(before=meets("MEC01", "lose-reply", "history.query", 4), during=_TOLD.during, needs="MEC01"),
    "send.history.deliver": _KOREA,
    **{
        name: Course(during=callers.have_books_compared)
        for name in (
            *(f"reconcile.{act}" for act in ("request", "lease", "begin", "ask", "mark", "cut", "take", "wait", "end")),
            *("absorb.cut.answer", "send.cut.query", "send.reconciliation.result"),
        )
    },
    "reconcile.take-over": Course(during=leave_it),
    "receive.time.query": Course(during=says("MEC01", "MEC01", "GWY01", "time.query")),
    "receive.other": Course(during=says("MEC01", "MEC01", "GWY01", "transfer.settle")),
    "request": Course(during=load.request),
    "token-key": Course(before=callers.renew_the_token_key, during=leave_it),
    "token": Course(during=callers.ask_for_tokens),
    "access": Course(during=callers.add_clients),
    "call": Course(during=callers.call_for_history),
    **dict.fromkeys(
        ("view", "send.positions.query", "absorb.positions.answer"), Course(during=callers.look_at_holdings)
    ),
    "absorb.transfer.answer": Course(afterwards=propose_more, mirrored=True),
    "absorb.transfer.credited": Course(during=load.end_in_korea, mirrored=True),
    "absorb.transfer.released": Course(during=load.end_in_korea, mirrored=False),
    "absorb.transfer.voided": Course(mirrored=False),
    "absorb.refusal": Course(before=meets("KOR01", "refuse", "transfer.offer", 2), needs="KOR01"),
    "absorb.other": Course(before=kill_korea, during=let_a_stranger_answer),
    "absorb.status.answer": Course(during=have_them_asked),
    "send.status.query": Course(during=have_them_asked),
    "ask": Course(during=have_them_asked),
    "end": Course(during=end_one),
    **dict.fromkeys(("decide.delay", "decide.reopen"), Course(during=keep_a_window)),
    "decide.record": Course(during=uses("MEC01", "MMR")),
    "send.action.record": Course(during=uses("MEC01", "MMR")),
    "send.action.notice": Course(during=uses("KOR01", "KOR")),
    "put-off": Course(before=spoil_one, during=mend_it),
    "renew": Course(before=store_offers_one_by_one, during=let_the_lease_run, needs="KOR01"),
    "wait": Course(before=meets("KOR01", "lose-reply", "transfer.offer", 4), needs="KOR01"),
    "sleep": Course(during=leave_it),
    "wake": Course(during=wake_it),
    "cosign": Course(during=speaks_on("worker")),
    "leave": Course(during=tell_to_end),
}
#: Of the registries: at whom it happens, and what the ordinary load does not pass, or only at its end.
REGISTRY = {
    "witness.checkpoint": ("MEC01", Course(during=speaks_on("MEC01"))),
    **dict.fromkeys(("receive.transfer.commit", "receive.transfer.cancel", "send.transfer.voided"), ("MEC01", _KOREA)),
    "receive.transfer.closed": ("MEC01", _KOREA),
    "receive.transfer.request": ("MEC01", Course(during=load.request)),
    "receive.transfer.offer": ("KOR01", Course(during=propose_more)),
    "receive.transfer.settle": ("KOR01", Course(during=load.end_in_korea)),
    "receive.link.keys": ("MEC01", Course(during=rotation.announce)),
    "send.link.keys": ("MEC01", Course(during=rotation.of("MEC01"))),
    "admin.rotate": ("MEC01", Course(during=rotation.of("MEC01"))),
    "receive.action.record": ("INT01", Course(during=uses("MEC01", "MMR"))),
    "receive.action.notice": ("INT01", Course(during=uses("KOR01", "KOR"))),
    "receive.time.query": ("MEC01", Course(during=says("GWY01", "gateway", "MEC01", "time.query"))),
    "receive.status.query": ("KOR01", Course(during=have_them_asked)),
    "receive.history.query": ("MEC01", Course(during=historic.asks("MEC01", "history.query"))),
    "receive.positions.query": ("MEC01", Course(during=historic.asks("MEC01", "positions.query"))),
    "receive.cut.query": ("MEC01", Course(during=comparing.cut)),
    "receive.reconciliation.result": ("MEC01", Course(during=comparing.tell)),
    "admin.books": ("MEC01", Course(during=calls("MEC01", "POST", "books/correct", **comparing.CORRECTED))),
    "receive.history.deliver": ("KOR01", Course(during=historic.deliver)),
    "start.history": ("MEC01", Course(before=historic.have_some_made)),
    "history.place": ("MEC01", Course(during=historic.asks("MEC01", "history.query"))),
    **{
        name: ("KOR01", Course(before=historic.have_some_for_korea, during=historic.leave_a_gap))
        for name in ("history.ask", "history.heard", "send.history.query")
    },
    "receive.refused": ("MEC01", Course(during=says("GWY01", "gateway", "MEC01", "transfer.answer"))),
    "duties.decide": ("KOR01", Course()),
    "duties.ask": ("MEC01", Course(during=calls("MEC01", "POST", "ask"))),
    "duties.heard": ("MEC01", Course(during=calls("MEC01", "POST", "ask"))),
    "send.transfer.answer": ("KOR01", Course()),
    "send.transfer.credited": ("KOR01", Course(during=load.end_in_korea, mirrored=False)),
    "send.transfer.propose": ("MEC01", Course(during=propose_more)),
    "send.transfer.released": ("MEC01", Course(during=load.end_in_korea, mirrored=True)),
    "send.link.activate": ("KOR01", Course(during=calls("KOR01", "POST", "activate"))),
    "send.action.notice": ("MEC01", Course(during=calls("MEC01", "POST", "issue", **ISSUE))),
    "send.keys": ("MEC01", Course(before=fetch_keys_again, during=activate_until_pinned)),
    "admin.activate": ("KOR01", Course(during=calls("KOR01", "POST", "activate"))),
    "admin.transfers": ("MEC01", Course(during=propose_more)),
    "admin.accounts": ("MEC01", Course(during=calls("MEC01", "POST", "accounts", **ACCOUNT))),
    "admin.issue": ("MEC01", Course(during=calls("MEC01", "POST", "issue", **ISSUE))),
    "admin.issuances": ("INT01", Course(during=calls("INT01", "POST", "issuances", issuances=MANY))),
    "admin.use": ("MEC01", Course(during=uses("MEC01", "MMR"))),
    "admin.cancel": ("MEC01", Course(during=calls("MEC01", "POST", "cancel", **CANCELLED))),
    "admin.actions": ("MEC01", Course(during=calls("MEC01", "POST", "reversals", **REVERSED))),
    "admin.authorisations": ("MEC01", Course(during=calls("MEC01", "POST", "statements", **STATED))),
    "admin.policy": ("KOR01", Course()),
    "admin.lies": ("MEC01", Course(during=lie)),
    "admin.backup": ("MEC01", Course(during=calls("MEC01", "POST", "backup"))),
    "admin.restore": ("MEC01", Course(before=back_up, during=calls("MEC01", "POST", "restore", known=False))),
    "admin.synchronise": ("MEC01", Course(before=fall_back, during=calls("MEC01", "POST", "synchronise"))),
    "admin.look": ("MEC01", Course(during=calls("MEC01", "GET", "books"))),
}
#: The same points at other registries, as (point, at whom): what sections, services and other Parties' registries do
#: while they are source, acquirer or both. Part of ``make faults`` alone.
ELSEWHERE = {
    **{("receive.transfer.offer", code): Course(during=load.propose_on_every_arrow) for code in ("INT01", "CHE01")},
    **{("send.transfer.propose", c): Course(during=load.propose_on_every_arrow) for c in ("INT01", "KOR01", "SRV01")},
    **{("receive.transfer.cancel", c): Course(during=load.propose_on_every_arrow) for c in ("INT01", "KOR01", "SRV01")},
    **{("receive.transfer.settle", code): Course(during=decides(code)) for code in ("INT01", "CHE01")},
    **{("receive.transfer.closed", code): Course(during=decides(code)) for code in ("INT01", "CHE01")},
    **{("duties.decide", code): Course(during=decides(code)) for code in ("INT01", "CHE01")},
    **{("outbox.turn", code): Course(during=decides(code)) for code in ("INT01", "CHE01")},
    ("send.transfer.answer", "INT01"): Course(during=decides("INT01")),
    ("send.transfer.credited", "INT01"): Course(during=decides("INT01"), mirrored=False),
    ("send.transfer.credited", "CHE01"): Course(during=decides("CHE01"), mirrored=True),
    ("receive.transfer.commit", "INT01"): Course(during=decides("CHE01")),
    ("receive.transfer.commit", "KOR01"): Course(during=decides("CHE01")),
    ("receive.transfer.commit", "SRV01"): Course(during=decides("INT01")),
    ("receive.transfer.closed", "SRV01"): Course(during=decides("INT01")),
    ("send.transfer.released", "INT01"): Course(during=decides("CHE01"), mirrored=False),
    ("send.transfer.released", "SRV01"): Course(during=decides("INT01"), mirrored=True),
    ("receive.status.query", "INT01"): Course(during=have_them_asked),
    ("send.action.notice", "INT01"): Course(during=uses("INT01", "THA")),
    ("send.action.notice", "KOR01"): Course(during=uses("KOR01", "KOR")),
    **{("start.open", code): Course(during=leave_it) for code in ("INT01", "SRV01", "CHE01")},
}
