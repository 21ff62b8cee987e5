"""What may be wrong with who is believed: made in a copy, as in ``planted``."""

#: The key of RFC 8037, appendix A.
JWK = "jsonb_build_object('kty', 'OKP', 'crv', 'Ed25519', 'x', '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo')"

#: Name of the fault → the statements that make it, the checks that find something, and words of a finding.
FAULTS: dict[str, tuple[list[str], set[str], str]] = {
    "a key nobody registered": (
        ["INSERT INTO peer_key (link, kid, jwk, not_before, registered_by)"
         f" VALUES ('KOR01', 'planted', {JWK}, now(), 1)"],
        {"keys as logged"}, "no entry of the log registers it",
    ),
    "a key that counts longer": (
        ["UPDATE peer_key SET not_before = not_before - interval '1 day' WHERE link = 'KOR01'"],
        {"keys as logged"}, "it counts at other times than the log says",
    ),
    "a revocation nobody entered": (
        ["UPDATE peer_key SET revoked_at = now(), revoked_reason = 'superseded' WHERE link = 'JPN01'"],
        {"keys as logged"}, "it counts at other times than the log says",
    ),
}  # fmt: skip
