"""A registry with one feed of very many records, as a program: ``python -m tests.bench.feed_source FOLDER RECORDS``.

All but the signature of a page is made before it is asked for, so that what is measured is who pulls. It prints its
address when it is ready. Records come in pairs, a transfer to Korea and how its units came to be; all are synthetic.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from joserfc import jws
from joserfc.jwk import OKPKey

from tests import feeding
from tests.feeding import KOREA, encoded, issuance, raw, record
from tests.integration.test_sandbox_play import Party, sha

PAGE = 1_000


def page(first: int, number: int, before: bytes) -> tuple[dict[str, Any], list[str], str, bytes]:
    """The body of a page, the hashes and the texts (as JSON) of its records, and the digest behind it."""
    units = range(10 * first + 1, 10 * (first + number), 20)
    texts = [text for at in units for text in (record(at, at + 9), issuance(at, at + 9))]
    digest = before
    for text in texts:
        digest = feeding.hashlib.sha256(digest + raw(text)).digest()
    after = {"number": first, "digest": encoded(before)}
    body = {"of": "MEC01", "for": KOREA, "after": after, "until": {"number": first + number, "digest": encoded(digest)}}
    return body, [sha(text) for text in texts], json.dumps(texts, separators=(",", ":")), digest


def app(party: Party, records: int) -> FastAPI:
    pages: dict[int, tuple[dict[str, Any], list[str], str]] = {}
    digest = feeding.ZEROS
    for first in range(0, records, PAGE):
        body, hashes, texts, digest = page(first, PAGE, digest)
        pages[first] = ({**body, "more": first + PAGE < records}, hashes, texts)
    last = {"number": records, "digest": encoded(digest)}
    served = FastAPI()

    @served.post("/messages")
    async def messages(request: Request) -> Response:
        received = await request.body()
        query = json.loads(jws.extract_compact(received).payload)
        number = query["body"]["after"]["number"]
        reply = {"in_reply_to": {"id": query["id"], "sha256": sha(received)}}
        if number == records:
            body = {**pages[0][0], "after": last, "until": last, "more": False}
            _, kind, said = party.compose("GWY01", "history.page", body=body, **reply)
            return Response(said, media_type=kind)
        body, hashes, texts = pages[number]
        compact, _, _ = party.compose("GWY01", "history.page", body=body, items=hashes, **reply)
        return Response(f'{{"jws":"{compact}","items":{texts}}}', media_type="application/a6link+json")

    return served


async def main() -> None:
    folder, records = Path(sys.argv[1]), int(sys.argv[2])
    party = Party("MEC01")
    party.key = OKPKey.import_key(json.loads((folder / "source.jwk").read_text()))
    async with feeding.serving(app(party, records)) as url:
        print(url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
