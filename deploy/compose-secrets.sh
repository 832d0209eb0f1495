#!/bin/sh
# Makes the secrets of compose.yaml in the directory secrets beside it, or in $1. What is
# there stays. It must be root: the files belong to user 65532, who the containers run as.
set -eu
dir=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$dir"
chmod 0711 "$dir"
random() { od -An -N20 -tx1 /dev/urandom | tr -d ' \n'; }

if [ ! -e "$dir/credentials" ]; then
	id=AKIA$(random | cut -c1-16 | tr a-f A-F)
	secret=$(random)
	printf '[ops]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$id" "$secret" >"$dir/credentials"
	printf 'export AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s\n' "$id" "$secret"
fi
[ -e "$dir/webhook-secret" ] || random >"$dir/webhook-secret"
if [ ! -e "$dir/postgres-password" ]; then
	random >"$dir/postgres-password"
	printf 'postgres:5432:parlor:parlor:%s\n' "$(cat "$dir/postgres-password")" >"$dir/pgpass"
fi
if [ ! -e "$dir/valkey.conf" ]; then
	password=$(random)
	printf 'requirepass %s\n' "$password" >"$dir/valkey.conf"
	printf 'redis-url: redis://:%s@valkey:6379\n' "$password" >"$dir/parlor.yaml"
fi
chown 65532:65532 "$dir"/*
