"""A gateway's worker with an empty table of checks, for measuring what the checks cost; it stands nowhere else.

There is no such gateway: nothing of the product can turn a check off, so the table is emptied from outside, in this
process alone. Behaves as ``python -m gateway`` otherwise.
"""

import runpy

from gateway.domain import checks

if __name__ == "__main__":
    checks.check = lambda _proposal, _facts: ()  # type: ignore[assignment]
    runpy.run_module("gateway", run_name="__main__", alter_sys=True)
