"""Brings a database to the schema this version needs.

``apply`` runs Alembic's chain on one connection under an advisory lock, so that several processes starting
at once migrate once. The caller connects as ``gateway_owner``, who owns every table; ``gateway_app``, as
whom the processes serve, is granted what they need and owns nothing. Fails with UNAVAILABLE and what the
database said.
"""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from gateway import db
from gateway.errors import GatewayError, Kind

#: Any number that no other application on the same database uses for its advisory locks.
_LOCK = 0x6136_6777


def apply(owner_url: str) -> None:
    """Migrate the database at ``owner_url`` (a ``postgresql://`` address of ``gateway_owner``) to the newest schema."""
    address = db.libpq_address(owner_url)
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(address))
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
            connection.commit()
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
            connection.commit()
    except DBAPIError as error:
        raise GatewayError(Kind.UNAVAILABLE, f"cannot migrate: {db.words(error)}") from error
    finally:
        engine.dispose()


def grant_app(superuser_dsn: str, app_password: str) -> None:
    """Make the role ``gateway_app``, as whom the processes serve, and let it connect to the database ``gateway``.

    The database and its owner exist already. On a server of your own, its administrator does the same by hand.
    """
    with psycopg.connect(superuser_dsn, autocommit=True) as server:
        if server.execute("SELECT 1 FROM pg_roles WHERE rolname = 'gateway_app'").fetchone() is None:
            verifier = server.pgconn.encrypt_password(app_password.encode(), b"gateway_app", b"scram-sha-256")
            server.execute(sql.SQL("CREATE ROLE gateway_app LOGIN PASSWORD {}").format(verifier.decode()))
        server.execute("GRANT CONNECT ON DATABASE gateway TO gateway_app")
