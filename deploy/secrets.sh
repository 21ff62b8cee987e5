#!/bin/sh
# Makes deploy/secrets, once: random passwords, each file readable by the one user who needs it. A password is there
# twice: for the database's container, whose user postgres is 999, and in the form libpq reads, for the gateway's, 10001.
# Run as root, on the machine that runs the containers.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir secrets
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
random >secrets/superuser_password
for role in owner app; do
    random >"secrets/${role}_password"
    printf '*:*:*:*:%s\n' "$(cat "secrets/${role}_password")" >"secrets/${role}_pgpass"
done
chown 999 secrets/*_password
chown 10001 secrets/*_pgpass
chmod 0711 secrets
