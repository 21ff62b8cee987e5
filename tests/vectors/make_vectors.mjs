// Makes the golden vectors of the link: good/*.json and bad/*.json.
//
// What it is for: the gateway is held against messages signed by a JOSE library this project did not write (npm
// `jose`). The good ones are the messages of one story (story.mjs), each conforming in envelope, body and items.
// The bad ones are each wrong in one thing; what jose refuses to produce (unsigned, ill-formed, malformed JSON) is
// built by hand with node's crypto. Every name, unit and message here is synthetic, and the keys are test keys.
//
// Ed25519 vectors come out the same each time; ES256 signatures are random, so those files change when remade.
// Run: npm ci && npm run make. tests/unit/test_envelope.py and tests/unit/test_link_contract.py read the result.

import { createPrivateKey, sign as cryptoSign } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { KEYS, hash, header, jose, linkJson, registered, uuid } from "./signing.mjs";
import { cancellation, tell } from "./story.mjs";

const NOW = "2026-03-01T12:00:00.000Z";
const SENT_AT = "2026-03-01T11:59:59.500Z";
const ID = uuid(SENT_AT, 1);
const OTHER_ID = uuid(SENT_AT, 2);
const HASH = hash("synthetic");

function b64(data) { return Buffer.from(data).toString("base64url"); }

/** A message that is right (a registry that holds nothing activates its link), with changes; undefined takes away. */
function payload(changes = {}) {
  return { v: 1, id: ID, seq: 1, type: "link.activate", from: "MEC01", to: "GWY01", sent_at: SENT_AT, body: {}, ...changes };
}

/** Signed by hand: any header text, any payload bytes. */
function byHand(headText, payloadBytes, key = "ed") {
  const input = `${b64(headText)}.${b64(payloadBytes)}`;
  const secret = createPrivateKey({ key: KEYS[key], format: "jwk" });
  const signature = key === "ec"
    ? cryptoSign("sha256", Buffer.from(input), { key: secret, dsaEncoding: "ieee-p1363" })
    : cryptoSign(null, Buffer.from(input), secret);
  return `${input}.${b64(signature)}`;
}
function rawPayload(bytes) { return byHand(JSON.stringify(header()), bytes); }
function rawHeader(text) { return byHand(text, JSON.stringify(payload())); }
function withText(json) { return JSON.stringify(payload()).replace('"body":{}', `"body":${json}`); }

function item(n) { return JSON.stringify(cancellation(n, "2026-03-01T11:00:00.000Z")); }
const ITEMS = [57257, 57258, 57259].map(item);
const ANOTHER = item(57256);
function listing(items = ITEMS) { return payload({ type: "action.notice", items: items.map(hash) }); }

function flip(jws, part) {
  const parts = jws.split(".");
  const bytes = Buffer.from(parts[part], "base64url");
  bytes[bytes.length >> 1] ^= 1;
  parts[part] = bytes.toString("base64url");
  return parts.join(".");
}

const bad = [];
function refuse(fault, name, why, body, more = {}) { bad.push({ name, why, body, expect: fault, ...more }); }

// --- bad: what is not a message -----------------------------------------------------------------------------------
refuse("oversize", "oversize", "one byte above 8 MiB", undefined, { body_repeat: { text: "a", times: 8 * 1024 * 1024 + 1 } });
refuse("not-utf8", "body-not-utf8", "the body is not UTF-8", undefined, { body_base64: Buffer.from([0x7b, 0xff, 0x7d]).toString("base64") });
refuse("not-utf8", "payload-not-utf8", "the payload is not UTF-8",
  rawPayload(Buffer.concat([Buffer.from(withText('"').slice(0, -1)), Buffer.from([0xff]), Buffer.from('"}')])));
refuse("not-utf8", "lone-surrogate", "a string that has no UTF-8 form", rawPayload(withText('{"a":"\\ud800"}')));
refuse("not-json", "not-json", "a JSON body cut short", linkJson(await jose(listing()), ITEMS).slice(0, -1));
refuse("not-json", "payload-not-json", "a payload cut short", rawPayload(JSON.stringify(payload()).slice(0, -1)));
refuse("not-json", "byte-order-mark", "a payload with a byte order mark", rawPayload("\ufeff" + JSON.stringify(payload())));
refuse("duplicate-member", "duplicate-member", "to is given twice", rawPayload('{"to":"EVL01",' + JSON.stringify(payload()).slice(1)));
refuse("duplicate-member", "duplicate-member-escaped", "a name given twice in two spellings", rawPayload(withText('{"a":1,"\\u0061":2}')));
refuse("duplicate-member", "duplicate-jws", "the body gives jws twice", '{"jws":"",' + linkJson(await jose(listing()), ITEMS).slice(1));
refuse("duplicate-member", "duplicate-header", "alg is given twice", rawHeader('{"alg":"none",' + JSON.stringify(header()).slice(1)));
refuse("nan", "nan", "NaN", rawPayload(withText('{"a":NaN}')));
refuse("nan", "infinity", "-Infinity", rawPayload(withText('{"a":-Infinity}')));
refuse("nan", "beyond-double", "1e400 is infinite as a double", rawPayload(withText('{"a":1e400}')));
refuse("integer-too-large", "integer-too-large", "2^53", rawPayload(withText('{"a":9007199254740992}')));
refuse("integer-too-large", "integer-too-small", "-(2^53)", rawPayload(withText('{"a":-9007199254740992}')));
refuse("integer-too-large", "integer-huge", "5,000 digits", rawPayload(withText(`{"a":${"9".repeat(5000)}}`)));
refuse("too-deep", "depth-17", "seventeen levels", rawPayload(withText(`{"a":${"[".repeat(15)}${"]".repeat(15)}}`)));
refuse("too-deep", "depth-100000", "deeper than a parser's stack", undefined,
  { body_repeat: { text: '{"a":', times: 100000, then: "1", close: "}" } });
refuse("nul-character", "nul-character", "U+0000 cannot be stored as text", rawPayload(withText('{"a":"\\u0000"}')));
refuse("wrong-envelope", "envelope-unknown-member", "a member beside jws and items",
  JSON.stringify({ jws: await jose(listing()), items: ITEMS, note: "" }));
refuse("wrong-envelope", "envelope-without-items", "a message without items is the bare JWS", linkJson(await jose(payload()), []));
refuse("wrong-envelope", "envelope-jws-not-text", "jws is not a string", linkJson(1, ITEMS));
refuse("wrong-envelope", "envelope-item-not-text", "an item is an object, not its text", linkJson(await jose(listing()), ITEMS.map((text) => JSON.parse(text))));
{
  const [head, claims, signature] = (await jose(payload())).split(".");
  refuse("several-signatures", "general-serialisation", "JSON general serialisation",
    JSON.stringify({ payload: claims, signatures: [{ protected: head, signature }, { protected: head, signature }] }));
  refuse("several-signatures", "flattened-serialisation", "JSON flattened serialisation",
    JSON.stringify({ payload: claims, protected: head, signature }));
  refuse("not-a-jws", "two-parts", "no signature part", `${head}.${claims}`);
  refuse("not-a-jws", "padded", "base64url with padding", `${head}.${claims}.${signature}==`);
  refuse("not-a-jws", "line-feed", "a line feed after the signature", `${head}.${claims}.${signature}\n`);
  const last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const spelt = last[last.indexOf(signature.at(-1)) + 1];
  refuse("not-a-jws", "second-spelling", "the same signature bytes in another base64url spelling", `${head}.${claims}.${signature.slice(0, -1)}${spelt}`);
  refuse("algorithm-none", "algorithm-none", "alg none, no signature", `${b64(JSON.stringify(header({ alg: "none" })))}.${claims}.`);
  refuse("algorithm-none", "algorithm-none-capitals", "alg NoNe with a signature", rawHeader(JSON.stringify(header({ alg: "NoNe" }))));
  refuse("bad-signature", "signature-empty", "no signature bytes", `${head}.${claims}.`);
  refuse("bad-signature", "tampered-payload", "another to, the old signature", `${head}.${b64(JSON.stringify(payload({ to: "KOR01" })))}.${signature}`);
  refuse("bad-signature", "tampered-header", "the header spelt otherwise, the old signature", `${b64(JSON.stringify(header()) + " ")}.${claims}.${signature}`);
  refuse("bad-signature", "tampered-signature", "one bit of the signature", flip(await jose(payload()), 2));
}
refuse("not-a-jws", "text", "neither JSON nor a JWS", "hello");
refuse("not-a-jws", "empty", "an empty body", "");
refuse("not-a-jws", "payload-list", "the payload is a list", rawPayload("[]"));
refuse("not-a-jws", "header-list", "the header is a list", rawHeader("[]"));
refuse("extra-header", "header-crit", "crit", rawHeader(JSON.stringify(header({ crit: ["exp"], exp: 1 }))));
refuse("extra-header", "header-jwk", "the key to check with, brought along", rawHeader(JSON.stringify(header({ jwk: registered("ed").jwk }))));
refuse("extra-header", "header-b64", "RFC 7797", rawHeader(JSON.stringify(header({ b64: true }))));
refuse("missing-header", "no-kid", "no kid", await jose(payload(), "ed", { kid: undefined }));
refuse("missing-header", "kid-number", "kid is a number", rawHeader(JSON.stringify(header({ kid: 1 }))));
refuse("wrong-typ", "wrong-typ", "typ JWT: a token of another protocol", await jose(payload(), "ed", { typ: "JWT" }));
refuse("no-sender", "no-from", "no from", await jose(payload({ from: undefined })));
refuse("no-sender", "from-not-a-code", "from is no link code", await jose(payload({ from: "mec01" })));

// --- bad: what is not proven --------------------------------------------------------------------------------------
refuse("unknown-sender", "unknown-sender", "no key is registered for from", await jose(payload({ from: "XXX01" })));
refuse("unknown-kid", "unknown-kid", "signed with a key that is not registered", await jose(payload(), "other"));
refuse("unknown-kid", "key-of-another", "the key is registered, but for another sender", await jose(payload(), "other"),
  { keys: [registered("ed"), registered("other", { owner: "KOR01" })] });
refuse("wrong-algorithm", "eddsa-name", "EdDSA, the older name of RFC 8037", rawHeader(JSON.stringify(header({ alg: "EdDSA" }))));
refuse("wrong-algorithm", "algorithm-of-another-key", "ES256 announced for an Ed25519 key", rawHeader(JSON.stringify(header({ alg: "ES256" }))));
{
  const input = `${b64(JSON.stringify(header({ alg: "HS256" })))}.${b64(JSON.stringify(payload()))}`;
  const { createHmac } = await import("node:crypto");
  refuse("wrong-algorithm", "public-key-as-secret", "HS256 keyed with the public key",
    `${input}.${createHmac("sha256", Buffer.from(KEYS.ed.x, "base64url")).update(input).digest("base64url")}`);
}
refuse("bad-signature", "signed-by-another", "the right kid, another key's signature", byHand(JSON.stringify(header()), JSON.stringify(payload()), "other"));
refuse("bad-signature", "es256-zero", "r = s = 0", (await jose(payload(), "ec")).replace(/[^.]+$/, b64(Buffer.alloc(64))), { keys: [registered("ec")] });
{
  const input = `${b64(JSON.stringify(header({}, "ec")))}.${b64(JSON.stringify(payload()))}`;
  const der = cryptoSign("sha256", Buffer.from(input), createPrivateKey({ key: KEYS.ec, format: "jwk" }));
  refuse("bad-signature", "es256-der", "ES256 in DER instead of r||s", `${input}.${b64(der)}`, { keys: [registered("ec")] });
}
refuse("key-not-valid", "key-not-yet", "sent before the key's window", await jose(payload()), { keys: [registered("ed", { not_before: "2026-03-01T11:59:59.501Z" })] });
refuse("key-not-valid", "key-no-longer", "sent when the window had ended", await jose(payload()), { keys: [registered("ed", { not_after: "2026-03-01T11:59:59.500Z" })] });
refuse("key-revoked", "key-compromised", "arrived since the compromise, whatever time it claims", await jose(payload({ sent_at: "2026-02-01T00:00:00.000Z" })),
  { keys: [registered("ed", { revoked_at: "2026-03-02T00:00:00.000Z", revoked_reason: "compromised", compromised_since: NOW })] });
refuse("key-revoked", "key-restored", "said before a restore, arrived after it", await jose(payload()),
  { keys: [registered("ed", { revoked_at: NOW, revoked_reason: "restored" })] });
refuse("key-revoked", "key-superseded", "sent when the key was already superseded", await jose(payload()),
  { keys: [registered("ed", { revoked_at: "2026-03-01T11:59:59.500Z", revoked_reason: "superseded" })] });
refuse("key-revoked", "key-revoked-bad-time", "a revoked key and a time that cannot be read", await jose(payload({ sent_at: "yesterday" })),
  { keys: [registered("ed", { revoked_at: NOW, revoked_reason: "superseded" })] });
refuse("bad-id", "id-upper-case", "the id in capitals", await jose(payload({ id: ID.toUpperCase() })));
refuse("bad-id", "id-version-4", "a UUID of version 4", await jose(payload({ id: ID.replace("-7", "-4") })));
refuse("bad-id", "id-missing", "no id to answer", await jose(payload({ id: undefined })));
refuse("bad-id", "id-line-feed", "a line feed after the id", await jose(payload({ id: `${ID}\n` })));

// --- bad: what a proven sender got wrong --------------------------------------------------------------------------
refuse("wrong-version", "version-2", "v is 2", await jose(payload({ v: 2 })));
refuse("wrong-version", "version-true", "v is true, which some languages take for 1", await jose(payload({ v: true })));
refuse("unknown-member", "unknown-member", "a member of no version", await jose(payload({ priority: "high" })));
for (const name of ["v", "type", "to", "sent_at", "body", "seq"]) {
  refuse("missing-member", `missing-${name.replace("_", "-")}`, `no ${name}`, await jose(payload({ [name]: undefined })));
}
refuse("missing-member", "missing-in-reply-to", "a receipt of nothing", await jose(payload({ type: "receipt" })));
refuse("wrong-type", "seq-text", "seq is text", await jose(payload({ seq: "1" })));
refuse("wrong-type", "seq-zero", "seq starts at 1", await jose(payload({ seq: 0 })));
refuse("wrong-type", "seq-fraction", "seq is 1.0", rawPayload(JSON.stringify(payload()).replace('"seq":1', '"seq":1.0')));
refuse("wrong-type", "seq-true", "seq is true", await jose(payload({ seq: true })));
refuse("wrong-type", "body-null", "body is null", await jose(payload({ body: null })));
refuse("wrong-type", "type-number", "type is a number", await jose(payload({ type: 1 })));
refuse("wrong-type", "to-list", "to is a list", await jose(payload({ to: ["GWY01"] })));
refuse("wrong-type", "items-empty", "items is an empty list", await jose(payload({ items: [] })));
refuse("wrong-type", "in-reply-to-text", "in_reply_to is text", await jose(payload({ type: "receipt", in_reply_to: ID })));
refuse("wrong-type", "evidence-objects", "evidence is not a list of strings", await jose(payload({ body: { evidence: [{}] } })));
refuse("unknown-type", "unknown-type", "a type of no version", await jose(payload({ type: "transfer.hurry" })));
refuse("bad-time", "time-without-milliseconds", "no milliseconds", await jose(payload({ sent_at: "2026-03-01T11:59:59Z" })));
refuse("bad-time", "time-offset", "an offset instead of Z", await jose(payload({ sent_at: "2026-03-01T12:59:59.500+01:00" })));
refuse("bad-time", "time-impossible", "30 February", await jose(payload({ sent_at: "2026-02-30T00:00:00.000Z" })));
refuse("bad-time", "time-number", "seconds since 1970", await jose(payload({ sent_at: 1772366399 })));
refuse("bad-time", "expiry-syntax", "expires_at is a date", await jose(payload({ type: "transfer.propose", expires_at: "2026-03-02" })));
refuse("bad-reference", "reference-without-hash", "in_reply_to without sha256", await jose(payload({ type: "receipt", in_reply_to: { id: OTHER_ID } })));
refuse("bad-reference", "reference-hash-hex", "sha256 in hexadecimal", await jose(payload({ type: "receipt", in_reply_to: { id: OTHER_ID, sha256: "0".repeat(64) } })));
refuse("bad-reference", "reference-extra", "another member in in_reply_to", await jose(payload({ type: "receipt", in_reply_to: { id: OTHER_ID, sha256: HASH, at: NOW } })));
refuse("bad-hash", "leaf-short", "leaf is 31 bytes", await jose(payload({ type: "receipt", in_reply_to: { id: OTHER_ID, sha256: HASH }, leaf: b64(Buffer.alloc(31)) })));
refuse("bad-hash", "item-hash-hex", "an item hash in hexadecimal", await jose(payload({ items: ["0".repeat(64)] })));
refuse("bad-hash", "item-hash-second-spelling", "an item hash with unused bits set", await jose(payload({ items: [`${"A".repeat(42)}B`] })));
refuse("bad-trace", "trace-syntax", "not a traceparent", await jose(payload({ trace: "abc" })));
refuse("seq-forbidden", "query-with-seq", "a query that claims a place in the sequence", await jose(payload({ type: "time.query", expires_at: "2026-03-01T12:04:59.500Z" })));
refuse("expiry-missing", "propose-without-expiry", "a proposal for ever", await jose(payload({ type: "transfer.propose" })));
refuse("expiry-forbidden", "record-with-expiry", "a record never expires", await jose(payload({ type: "action.record", expires_at: "2026-03-02T00:00:00.000Z" })));
refuse("missing-member", "record-without-seq", "a record has its place in the sequence", await jose(payload({ type: "action.record", seq: undefined })));
refuse("expiry-forbidden", "commit-with-expiry", "a commit never expires", await jose(payload({ type: "transfer.commit", expires_at: "2026-03-02T00:00:00.000Z" })));
refuse("wrong-receiver", "wrong-receiver", "addressed to KOR01", await jose(payload({ to: "KOR01" })));
refuse("from-future", "from-future", "300.001 s ahead", await jose(payload({ sent_at: "2026-03-01T12:05:00.001Z" })));
refuse("expired", "expired", "one millisecond late", await jose(payload({ type: "transfer.propose", expires_at: "2026-03-01T11:59:59.999Z" })));
refuse("duplicate-item", "item-listed-twice", "the list names one item twice", linkJson(await jose(listing([ITEMS[0], ITEMS[0]])), [ITEMS[0], ITEMS[0]]));
refuse("duplicate-item", "item-given-twice", "one text travels twice", linkJson(await jose(listing()), [...ITEMS, ITEMS[0]]));
refuse("item-not-listed", "item-changed", "one item was changed on the way", linkJson(await jose(listing()), [ITEMS[0], ANOTHER, ITEMS[2]]));
refuse("item-not-listed", "item-added", "a text more than signed", linkJson(await jose(listing()), [...ITEMS, ANOTHER]));
refuse("item-not-listed", "item-without-list", "a text beside a message that lists none", linkJson(await jose(payload()), [ITEMS[0]]));
refuse("item-not-listed", "item-respelt", "the same JSON with a space", linkJson(await jose(listing()), [ITEMS[0], ITEMS[1] + " ", ITEMS[2]]));
refuse("item-missing", "item-withheld", "one text less than signed", linkJson(await jose(listing()), ITEMS.slice(1)));
refuse("item-missing", "items-all-withheld", "a bare JWS that lists items", await jose(listing()));
refuse("item-order", "item-order", "two texts changed places", linkJson(await jose(listing()), [ITEMS[1], ITEMS[0], ITEMS[2]]));
for (const [name, why, text] of [
  ["item-not-json", "an item that is not JSON", "{"],
  ["item-list", "an item that is a list", "[]"],
  ["item-without-kind", "an item without kind", "{}"],
  ["item-duplicate-member", "an item with one member twice", '{"kind":"action","kind":"position"}'],
  ["item-large-integer", "an item with 2^53", '{"kind":"action","first":9007199254740992}'],
  ["item-deep", "an item of seventeen levels", `{"kind":"action","a":${"[".repeat(16)}${"]".repeat(16)}}`],
  ["item-nul", "an item with U+0000", '{"kind":"action","a":"\\u0000"}'],
]) refuse("item-malformed", name, why, linkJson(await jose(listing([text])), [text]));

function write(folder, vectors) {
  const url = new URL(`./${folder}/`, import.meta.url);
  rmSync(url, { recursive: true, force: true });
  mkdirSync(url);
  for (const { name, why, expect, body, ...more } of vectors) {
    const vector = { name, why, synthetic: true, now: NOW, receiver: "GWY01", keys: [registered("ed")], ...more, expect };
    if (body !== undefined) vector.body = body;
    writeFileSync(new URL(`${name}.json`, url), JSON.stringify(vector, null, 1) + "\n", { flag: "wx" });
  }
}
// The story begins with the answer to one of the bad ones.
const good = await tell({ id: ID, body: bad.find(({ name }) => name === "unknown-member").body });
write("good", good);
write("bad", bad);
console.log(`${good.length} good, ${bad.length} bad`);
