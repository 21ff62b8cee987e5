// The keys of the golden vectors and what signs with them: jose, a JOSE library this project did not write.
//
// Every key is a test key: its private half stands below for everyone to read. Never register one anywhere.
// Ed25519 signatures come out the same each time; ES256 signatures of jose are random.

import { createHash } from "node:crypto";
import { CompactSign, calculateJwkThumbprint, importJWK } from "jose";

export const KEYS = {
  // TEST ONLY: the Ed25519 key of RFC 8037 appendix A.1 and the P-256 key of RFC 7515 appendix A.3.1.
  ed: {
    kty: "OKP", crv: "Ed25519",
    d: "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
  },
  ec: {
    kty: "EC", crv: "P-256",
    x: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    d: "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
  },
  // TEST ONLY: RFC 8032 section 7.1, tests 2, 3, SHA(abc) and 1024.
  other: okp("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"),
  gateway: okp("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"),
  international: okp("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
    "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf"),
  next: okp("f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
    "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e"),
};
export const ALG = { ed: "Ed25519", ec: "ES256", other: "Ed25519", gateway: "Ed25519", international: "Ed25519", next: "Ed25519" };
for (const key of Object.values(KEYS)) key.kid = await calculateJwkThumbprint(key, "sha256");

function okp(d, x) {
  const base64url = (hex) => Buffer.from(hex, "hex").toString("base64url");
  return { kty: "OKP", crv: "Ed25519", d: base64url(d), x: base64url(x) };
}

export function hash(data) { return createHash("sha256").update(data).digest("base64url"); }

/** A UUIDv7 of this time; n makes it one of several. */
export function uuid(time, n) {
  const ms = Date.parse(time).toString(16).padStart(12, "0");
  return `${ms.slice(0, 8)}-${ms.slice(8)}-7000-8000-${n.toString(16).padStart(12, "0")}`;
}

/** One registered key, as a vector lists it. */
export function registered(name, more = {}) {
  const { d: _private, ...jwk } = KEYS[name];
  return { owner: "MEC01", jwk: { ...jwk, alg: ALG[name], use: "sig" }, not_before: "2026-01-01T00:00:00.000Z", ...more };
}

export function header(changes = {}, key = "ed") {
  return { alg: ALG[key], kid: KEYS[key].kid, typ: "a6link+jws", ...changes };
}

/** Signed by jose. */
export async function jose(claims, key = "ed", head = {}) {
  const signer = new CompactSign(Buffer.from(JSON.stringify(claims))).setProtectedHeader(header(head, key));
  return signer.sign(await importJWK(KEYS[key], ALG[key]));
}

/** The HTTP body of a message with items. */
export function linkJson(jws, items) { return JSON.stringify({ jws, items }); }
