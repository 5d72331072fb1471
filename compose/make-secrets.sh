#!/bin/bash
# Makes the passwords of the stack that are not there yet, each into the folder of who needs it, and the users of Elasticsearch with
# their hashes. One that the environment gives wins over one that was made.
set -euo pipefail
umask 077
secrets=${1:-/secrets}
elasticsearch_user=1000:0
kibana_user=1000:0
hub_user=10001:10001

# keep FILE [GIVEN]: leaves the file with what is given, with what it has, or with 192 bits of chance.
keep() {
    if [ -n "${2:-}" ]; then
        printf %s "$2" >"$1"
    elif [ ! -s "$1" ]; then
        printf %s "$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')" >"$1"
    fi
}

# hash FILE: the salted SHA-256 of a password, as Elasticsearch's file realm keeps one.
hash() {
    local salt digest
    salt=$(head -c 6 /dev/urandom | base64)
    digest=$({ cat "$1" && printf %s "$salt"; } | sha256sum | cut -d ' ' -f 1)
    # Hexadecimal to bytes to base64.
    printf '{SSHA256}%s%s' "$(printf %s "$salt" | base64)" "$(printf '%b' "$(sed 's/../\\x&/g' <<<"$digest")" | base64 -w 0)"
}

keep "$secrets/elasticsearch/elastic" "${ELASTIC_PASSWORD:-}"
keep "$secrets/elasticsearch/scientist" "${SCIENTIST_PASSWORD:-}"
keep "$secrets/ingest-api/password"
keep "$secrets/qc-consumer/password"
keep "$secrets/ad-jobs/password"
keep "$secrets/kibana/password"
keep "$secrets/kibana/loader"
keep "$secrets/kibana/encryption-key"

{
    printf 'ingest-api:%s\n' "$(hash "$secrets/ingest-api/password")"
    printf 'qc-consumer:%s\n' "$(hash "$secrets/qc-consumer/password")"
    printf 'ad-jobs:%s\n' "$(hash "$secrets/ad-jobs/password")"
    printf 'kibana-server:%s\n' "$(hash "$secrets/kibana/password")"
    printf 'kibana-loader:%s\n' "$(hash "$secrets/kibana/loader")"
    printf 'scientist:%s\n' "$(hash "$secrets/elasticsearch/scientist")"
} >"$secrets/elasticsearch/users"
cat >"$secrets/elasticsearch/users_roles" <<'ROLES'
ingest_api:ingest-api
qc_consumer:qc-consumer
ad_jobs:ad-jobs
kibana_system:kibana-server
kibana_admin:kibana-loader
viewer:scientist
scientist:scientist
ROLES

chmod 400 "$secrets"/*/*
chown -R "$elasticsearch_user" "$secrets/elasticsearch"
chown -R "$kibana_user" "$secrets/kibana"
chown -R "$hub_user" "$secrets/ingest-api" "$secrets/qc-consumer" "$secrets/ad-jobs"
