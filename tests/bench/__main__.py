"""``python -m tests.bench``: measures the relay as it is run and prints one JSON.

The reference is pgbench on the same server with the relay idle and synchronous_commit on, so the ratio carries over to
other machines better than the figures do. Everything shares this machine's cores. No number is printed of a run that
fails the gate: the command says why and ends with 1. All units are synthetic.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench import (
    auditing,
    checking,
    comparing,
    figures,
    fingerprinting,
    gate,
    judging,
    log_verify,
    memory,
    network,
    positions,
    profiled,
    pulling,
    reference,
    slow_peer,
    tree,
    watching,
)
from tests.bench.arithmetic import percentile, spread
from tests.bench.network import Network


def main() -> None:
    """Measure what is wanted, print the JSON."""
    wanted = _options()
    found: dict[str, Any] = {}
    profiles: list[str] = []
    try:
        for measure in _measures(wanted, profiles):
            with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
                found |= measure(Path(folder))
    except gate.Failed as failure:
        print(failure, file=sys.stderr)
        raise SystemExit(1) from None
    if wanted.profile:
        wanted.profile.write_text("\n".join(profiles))
    print(json.dumps(found | {"measured": _measured(wanted)}, indent=1, ensure_ascii=False))
    broken = [name for name in ("memory.flat", "slow_peer.holds") if found.get(name) is False]
    if broken:
        raise SystemExit(f"not so: {', '.join(broken)}")


def _measures(wanted: argparse.Namespace, profiles: list[str]) -> Iterator[Callable[[Path], dict[str, Any]]]:
    """What is to be measured, each on a network of its own in a new folder."""
    if {"a", "b", "c"} & set(wanted.only):
        yield lambda folder: _on(folder, lambda running: _Bench(running, wanted, profiles).measured())
    if "k" in wanted.only:
        yield lambda folder: _on(folder, lambda running: checking.measured(running, wanted.runs, wanted.transfers))
    if "h" in wanted.only:
        book = positions.Wanted(wanted.positions, wanted.transfers, wanted.runs, bool(wanted.profile))
        yield lambda folder: positions.measured(folder, book, profiles)
    if "j" in wanted.only:
        yield lambda folder: judging.measured(folder, wanted.runs)
    if {"e", "p"} & set(wanted.only):
        yield lambda folder: tree.measured(folder, wanted.runs, wanted.entries, wanted.leaves, "".join(wanted.only))
    if "v" in wanted.only:
        yield lambda folder: log_verify.measured(folder, wanted.runs, wanted.leaves)
    if "d" in wanted.only:
        yield lambda folder: pulling.measured(folder, wanted.runs, wanted.records)
    if "f" in wanted.only:
        yield lambda folder: fingerprinting.measured(folder, wanted.runs, wanted.book)
    if "x" in wanted.only:
        yield lambda folder: auditing.exports(folder, wanted.rows)
    if "u" in wanted.only:
        yield lambda folder: auditing.units(folder, wanted.rows)
    if "r" in wanted.only:
        yield lambda _: comparing.measured(wanted.blocks)
    if wanted.memory:
        yield lambda folder: _on(folder, lambda running: memory.measured(running, wanted.memory))
    if wanted.slow_peer:
        yield lambda folder: _on(
            folder, lambda running: slow_peer.measured(running, wanted.transfers, wanted.runs), slow_peer.MEMBERS
        )


def _on(
    folder: Path, measure: Callable[[Network], dict[str, Any]], members: Sequence[network.Member] = network.MEMBERS
) -> dict[str, Any]:
    with network.running(folder, members) as running:
        return measure(running)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", help="which figures (a,b,c,d,e,f,h,j,k,p,r,u,v,x), for example a,c")
    parser.add_argument("--runs", type=int, help="runs of each figure (5)")
    parser.add_argument("--transfers", type=int, help="transfers of a run of (a) and of (b) (10,000)")
    parser.add_argument("--alone", type=int, help="transfers of a run of (c) (100)")
    parser.add_argument("--seconds", type=int, help="length of a pgbench run (30)")
    parser.add_argument("--positions", help="sizes of the book of (h) (1000000), for example 100000,1000000")
    parser.add_argument("--blocks", help="sizes of the books of (r) (10000,100000,1000000); 10000000 takes 5 GB")
    parser.add_argument("--book", help="sizes of the book of (f) (10000,100000,1000000); 10000000 takes half an hour")
    parser.add_argument("--entries", type=int, default=100_000, help="entries of a run of (e) (100,000)")
    parser.add_argument("--leaves", type=int, default=1_000_000, help="leaves of the tree of (p), of the log of (v)")
    parser.add_argument("--rows", type=int, help="entries of (x) and blocks of (u) (1,000,000)")
    parser.add_argument("--records", type=int, help="records of (d) (100,000); 1000000 for a registry's whole history")
    parser.add_argument("--memory", action="store_true", help=f"whether memory stays flat, over {memory.TRANSFERS:,}")
    parser.add_argument("--slow-peer", action="store_true", help="what the others manage beside a slow peer")
    parser.add_argument("--quick", action="store_true", help="one short run of each, to see that it works")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="write where the time goes")
    wanted = parser.parse_args()
    usual = (
        {
            "runs": 1,
            "transfers": 2_000,
            "alone": 30,
            "seconds": 5,
            "positions": "100000",
            "blocks": "10000,100000",
            "book": "10000,100000",
            "rows": 100_000,
            "records": 20_000,
        }
        if wanted.quick
        else {}
    )
    usual = {
        "runs": 5,
        "transfers": 10_000,
        "alone": 100,
        "seconds": 30,
        "positions": "1000000",
        "blocks": "10000,100000,1000000",
        "book": "10000,100000,1000000",
        "rows": 1_000_000,
        "records": 100_000,
        **usual,
    }
    for name, value in usual.items():
        if getattr(wanted, name) is None:
            setattr(wanted, name, value)
    if wanted.only is None:
        wanted.only = "" if wanted.memory or wanted.slow_peer else "a,b,c,d,e,f,h,j,k,p,r,u,v,x"
    wanted.only = wanted.only.split(",")
    if wanted.memory:
        wanted.memory = 10 * wanted.transfers if wanted.quick else memory.TRANSFERS
    wanted.blocks = [int(size) for size in wanted.blocks.split(",")]
    wanted.positions = [int(size) for size in wanted.positions.split(",")]
    wanted.book = [int(size) for size in wanted.book.split(",")]
    return wanted


class _Bench:
    """One use of the command: rounds of everything that is wanted, so that each sees the same machine."""

    def __init__(self, running: Network, wanted: argparse.Namespace, profiles: list[str]) -> None:
        self._network, self._wanted, self._profiles = running, wanted, profiles
        self._cpu: dict[str, dict[str, float]] = {}
        self._course: list[str] = []

    def measured(self) -> dict[str, Any]:
        """The JSON."""
        wanted, running = self._wanted, self._network
        running.issue(100 * wanted.runs * wanted.transfers)
        reference.prepare(running.server)
        figures.together(running, figures.WARM_UP)
        rounds = [self._round(nr) for nr in range(wanted.runs)]
        found: dict[str, Any] = {}
        spreads: dict[str, Any] = {}
        for key in rounds[0]["figures"]:
            spreads[key] = spread([r["figures"][key] for r in rounds])
            found[key] = spreads[key]["median"]
        found["spread"] = spreads
        for name in rounds[0]["more"]:
            found[name] = rounds[-1]["more"][name]
        if "c" in wanted.only:
            found["relay.single_bare"] = profiled.bare(running)
            self._course = found["relay.single_bare"].pop("course")
        if wanted.profile:
            inside = profiled.profile(running, wanted.only, wanted.transfers)
            course = "\n".join(["# The course of one transfer alone, watched", "", *self._course, ""])
            self._profiles += [watching.cpu_report(self._cpu), course, inside]
        return found

    def _round(self, nr: int) -> dict[str, dict[str, Any]]:
        running, wanted = self._network, self._wanted
        _say(f"round {nr + 1} of {wanted.runs}")
        values: dict[str, float] = {"pgbench.tps": reference.tps(running.server, wanted.seconds)}
        more: dict[str, Any] = {}
        if "a" in wanted.only:
            run = self._watched("(a) batches", lambda: figures.together(running, wanted.transfers))
            values["relay.transfers_per_second"] = run.per_second
            values["relay.ratio"] = run.per_second / values["pgbench.tps"]
            values["relay.cpu_ms_per_transfer"] = self._cpu_ms("(a) batches", run.transfers)
            more["relay.batches_outgoing"] = run.outgoing
        if "b" in wanted.only:
            run = self._watched("(b) singles", lambda: figures.singles(running, wanted.transfers))
            values["relay.singles_per_second"] = run.per_second
            values["relay.cpu_ms_per_single"] = self._cpu_ms("(b) singles", run.transfers)
            values["relay.messages_per_transfer"] = run.outgoing["messages"] / run.transfers
            values["relay.transfers_per_message"] = run.outgoing["transfers_per_message"]
            more["relay.singles_outgoing"] = run.outgoing
        if "c" in wanted.only:
            taken = self._watched("(c) alone", lambda: figures.alone(running, wanted.alone))
            values["relay.single_p50_ms"], values["relay.single_p99_ms"] = percentile(taken, 50), percentile(taken, 99)
        _say(", ".join(f"{name} {value:.4g}" for name, value in values.items()))
        return {"figures": values, "more": more}

    def _cpu_ms(self, what: str, transfers: int) -> float:
        """CPU time of everything that ran for it, PostgreSQL included: what a busy machine does not change."""
        return 1000 * sum(self._cpu[what].values()) / transfers

    def _watched(self, what: str, measure: Callable[[], Any]) -> Any:
        with watching.cpu(self._network) as used:
            found = measure()
        self._cpu[what] = used
        return found


def _measured(wanted: argparse.Namespace) -> dict[str, Any]:
    """On what, and how much of it."""
    return {
        "runs": wanted.runs,
        "transfers_per_run": wanted.transfers,
        "alone_per_run": wanted.alone,
        "parties": ["GWY01", *(f"{m.code} (answers by {m.answer})" for m in network.MEMBERS)],
        "pgbench": f"-i -s {reference.SCALE}; -M prepared -c {reference.CLIENTS} -j {reference.THREADS} "
        f"-T {wanted.seconds}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "postgresql": reference.server_version(),
        "gateway": version("article6-gateway"),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
