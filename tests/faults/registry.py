"""A sandbox registry that may be told at its start where to die: ``python -m tests.faults.registry``.

It behaves exactly as ``python -m connectors.sandbox``, and arms the crash point that ``FAULTS_CRASH`` names before
anything is done, because what happens at the start cannot be armed by the operator's side.
"""

import asyncio
import os

from connectors.sandbox import __main__ as program

#: Names the point, as ``GATEWAY_CRASH`` does for the gateway.
CRASH = "FAULTS_CRASH"


def main() -> None:
    """Run one registry until it is told to stop."""
    options = program._options()
    registry = program._registry(options)
    if point := os.environ.get(CRASH):
        registry.database.crash.arm(point, 1)
    host, _, port = options.listen.rpartition(":")
    asyncio.run(program._serve(registry, host, int(port)))


if __name__ == "__main__":
    main()
