"""Measures the program as it is run; ``python -m tests.bench`` prints one JSON. All units are synthetic.

``network`` starts everything as processes, ``figures`` lets transfers happen and times them, ``gate`` says whether a
run counts, ``arithmetic`` makes figures of what was timed. ``reference`` and ``bare`` measure what the figures are
held against, ``program`` is a gateway or registry that is watched from inside (``watching``).
"""
