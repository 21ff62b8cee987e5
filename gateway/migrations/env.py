"""Runs the migrations as ``gateway_owner`` on the connection that ``gateway migrate`` hands over."""

from alembic import context

from gateway import crash

connection = context.config.attributes["connection"]
context.configure(connection=connection)
with context.begin_transaction():
    context.run_migrations()
    crash.passing("migrate.before-commit")
crash.passing("migrate.after-commit")
