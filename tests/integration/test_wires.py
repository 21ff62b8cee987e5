"""The relay over two wires: the link protocol, and the one shaped like the Kyoto standards, on either side or both.

Registries and gateway are those of every other test; only what is said between them is written otherwise. Whatever the
gateway signed is the same, and is held against the contract at the end.
"""
