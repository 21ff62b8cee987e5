"""The headers that every answer has, whoever gives it."""

#: A browser treats an answer as data of this origin alone, and nobody keeps it. Strict-Transport-Security is for the
#: front, which speaks TLS.
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
