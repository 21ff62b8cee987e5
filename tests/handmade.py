"""Messages in a linked registry's name that its program would never send, signed with its real key.

They are composed with joserfc alone (``test_sandbox_play.Party``), and what the gateway answers is verified with
the key set it published.
"""

import json
from typing import Any

from joserfc.jwk import KeySet, OKPKey

from tests.integration import test_sandbox_play as play
from tests.stage import Stage

#: Far beyond what the registry itself has numbered, so that the two never use one number.
FIRST_NUMBER = 1_000_000


def signer(stage: Stage, code: str) -> play.Party:
    """Somebody who holds the key of the registry ``code``."""
    party = play.Party(code)
    party.key = OKPKey.import_key((stage.folder / f"{code}.pem").read_bytes())
    party.seq = FIRST_NUMBER
    return party


async def say(stage: Stage, party: play.Party, message_type: str, items: list[str], **changes: Any) -> play.Heard:
    """Post a message to the gateway and read its answer."""
    _, kind, body = party.compose("GWY01", message_type, items, **changes)
    response = await stage.http.post(f"{stage.link_url}/messages", content=body, headers={"content-type": kind})
    assert response.status_code == 200, response.text
    keys = KeySet.import_key_set(json.loads((stage.folder / "GWY01.jwks").read_text()))
    return play.read(response.headers["content-type"], response.content, keys)
