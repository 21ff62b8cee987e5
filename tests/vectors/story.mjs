// The story that the good vectors tell: two transfers of one proposal, one completed, one rejected.
//
// What it is for: whoever connects a registry sees every message type at least once, conforming in every member, and
// how they name each other. Units of PoA 10471 are issued in MEC01, requested, proposed as two transfers in one
// message, and offered to KOR01, which accepts the first and rejects the second. The quantities of the issuance
// (58,428 t, of which 1,169 t are cancelled for overall mitigation) are public; everything else is synthetic.
//
// Every message of the story is signed and takes its number; those given to `show` become vectors.

import { createHash } from "node:crypto";
import { KEYS, hash, jose, linkJson, registered, uuid } from "./signing.mjs";

const AUTHORISATION = { id: "TEST-ONLY-MMR-2026-1", version: 1 };
const ATTRIBUTES = {
  unit_type: "A6.4ER", first_transferring_party: "MMR", vintage: 2021, cooperative_approach: "CA0001", metric: "GHG",
  mitigation_type: "Emission reductions", sector: "Energy generation", activity_type: "Energy Efficiency households",
  activity: "PoA 10471", authorisation: AUTHORISATION,
};
const SOURCE = { registry: "MEC01", party: "MMR", account: "100-1" };
const ACQUIRER = { registry: "KOR01", party: "KOR", account: "100-1" };
const REQUEST = uuid("2026-03-02T09:00:00.000Z", 1);
const COMPLETED = `MEC01-${uuid("2026-03-02T09:30:00.000Z", 1)}`;
const REJECTED = `MEC01-${uuid("2026-03-02T09:30:00.000Z", 2)}`;
const TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNNUMBERED = [
  "status.query", "status.answer", "time.query", "time.answer",
  "history.query", "history.page", "positions.query", "positions.answer", "cut.query", "cut.answer",
];
/** KOR01 changes from an ES256 to an Ed25519 key between its activation and the transfers. */
const KOR01_ROTATES = "2026-03-01T18:00:00.000Z";

function range(first, last) { return { origin: { registry: "MEC01", series: "TEST-MMR-A64" }, first, last }; }
function block(first, last) { return { ...range(first, last), attributes: ATTRIBUTES }; }
/** The ITMO serial is the origin serial + 1000. */
function itmo(first, last) {
  return { first: `CA0001-MMR99-MMR-${first + 1000}-2021`, last: `CA0001-MMR99-MMR-${last + 1000}-2021` };
}
/** The same with the members of every object sorted by name: JSON.stringify then writes RFC 8785. */
function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.keys(value).sort().map((name) => [name, sorted(value[name])]));
}
function later(time, seconds) { return new Date(Date.parse(time) + seconds * 1000).toISOString(); }

function varint(value) {
  const bytes = [];
  for (let left = BigInt(value); ; left >>= 7n) {
    if (left < 128n) return Buffer.from([...bytes, Number(left)]);
    bytes.push(Number(left & 127n) | 128);
  }
}
function sha256(...parts) { return parts.reduce((all, part) => all.update(part), createHash("sha256")).digest(); }
function whole(value) { const bytes = Buffer.alloc(8); bytes.writeBigUInt64BE(BigInt(value)); return bytes; }
/** Units of a series, all of them in one state. */
function runOf(name, first, last, state) {
  let level = 0;
  while (BigInt(first) >> BigInt(4 * level) !== BigInt(last) >> BigInt(4 * level)) level += 1;
  const text = JSON.stringify(sorted(state));
  const digest = sha256(Buffer.from([0]), whole(first), whole(last), sha256(text));
  return { name, key: sha256(name), level, nr: BigInt(first) >> BigInt(4 * level), text, digest };
}
/** A book of few series with one run each: its root, and how its directory is told. */
function bookOf(registry, runs) {
  const all = [...runs].sort((a, b) => Buffer.compare(a.key, b.key));
  const entries = all.map((run) => [run.key, Buffer.from([run.level]), whole(run.nr), whole(1), run.digest]);
  const listed = all.map((run, index) => Buffer.concat(
    [varint(index), Buffer.from([run.level]), varint(run.nr), Buffer.from([2]), varint(1), run.digest.subarray(0, 16)]));
  return {
    root: sha256(Buffer.from([2]), ...entries.flat()).toString("base64url"), names: all.map((run) => run.name),
    listed: Buffer.concat([Buffer.from([5]), varint(all.length), ...listed]),
    states: runs.map((run) => sha256(run.text)), texts: runs.map((run) => run.text),
  };
}

/** An action item: one unit of MMR is cancelled, under a name that is not easy to hash alike. */
export function cancellation(serial, at) {
  return {
    kind: "action", action: `TEST-ONLY Zürich "Ñuñoa" 東京 \\ 🌳 ${serial}`, type: "cancellation", at, registry: "MEC01",
    party: "MMR", account: "100-1", to_account: "300-1", blocks: [block(serial, serial)],
  };
}

/** The keys of all three nodes, those of MEC01 as given. */
function keys(mechanism = {}) {
  return [
    registered("ed", mechanism),
    registered("ec", { owner: "KOR01", not_after: KOR01_ROTATES }),
    registered("other", { owner: "KOR01", not_before: KOR01_ROTATES }),
    registered("gateway", { owner: "GWY01" }),
  ];
}
function keyOf(node, at) {
  return { MEC01: "ed", GWY01: "gateway", INT01: "international", KOR01: at < KOR01_ROTATES ? "ec" : "other" }[node];
}

/** The good vectors. `first` is what MEC01 said before: message id and HTTP body. */
export async function tell(first) {
  const vectors = [];
  const said = { "MEC01 GWY01": 1 };
  let messages = 0;

  /** One message. `own` are its items, `evidence` pairs of an earlier message and the index of the item carried. */
  async function say(type, route, at, { own = [], evidence = [], body = {}, answers, numbered = true, ...more } = {}) {
    const [from, to] = route.split(" ");
    if (numbered && !UNNUMBERED.includes(type)) more.seq = said[route] = (said[route] ?? 0) + 1;
    const carried = evidence.flatMap(([message, ...indexes]) => indexes.map((index) => message.texts[index]));
    const texts = [...own.map((item) => JSON.stringify(item)), ...carried];
    if (evidence.length) body = { ...body, evidence: evidence.map(([message]) => message.jws) };
    const id = uuid(at, ++messages);
    const { seq, expires_at, leaf, trace } = more;
    const in_reply_to = answers && { id: answers.id, sha256: hash(answers.body) };
    const items = texts.length ? texts.map(hash) : undefined;
    const jws = await jose(
      { v: 1, id, seq, type, from, to, sent_at: at, expires_at, in_reply_to, leaf, trace, items, body }, keyOf(from, at));
    const content = { in_reply_to, items, evidence: body.evidence };
    return { id, at, from, to, jws, texts, content, body: items ? linkJson(jws, texts) : jws };
  }
  /** The receipt of a message: one state (with its transfer and its findings), or one per own item. */
  async function receipt(answered, at, states = [], more = {}) {
    const own = states.map(([state, transfer, findings = []], index) =>
      ({ kind: "receipt", item: hash(answered.texts[index]), transfer, state, findings }));
    const leaf = answered.to === "GWY01" ? hash(`synthetic leaf ${answered.id}`) : undefined;
    return say("receipt", `${answered.to} ${answered.from}`, at, { own, answers: answered, leaf, ...more });
  }
  function show(name, why, message, more = {}) {
    const { content, body } = message;
    vectors.push({
      name, why, now: later(message.at, 0.5), receiver: message.to, keys: keys(), content, ...more, expect: "ok", body,
    });
    return message;
  }
  function name(message) { return { id: message.id, sha256: hash(message.jws) }; }
  const [MEC, KOR, TO_MEC, TO_KOR] = ["MEC01 GWY01", "KOR01 GWY01", "GWY01 MEC01", "GWY01 KOR01"];

  // --- the links become active ------------------------------------------------------------------------------------
  show("refusal-verdict", "a verdict on the whole message (bad/unknown-member.json): numbered, with its leaf",
    await say("refusal", TO_MEC, "2026-03-01T12:00:00.100Z", {
      answers: first, leaf: hash(`synthetic leaf ${first.id}`),
      body: { findings: [{ code: 2001, detail: "member 'priority' is not of the protocol" }] },
    }));
  const asked = "2026-03-01T13:00:00.000Z";
  const timeQuery = show("time-query", "a query expires and carries no seq; sent_at is exactly 300 s ahead of the receiver",
    await say("time.query", MEC, asked, { expires_at: later(asked, 300) }), { now: later(asked, -300) });
  show("time-answer", "an answer to a query, bare", await say("time.answer", TO_MEC, "2026-03-01T12:55:00.020Z", {
    answers: timeQuery, expires_at: later(asked, 0.02), body: { time: "2026-03-01T12:55:00.020Z" },
  }));
  const nothing = show("link-activate-bare", "a registry that holds nothing: no items; its key was superseded a moment later",
    await say("link.activate", MEC, "2026-03-01T13:10:00.000Z"),
    { keys: keys({ revoked_at: "2026-03-01T13:10:00.001Z", revoked_reason: "superseded" }) });
  await receipt(nothing, "2026-03-01T13:10:00.050Z");
  const highest = { registry: "KOR01", series: "TEST-KOR" };
  const opening = show("link-activate", "ES256, r||s, with a key rotated out since; the largest integer as serial",
    await say("link.activate", KOR, "2026-03-01T14:00:00.000Z", { own: [{
      kind: "position", party: "KOR", account: "110-7",
      block: {
        origin: highest, first: Number.MAX_SAFE_INTEGER, last: Number.MAX_SAFE_INTEGER,
        attributes: {
          unit_type: "MO", first_transferring_party: "KOR", vintage: 2022, cooperative_approach: "CA0002", metric: "GHG",
          mitigation_type: "Removals", sector: "Forestry and land use", activity_type: "Reforestation",
          activity: "TEST ONLY 1", authorisation: null,
          underlying: { registry: "VCS", first: "TEST-ONLY-17", last: "TEST-ONLY-17" },
        },
      },
    }] }), { now: "2026-04-01T00:00:00.000Z" });
  await receipt(opening, "2026-03-01T14:00:00.050Z", [["recorded"]]);

  // --- units are issued, requested and proposed -------------------------------------------------------------------
  const issued = show("action-notice-issuance", "58,428 t issued; the account types show what is deducted",
    await say("action.notice", MEC, "2026-03-02T08:00:00.000Z", { trace: TRACE, own: [{
      kind: "action", action: "TEST-ONLY-ISSUANCE-1", type: "issuance", at: "2026-02-26T00:00:00.000Z", registry: "MEC01",
      positions: [
        { party: "MMR", account: "100-1", block: block(1, 57259) },
        { party: "MMR", account: "320-1", block: block(57260, 58428) },
      ],
      synthetic: true,
    }] }));
  show("receipt-notice", "a receipt of the gateway: the hash of the item, the leaf it promises, a trace",
    await receipt(issued, "2026-03-02T08:00:00.050Z", [["recorded"]], { trace: TRACE }));
  const request = show("transfer-request", "the source is asked to propose; it chooses the blocks",
    await say("transfer.request", TO_MEC, "2026-03-02T09:00:00.000Z", { own: [{
      kind: "request", request: REQUEST, transferring: SOURCE, acquiring: ACQUIRER, purpose: "NDC", quantity: 50000,
    }] }));
  await receipt(request, "2026-03-02T09:00:00.050Z", [["recorded"]]);
  const proposal = (transfer, blocks, quantity, more) => ({
    kind: "propose", transfer, ...more, transferring: SOURCE, acquiring: ACQUIRER, purpose: "NDC",
    authorisation: AUTHORISATION, quantity, blocks,
  });
  const proposed = "2026-03-02T09:30:00.000Z";
  const propose = show("transfer-propose", "two transfers in one message; now is not later than expires_at",
    await say("transfer.propose", MEC, proposed, { expires_at: later(proposed, 86400), own: [
      proposal(COMPLETED, [block(1, 30000), block(30001, 50000)], 50000, { request: REQUEST }),
      proposal(REJECTED, [block(50001, 57256)], 7256),
    ] }), { now: later(proposed, 86400) });
  await receipt(propose, "2026-03-02T09:30:00.050Z", [["proposed", COMPLETED], ["proposed", REJECTED]]);

  // --- both are offered, one is accepted, one rejected ------------------------------------------------------------
  const [proposalA, proposalB] = propose.texts.map(hash);
  const offered = "2026-03-02T09:31:00.000Z";
  const verdict = (transfer, of, findings) =>
    ({ kind: "offer", transfer, proposal: of, verdict: "passed", findings, answer_by: later(offered, 86400) });
  const offer = show("transfer-offer", "two own items, then the two proposals of the message carried as evidence",
    await say("transfer.offer", TO_KOR, offered, {
      expires_at: later(offered, 86400), evidence: [[propose, 0, 1]],
      own: [
        verdict(COMPLETED, proposalA, [{ code: 5112, detail: "synthetic: no initial report on file" }]),
        verdict(REJECTED, proposalB, []),
      ],
    }));
  const reason = [{ code: 5903, blocks: [range(50001, 57256)], detail: "synthetic: not eligible for this account" }];
  const answer = show("transfer-answer", "the offer answered in the response, each transfer for itself",
    await say("transfer.answer", KOR, "2026-03-02T09:31:00.100Z", { answers: offer, own: [
      { kind: "answer", transfer: COMPLETED, offer: hash(offer.texts[0]), answer: "accepted", findings: [] },
      { kind: "answer", transfer: REJECTED, offer: hash(offer.texts[1]), answer: "rejected", findings: reason },
    ] }));

  // --- the accepted one is committed and released -----------------------------------------------------------------
  const accepted = hash(answer.texts[0]);
  const commit = show("transfer-commit", "one transfer of a batch: the other items stay undisclosed; age alone is no reason",
    await say("transfer.commit", TO_MEC, "2026-03-02T09:32:00.000Z", {
      own: [{ kind: "commit", transfer: COMPLETED, proposal: proposalA, answer: accepted }],
      evidence: [[propose, 0], [answer, 0]],
    }), { now: "2026-05-02T09:32:00.000Z" });
  show("refusal-unnumbered", "a refusal that is no verdict carries no seq: the same bytes again later",
    await say("refusal", MEC, "2026-03-02T09:32:00.100Z", {
      answers: commit, numbered: false, body: { findings: [{ code: 9002 }] },
    }));
  const named = [[1, 30000], [30001, 50000]];
  const released = show("transfer-released", "the commit answered in the response; the units get ITMO identifiers",
    await say("transfer.released", MEC, "2026-03-02T09:33:00.000Z", { answers: commit, own: [{
      kind: "released", transfer: COMPLETED, commit: name(commit), released_at: "2026-03-02T09:32:59.990Z",
      first_transfer: true, itmo: named.map((ends) => ({ ...range(...ends), itmo: itmo(...ends) })),
    }] }));

  // --- the rejected one is cancelled and voided -------------------------------------------------------------------
  const cancel = show("transfer-cancel", "the acquirer rejected: the source is asked to void",
    await say("transfer.cancel", TO_MEC, "2026-03-02T09:34:00.000Z", {
      own: [{ kind: "cancel", transfer: REJECTED, outcome: "rejected", findings: reason }],
    }));
  const query = "2026-03-02T10:00:00.000Z";
  const status = show("status-query", "the source has not heard of the cancel and asks",
    await say("status.query", MEC, query, {
      expires_at: later(query, 300), body: { transfer: REJECTED, my_state: "locked", message: name(propose) },
    }));
  show("status-answer", "the state, and the cancel as evidence with its item",
    await say("status.answer", TO_MEC, later(query, 0.05), {
      answers: status, expires_at: later(query, 300.05), evidence: [[cancel, 0]],
      body: { transfer: REJECTED, state: "ending", message: "known" },
    }));
  const voided = show("transfer-voided", "the cancel, sent again, answered in the response",
    await say("transfer.voided", MEC, "2026-03-02T10:15:00.000Z", {
      answers: cancel, own: [{ kind: "voided", transfer: REJECTED, findings: [] }],
    }));

  // --- the released one is settled and credited; both are closed --------------------------------------------------
  const settle = show("transfer-settle", "enough by itself: proposal, acceptance and release inside",
    await say("transfer.settle", TO_KOR, "2026-03-02T10:20:00.000Z", {
      own: [{
        kind: "settle", transfer: COMPLETED, proposal: proposalA, answer: accepted, release: hash(released.texts[0]),
      }],
      evidence: [[propose, 0], [answer, 0], [released, 0]],
    }));
  const credited = show("transfer-credited", "the settle answered in the response",
    await say("transfer.credited", KOR, "2026-03-02T10:20:00.100Z", { answers: settle, own: [{
      kind: "credited", transfer: COMPLETED, settle: name(settle), credited_at: "2026-03-02T10:20:00.090Z",
      account: "100-1", findings: [],
    }] }));
  const completed = {
    own: [{ kind: "closed", transfer: COMPLETED, state: "completed", findings: [] }],
    evidence: [[propose, 0], [answer, 0], [released, 0], [credited, 0]],
  };
  const rejected = {
    own: [{ kind: "closed", transfer: REJECTED, state: "rejected", findings: reason }],
    evidence: [[propose, 1], [voided, 0]],
  };
  const done = show("transfer-closed-completed", "final; carries the whole chain",
    await say("transfer.closed", TO_MEC, "2026-03-02T10:21:00.000Z", completed));
  show("receipt-closed", "a receipt of a registry without a log: no leaf",
    await receipt(done, "2026-03-02T10:21:00.050Z", [["done", COMPLETED]]));
  await receipt(await say("transfer.closed", TO_KOR, "2026-03-02T10:21:00.000Z", completed), "2026-03-02T10:21:00.060Z",
    [["done", COMPLETED]]);
  await receipt(await say("transfer.closed", TO_MEC, "2026-03-02T10:21:01.000Z", rejected), "2026-03-02T10:21:01.050Z",
    [["void", REJECTED]]);
  const ended = show("transfer-closed-rejected", "the acquirer learns that the source has voided",
    await say("transfer.closed", TO_KOR, "2026-03-02T10:21:01.000Z", rejected));
  await receipt(ended, "2026-03-02T10:21:01.060Z", [["void", REJECTED]]);

  // --- what the registries do with units afterwards ---------------------------------------------------------------
  const cancelled = [57257, 57258, 57259].map((serial) => cancellation(serial, "2026-03-03T08:00:00.000Z"));
  show("action-notice-cancellation", "three items beside the JWS, hashed as UTF-8",
    await say("action.notice", MEC, "2026-03-03T08:00:01.000Z", { own: cancelled }));
  show("action-notice-use", "units received are used; their blocks bear the ITMO identifiers",
    await say("action.notice", KOR, "2026-03-03T09:00:01.000Z", { own: [{
      kind: "action", action: "TEST-ONLY-USE-1", type: "use", at: "2026-03-03T09:00:00.000Z", registry: "KOR01",
      party: "KOR", account: "100-1", to_account: "200-1", blocks: [{ ...block(1, 30000), itmo: itmo(1, 30000) }],
    }] }));

  // --- a gateway that has lost data is shown what it had said -----------------------------------------------------
  show("transfer-released-again", "said again to a gateway that does not know the transfer: with the commit it names",
    await say("transfer.released", MEC, "2026-03-04T09:00:00.000Z", {
      own: [JSON.parse(released.texts[0])], evidence: [[commit, 0], [propose, 0], [answer, 0]],
    }));

  // --- the international registry records what Parties with a section did -----------------------------------------
  const relayed = (side, type, at, party, registry) => ({
    kind: "record", action: `${COMPLETED}/${side}`, type, at, section: `${party}99`, party, registry,
    transfer: COMPLETED, transferring: SOURCE, acquiring: ACQUIRER, purpose: "NDC", authorisation: AUTHORISATION,
    quantity: 50000, blocks: named.map((ends) => ({ ...block(...ends), itmo: itmo(...ends) })),
  });
  const { action, at, account, to_account, blocks } = cancelled[0];
  const record = show("action-record", "a first transfer, a cancellation, and an acquisition by a Party without a section",
    await say("action.record", "GWY01 INT01", "2026-03-04T10:00:00.000Z", { own: [
      relayed("transfer", "First transfer", "2026-03-02T09:32:59.990Z", "MMR", "MEC01"),
      {
        kind: "record", action: `MEC01/${action}`, type: "Cancellation", at, section: "MMR99", party: "MMR", registry: "MEC01",
        account, to_account, authorisation: AUTHORISATION, quantity: 1, blocks,
      },
      relayed("acquisition", "Acquisition", "2026-03-02T10:20:00.090Z", "KOR", "KOR01"),
    ] }));
  show("receipt-record", "each record judged alone; a receipt of a record names no transfer",
    await receipt(record, "2026-03-04T10:00:00.050Z", [
      ["recorded"], ["recorded"],
      ["refused", undefined, [{ code: 4002, detail: "synthetic: no section KOR99 of KOR is kept here" }]],
    ]), { keys: [...keys(), registered("international", { owner: "INT01" })] });

  // --- a registry announces its next key under the present one ----------------------------------------------------
  const { jwk, not_before } = registered("next", { not_before: "2026-03-04T12:00:00.000Z" });
  await receipt(show("link-keys", "a new key from now on, the present one for a month more; no items",
    await say("link.keys", MEC, not_before, {
      body: { keys: [jwk], not_before, retire: { [KEYS.ed.kid]: "2026-04-04T12:00:00.000Z" } },
    })), "2026-03-04T12:00:00.050Z");
  // --- KOR01's history of its units is pulled from MEC01, viewed, and delivered -------------------------------------
  const feed = { of: "MEC01", for: { registry: "KOR01", party: "KOR" } };
  const parts = named.map((ends) => ({ ...block(...ends), itmo: itmo(...ends) }));
  const happened = (what) => sorted({ kind: "history", registry: "MEC01", first_transfer: false, ...what });
  const records = [
    ...parts.map((part) => happened({
      transaction: COMPLETED, type: "transfer", at: "2026-03-02T09:32:59.990Z", block: part, from: SOURCE, to: ACQUIRER,
      first_transfer: true, purpose: "NDC",
    })),
    happened({ transaction: "TEST-ONLY-ISSUANCE-1", type: "issuance", at: "2026-03-01T13:00:00.000Z", block: block(1, 57259), to: SOURCE }),
  ];
  const chain = records.reduce((digest, record) => createHash("sha256")
    .update(digest).update(createHash("sha256").update(JSON.stringify(record)).digest()).digest(), Buffer.alloc(32));
  const after = { number: 0, digest: Buffer.alloc(32).toString("base64url") };
  const until = { number: records.length, digest: chain.toString("base64url") };
  const pull = show("history-query", "the feed of KOR from its beginning; a query expires and carries no seq",
    await say("history.query", TO_MEC, "2026-03-04T11:00:00.000Z", {
      expires_at: "2026-03-04T11:05:00.000Z", body: { ...feed, after, limit: 1000 },
    }));
  const page = show("history-page", "the transfer that brought KOR its units, then how they came to be; the digest binds them",
    await say("history.page", MEC, "2026-03-04T11:00:00.050Z", {
      answers: pull, expires_at: "2026-03-04T11:05:00.050Z", own: records, body: { ...feed, after, until, more: false },
    }));
  await receipt(show("history-deliver", "the page handed on as MEC01 signed it; never expires",
    await say("history.deliver", TO_KOR, "2026-03-04T11:00:01.000Z", {
      evidence: [[page, ...records.keys()]], body: { ...feed, after, until },
    })), "2026-03-04T11:00:01.050Z");
  const look = show("positions-query", "a view, without pulling",
    await say("positions.query", TO_MEC, "2026-03-04T11:10:00.000Z", {
      expires_at: "2026-03-04T11:15:00.000Z", body: { ...feed, limit: 100, select: { activity: "PoA 10471", vintage: 2021 } },
    }));
  show("positions-answer", "KOR holds nothing in MEC01 any more",
    await say("positions.answer", MEC, "2026-03-04T11:10:00.050Z", {
      answers: look, expires_at: "2026-03-04T11:15:00.050Z", body: { ...feed, at: "2026-03-04T11:10:00.040Z" },
    }));
  // --- KOR01's book is compared with what the gateway says of it ----------------------------------------------------
  {
    const held = opening.content && JSON.parse(opening.texts[0]);
    const book = bookOf("KOR01", [
      runOf("MEC01/TEST-MMR-A64", 1, 50000, { party: "KOR", account_type: 100, attributes: ATTRIBUTES,
        itmo: { stem: "CA0001-MMR99-MMR-2021", offset: 1000 } }),
      runOf("KOR01/TEST-KOR", held.block.first, held.block.last, { party: "KOR", account_type: 110,
        attributes: held.block.attributes, itmo: null }),
    ]);
    const cut = { of: "KOR01", cut: uuid("2026-03-05T00:00:00.000Z", 1) };
    const [moment, ask, until5] = ["2026-03-05T00:15:00.000Z", "2026-03-05T00:15:01.000Z", "2026-03-05T00:20:01.000Z"];
    show("cut-query-announced", "the first question names the moment, 15 minutes ahead",
      await say("cut.query", TO_KOR, "2026-03-05T00:00:00.000Z", { expires_at: "2026-03-05T00:05:00.000Z", body: { ...cut, at: moment } }));
    const query = show("cut-query", "the same cut, asked for after its moment",
      await say("cut.query", TO_KOR, ask, { expires_at: until5, body: { ...cut, at: moment } }));
    const moving = Buffer.concat([Buffer.from("MEC01"), Buffer.from(REJECTED.slice(6).replaceAll("-", ""), "hex"), Buffer.from("A")]);
    const taken = show("cut-answer", "what KOR01 held at that moment: two series, one unit each in the state of all its units",
      await say("cut.answer", KOR, later(ask, 0.05), { answers: query, expires_at: until5, body: {
        ...cut, at: moment, state: "taken", taken_at: moment, told: said[KOR], ranges: true,
        books: [{ registry: "KOR01", series: 2, root: book.root, totals: [
          { party: "KOR", account_type: 100, vintage: 2021, quantity: 50000 },
          { party: "KOR", account_type: 110, vintage: 2022, quantity: 1 },
        ] }],
        moving: moving.toString("base64url"), moving_more: false,
      } }));
    const nodes = { ...cut, registry: "KOR01" };
    const which = show("positions-query-nodes", "the directory, as one who knows of nothing asks; then the whole of one series",
      await say("positions.query", TO_KOR, later(ask, 1), { expires_at: until5, body: {
        ...nodes, series: ["MEC01/TEST-MMR-A64"], texts: [book.states[0].toString("base64url")],
        asked: Buffer.from([0, 0, 0, 0, 1, 0, 14, 0, 0, 0]).toString("base64url"),
      } }));
    show("positions-answer-nodes", "its two series, each told by its digest, then the one run of the series",
      await say("positions.answer", KOR, later(ask, 1.05), { answers: which, expires_at: until5, body: {
        ...nodes, series: book.names, answered: 2, states: book.states[0].toString("base64url"),
        told: Buffer.concat([book.listed, Buffer.from([4, 1]), varint(1), varint(50000), varint(0)]).toString("base64url"),
        texts: [book.texts[0]],
      } }));
    await receipt(show("reconciliation-result", "they agree: no findings; carries the registry's own answer",
      await say("reconciliation.result", TO_KOR, later(ask, 2), {
        evidence: [[taken]], body: { ...cut, status: 5, findings: 0, books: [{ registry: "KOR01", root: book.root }] },
      })), later(ask, 2.05));
    show("reconciliation-result-findings", "another day: a unit that the gateway knows of is not there",
      await say("reconciliation.result", TO_KOR, "2026-03-06T00:15:02.000Z", {
        own: [{ kind: "finding", case: "KOR01-1", registry: "KOR01", code: 6302, units: range(1, 1), here: book.texts[0], there: null }],
        body: { ...cut, cut: uuid("2026-03-06T00:00:00.000Z", 1), status: 99, findings: 1, evidence: [],
          books: [{ registry: "KOR01", root: book.root }] },
      }));
  }
  return vectors;
}
