"""Lies about a cut."""

from collections.abc import Mapping
from typing import Any

from .registry import Registry


def told(registry: Registry, taken: Mapping[str, Any]) -> dict[str, Any]:
    return dict(taken)


def nodes(registry: Registry, said: Mapping[str, Any]) -> dict[str, Any]:
    return dict(said)
