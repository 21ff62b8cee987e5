"""What a gateway sent over the link, held against ``openapi/link.yaml``: every payload, and the texts of its items.

Reads the stored bytes and nothing of the gateway, so what is wrong in how it writes messages cannot hide here.
"""

import base64
import hashlib
import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

CONTRACT = yaml.safe_load((Path(__file__).parents[1] / "openapi" / "link.yaml").read_text("utf-8"))
#: A thousand items of one message are alike.
CHECKED = 20


async def sent_as_agreed(stage: Any) -> None:
    """Fail on the first message of the gateway that the contract does not allow."""
    for peer, body in await stage.rows("SELECT peer, body FROM message WHERE direction = 'out' ORDER BY entry_id"):
        _allowed(str(peer), bytes(body))


def _allowed(peer: str, body: bytes) -> None:
    wrapper = json.loads(body) if body[:1] == b"{" else {"jws": body.decode(), "items": []}
    texts = wrapper["items"]
    part = wrapper["jws"].split(".")[1]
    payload = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    schema = f"Payload.{payload['type']}"
    _valid(schema, payload)
    assert payload["to"] == peer
    if payload["type"] != "history.page":  # kept without its texts
        assert payload.get("items", []) == [_sha256(t) for t in texts]
    rule = CONTRACT["components"]["schemas"][schema].get("x-link", {})
    kinds = Counter(json.loads(t)["kind"] for t in texts)
    assert set(kinds) <= {rule.get("own"), *rule.get("carries", ())}, f"{payload['type']} with {kinds}"
    # What it carries are others' words, quoted to the letter whatever they are.
    for text in texts[: min(kinds[rule.get("own")], CHECKED)]:
        _valid(f"Item.{rule['own']}", json.loads(text))


def _valid(schema: str, value: Any) -> None:
    fault = next(_validator(schema).iter_errors(value), None)
    assert fault is None, f"not a {schema}: {fault.message} at {list(fault.absolute_path)} of {str(value)[:300]}"


@cache
def _validator(name: str) -> Draft202012Validator:
    reference = {"$ref": f"#/components/schemas/{name}", "components": CONTRACT["components"]}
    return Draft202012Validator(reference)


def _sha256(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
