#!/usr/bin/env bash
# Health check over HTTP: exit 0 when http://HOST:PORT/PATH answers 200. Runs every second in every container, so
# it starts neither Python nor anything else.
#     healthcheck.sh HOST PORT PATH
set -euo pipefail

host=${1:?usage: healthcheck.sh HOST PORT PATH} port=${2:?} path=${3:?}
timeout_s=4

{ exec 3<>"/dev/tcp/$host/$port"; } 2>/dev/null || { echo "nobody listens on $host:$port"; exit 1; }
printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$path" >&3
IFS= read -r -t "$timeout_s" status <&3 || { echo "no answer from $host:$port$path in $timeout_s s"; exit 1; }
if [[ $status != HTTP/1.?' 200 '* ]]; then
    IFS= read -r -t "$timeout_s" -d '' answer <&3 || true # its last line is the reason, for `make up`
    printf '%s\n' "${status%$'\r'}" "${answer##*$'\n'}"
    exit 1
fi
