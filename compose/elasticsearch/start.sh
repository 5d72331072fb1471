#!/bin/bash
# Starts Elasticsearch with the stack's roles and with the users that `secrets` made.
set -eu
config=/usr/share/elasticsearch/config
cp /stack/roles.yml "$config/roles.yml"
cp /run/secrets-of-elasticsearch/users /run/secrets-of-elasticsearch/users_roles "$config/"
chmod 600 "$config/users" "$config/users_roles"
exec /usr/local/bin/docker-entrypoint.sh eswrapper
