"""What is long, and has a shorter twin that ``make test`` runs: tried with ``FAULTS=long`` in the environment.

``make faults`` does so after its crash points; ``FAULTS=long make test ARGS=tests/faults/test_chaos.py`` does it alone.
"""

import os

import pytest

LONG = bool(os.environ.get("FAULTS"))
#: For a test that is run only then.
only = pytest.mark.skipif(not LONG, reason="long; a shorter one is run: FAULTS=long, or make faults, runs this too")
