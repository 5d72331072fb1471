#!/bin/bash
# Starts Kibana with the password and the key that `secrets` made.
set -eu
secrets=/run/secrets-of-kibana
key=$(cat "$secrets/encryption-key")
ELASTICSEARCH_PASSWORD=$(cat "$secrets/password")
export ELASTICSEARCH_PASSWORD
export XPACK_SECURITY_ENCRYPTIONKEY=$key XPACK_ENCRYPTEDSAVEDOBJECTS_ENCRYPTIONKEY=$key XPACK_REPORTING_ENCRYPTIONKEY=$key
exec /usr/local/bin/kibana-docker
