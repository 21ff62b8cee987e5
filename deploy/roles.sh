#!/bin/bash
# Runs once, in the database's container, when its data folder is new: the role that owns the tables and migrates, the
# role the processes serve as, and the database.
set -euo pipefail

# Through psql's standard input: a password is never on a command line, and not in the log if a statement fails.
psql --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres <<SQL
SET log_min_error_statement = panic;
\set owner_password '$(cat /run/secrets/owner_password)'
\set app_password '$(cat /run/secrets/app_password)'
CREATE ROLE gateway_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE gateway_app LOGIN PASSWORD :'app_password';
CREATE DATABASE gateway OWNER gateway_owner;
REVOKE ALL ON DATABASE gateway FROM PUBLIC;
GRANT CONNECT ON DATABASE gateway TO gateway_app;
SQL
