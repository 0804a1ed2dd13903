#!/bin/sh
# Makes a database cluster in an empty $PGDATA, then becomes the server, as user postgres.
set -eu
case "${1:-}" in '' | -*) set -- postgres "$@" ;; esac
if [ "$1" = postgres ]; then
  if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    # Only what is wrong: a big database must not be walked at every start.
    find "$PGDATA" ! -user postgres -exec chown postgres:postgres {} +
    chmod 700 "$PGDATA"
    exec su -p -s /bin/sh -c 'exec "$0" "$@"' -- postgres "$0" "$@"
  fi
  if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 >/dev/null
    echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
    echo 'host all all all trust' >>"$PGDATA/pg_hba.conf"
  fi
fi
exec "$@"
