"""Keys of a link are added and revoked by two persons, and what cannot be is refused before anybody approves it."""

import httpx

from tests.deciding import approved, asked, decided
from tests.integration.test_sandbox_play import Party, uuid7
from tests.stage import Stage


def refused(answer: httpx.Response, status: int, code: int) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_keys_are_added_and_revoked_by_two(stage: Stage) -> None:
    await stage.link("KOR01", "party", "KOR", activate=False)
    party = Party("KOR01")
    keys, kid = party.jwks()["keys"], party.key.thumbprint()
    waiting = (await asked(stage, "links/KOR01/keys", keys=keys)).json()
    assert kid in waiting["canonical"]
    assert (await approved(stage, waiting)).json()["result"] == {"link": "KOR01", "keys": [kid]}
    refused(await asked(stage, "links/KOR01/keys", keys=keys), 409, 3002)
    done = await decided(stage, f"links/KOR01/keys/{kid}/revoke", reason="superseded")
    assert done["result"]["revoked"] == "superseded"
    refused(await asked(stage, f"links/KOR01/keys/{kid}/revoke", reason="superseded"), 409, 3002)
    refused(await asked(stage, f"links/KOR01/keys/{uuid7()}/revoke", reason="superseded"), 404, 3001)
    assert (await asked(stage, f"links/KOR01/keys/{kid}/revoke", reason="lost")).status_code == 422
    for bad in ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"):
        refused(await asked(stage, "links/KOR01/keys", keys=Party("KOR01").jwks()["keys"], not_after=bad), 422, 2001)
        refused(await asked(stage, f"links/KOR01/keys/{kid}/revoke", reason="compromised", since=bad), 422, 2001)
        refused(await asked(stage, "links/KOR01/restored", keys=keys, since=bad), 422, 2001)
    private = {**keys[0], "d": "x"}
    refused(await asked(stage, "links/KOR01/keys", keys=[private]), 400, 1007)
    listed = (await asked(stage, "links/KOR01/keys", "GET")).json()
    assert [key["revoked"] for key in listed if key["kid"] == kid] == ["superseded"]
