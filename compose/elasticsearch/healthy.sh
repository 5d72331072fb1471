#!/bin/bash
# Says whether Elasticsearch takes requests and has a primary of every shard.
set -eu
printf 'user = "elastic:%s"' "$(cat /run/secrets-of-elasticsearch/elastic)" |
    curl --config - --fail --silent "http://127.0.0.1:9200/_cluster/health?wait_for_status=yellow&timeout=4s" |
    grep -q '"timed_out":false'
