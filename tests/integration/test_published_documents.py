"""Requests that the published documents allow, and almost allow, with and without credentials.

schemathesis makes them, others every day (``A6_SEED`` repeats those of one). No answer is an internal fault or has a
status or shape that the document does not show, and without a token nothing but what is everybody's is read.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
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
AUDIT: dict[str, Any] = json.loads((OPENAPI / "audit.json").read_text())
LINK: dict[str, Any] = yaml.safe_load((OPENAPI / "link.yaml").read_text())
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
#: Requests for each operation, as it may be called and as it may not; more where it is given text.
EXAMPLES, OF_TEXT = 40, 60
#: Another one every day; ``A6_SEED`` repeats one.
SEED = int(os.environ.get("A6_SEED") or datetime.now(UTC).strftime("%Y%m%d"))
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
        print(f"seed {SEED}")
        schema = schemathesis.openapi.from_dict(document)
        schema.config.update(base_url=self.url)
        heard: Counter[int] = Counter()
        for found in schema.get_all_operations():
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

                @seed(SEED)
                @given(case=found.ok().as_strategy(generation_mode=mode))
                @settings(
                    max_examples=_examples(found), deadline=None, database=None, phases=[Phase.generate],
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


@pytest.mark.parametrize("caller", [ROOT, KOREAN], ids=["root", "korean"])
async def test_auditors_get_what_the_document_shows(shared: Stage, caller: Caller) -> None:
    asked = Asked(shared.operator_url, {"authorization": await shared.authorization(caller)})
    heard = await asyncio.to_thread(asked.everything, AUDIT)
    assert {400, 422} <= set(heard) and heard.total() > EXAMPLES * len(list(operations(AUDIT))), heard


async def test_the_audit_document_is_served_to_everyone(shared: Stage) -> None:
    answer = await shared.http.get(f"{shared.operator_url}/api/v1/audit/openapi.json")
    assert answer.status_code == 200 and answer.json() == AUDIT


@pytest.mark.parametrize(
    "query",
    [
        "alarms?link=%00", "alarms?link=%ED%A0%80", "alarms?before=9223372036854775808", f"alarms?before={10**4000}",
        "records?before=100000000000000000000000", "transfers?before=%00", "clients?after=%00", "people?after=%C2%85",
        "approvals?before=%00", "links/%00", "links/%00/keys", "messages/%00/key", "transfers/%00",
        "approvals/%00", f"alarms?limit={10**30}",
    ],
)  # fmt: skip
async def test_what_no_column_holds_is_refused(shared: Stage, query: str) -> None:
    for caller in (ROOT, KOREAN):
        answer = await (await shared.calling(caller)).get(f"/api/v1/{query}")
        assert answer.status_code in (400, 403, 422), answer.text
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800", "\\udfff\\ud800"])
async def test_what_no_text_holds_is_refused_wherever_it_is(shared: Stage, text: str) -> None:
    asked = await shared.calling(ROOT)
    headers = {"content-type": "application/json", "idempotency-key": "k"}
    for method, path, operation in operations(OPERATOR):
        if "requestBody" not in operation or "security" not in operation:
            continue
        for body in _spoiled(operation["requestBody"]["content"]["application/json"]["schema"], text):
            answer = await asked.request(method, path.replace("{code}", "KOR01"), content=body, headers=headers)
            assert answer.status_code in (400, 403, 404, 409, 422), (path, body, answer.text)


def _spoiled(schema: dict[str, Any], text: str) -> Iterator[str]:
    """Bodies in which each member in turn is, holds or is named this text; the others are as they may be."""
    shape = OPERATOR["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    plain = {name: json.dumps(_plain(member)) for name, member in shape["properties"].items()}
    for name in shape["properties"]:
        for bad in (f'"{text}"', f'["{text}"]', f'[{{"kty": "{text}"}}]', f'[{{"{text}": 1}}]', f'{{"{text}": null}}'):
            yield _object(plain | {name: bad})
    yield _object(plain | {text: "1"})


def _object(members: dict[str, str]) -> str:
    return "{" + ", ".join(f'"{name}": {value}' for name, value in members.items()) + "}"


def _plain(member: dict[str, Any]) -> Any:
    kinds: dict[str, Any] = {"array": [], "object": {}, "integer": 1}
    return member.get("examples", [kinds.get(member.get("type", ""), "x")])[0]


@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer x", "Basic cm9vdDpyb290", "bearer e30.e30.e30"])
async def test_nothing_is_read_without_a_token(shared: Stage, authorization: str | None) -> None:
    headers = {"authorization": authorization} if authorization else {}
    for method, path, operation in (*operations(OPERATOR), *operations(AUDIT)):
        if "security" in operation:
            answer = await shared.http.request(method, f"{shared.operator_url}{path}", headers=headers, json={})
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json().keys() <= {"type", "title", "status", "detail", "code", "reason"}


async def test_registries_get_what_the_contract_shows(shared: Stage) -> None:
    for kind in ("application/jose", "application/a6link+json"):
        schemathesis.serializer(kind)(_as_it_is)
    asked = Asked(shared.link_url, {})
    heard = await asyncio.to_thread(asked.everything, LINK)
    assert {200, 400} <= set(heard), heard


def _examples(found: Any) -> int:
    """How many requests are made for an operation."""
    told = found.ok().definition.raw
    text = "requestBody" in told or any("string" in json.dumps(p["schema"]) for p in told.get("parameters", []))
    return OF_TEXT if text else EXAMPLES


def _as_it_is(_context: Any, value: Any) -> bytes:
    return (
        value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else json.dumps(value).encode()
    )
