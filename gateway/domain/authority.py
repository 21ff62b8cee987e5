"""Authority (stage 1), as far as it is no cryptography: who may say this over this connection."""

from gateway.domain.check_codes import Finding


def certificate_1004(mapped_to: str | None, sender: str) -> list[Finding]:
    """The TLS client certificate is the sender's: ``mapped_to`` is the link whose certificate the connection showed.

    None is a connection without a client certificate that belongs to a link: its message's signature says who speaks.
    """
    if mapped_to is None or mapped_to == sender:
        return []
    return [Finding(1004, (), "the connection was made with another registry's certificate")]
