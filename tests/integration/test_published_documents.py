"""Requests that the published documents allow, and almost allow, with and without credentials.

schemathesis makes them. No answer is an internal fault or has a status or shape that the document does not show, and
without a token nothing but what is everybody's is read.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.domain.callers import Caller, Scope, Sight
from tests.stage import ROOT, Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPENAPI = Path(__file__).parents[2] / "openapi"
OPERATOR: dict[str, Any] = json.loads((OPENAPI / "operator.json").read_text())
LINK: dict[str, Any] = yaml.safe_load((OPENAPI / "link.yaml").read_text())
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
#: Requests for each operation, as it may be called and as it may not.
EXAMPLES = 40
KOREAN = Caller("korean", person=True, sight=Sight("KOR01", "KOR"), scopes=frozenset(Scope))


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of every operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


@dataclass
class Asked:
    """Somebody who sends what schemathesis makes."""

    url: str
    headers: dict[str, str]

    def everything(self, document: dict[str, Any]) -> Counter[int]:
        """Call every operation in both ways; the statuses of the answers."""
        schema = schemathesis.openapi.from_dict(document)
        schema.config.update(base_url=self.url)
        heard: Counter[int] = Counter()
        for found in schema.get_all_operations():
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

                @given(case=found.ok().as_strategy(generation_mode=mode))
                @settings(
                    max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate], derandomize=True,
                    suppress_health_check=list(HealthCheck),
                )  # fmt: skip
                def call(case: Any) -> None:
                    answer = case.call(headers=self.headers, timeout=60)
                    case.validate_response(answer, checks=CHECKS)
                    heard[answer.status_code] += 1

                with suppress(Unsatisfiable):  # nothing can be wrong in a call without parameters
                    call()
        return heard


@pytest.mark.parametrize("caller", [ROOT, KOREAN], ids=["root", "korean"])
async def test_operators_get_what_the_document_shows(shared: Stage, caller: Caller) -> None:
    asked = Asked(shared.operator_url, {"authorization": await shared.authorization(caller)})
    heard = await asyncio.to_thread(asked.everything, OPERATOR)
    assert {200, 400, 422} <= set(heard), heard
    assert heard.total() > EXAMPLES * len(list(operations(OPERATOR))), heard


@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer x", "Basic cm9vdDpyb290", "bearer e30.e30.e30"])
async def test_nothing_is_read_without_a_token(shared: Stage, authorization: str | None) -> None:
    headers = {"authorization": authorization} if authorization else {}
    for method, path, operation in operations(OPERATOR):
        if "security" in operation:
            answer = await shared.http.request(method, f"{shared.operator_url}{path}", headers=headers, json={})
            assert answer.status_code in (401, 422), (method, path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json().keys() <= {"type", "title", "status", "detail", "code", "reason"}


async def test_registries_get_what_the_contract_shows(shared: Stage) -> None:
    for kind in ("application/jose", "application/a6link+json"):
        schemathesis.serializer(kind)(_as_it_is)
    asked = Asked(shared.link_url, {})
    heard = await asyncio.to_thread(asked.everything, LINK)
    assert {200, 400} <= set(heard), heard


def _as_it_is(_context: Any, value: Any) -> bytes:
    return (
        value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else json.dumps(value).encode()
    )
