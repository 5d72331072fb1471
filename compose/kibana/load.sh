#!/bin/bash
# Loads data views, saved searches and the dashboard into Kibana, over those that are there, and makes the index of sensors that the map
# needs where there is none.
set -eu
kibana=${KIBANA_URL:-http://kibana:5601} elasticsearch=${ELASTICSEARCH_URL:-http://elasticsearch:9200}
password=$(cat /run/secrets-of-kibana/loader)

# as_loader ARGUMENTS: curl as the user who loads, whose password is on no command line.
as_loader() {
    printf 'user = "kibana-loader:%s"' "$password" | curl --config - --silent --show-error --max-time 60 "$@"
}

status=$(as_loader --output /dev/null --write-out '%{http_code}' --head "$elasticsearch/sensors")
if [ "$status" = 404 ]; then
    as_loader --fail --request PUT "$elasticsearch/sensors" --header 'content-type: application/json' --data-binary @/stack/sensors.json
fi

answer=$(as_loader --request POST "$kibana/api/saved_objects/_import?overwrite=true" --header 'kbn-xsrf: iot-hub' --form file=@/stack/objects.ndjson)
echo "$answer"
# A status of 200 may still come with errors.
case $answer in
    *'"success":true'*) ;;
    *) exit 1 ;;
esac
