"""Who calls the operator API: people and machines, their keys, and the tokens they call with.

Reading order: ``store`` (principals, keys, assertions used up), ``commands`` (how they come and go, each an entry of
the log), ``tokens`` (what an assertion and a token must say: OAuth 2, judged by authlib), ``endpoint`` (the token
endpoint), ``callers`` (whose token is that, and what may they do now).
"""
