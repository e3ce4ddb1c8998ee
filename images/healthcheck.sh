#!/usr/bin/env bash
# Health check over HTTP: exit 0 when http://HOST:PORT/PATH answers 200, else it prints the reason. Starts neither Python
# nor anything else.
#     healthcheck.sh HOST PORT PATH
set -euo pipefail

host=${1:?usage: healthcheck.sh HOST PORT PATH} port=${2:?} path=${3:?}
timeout_s=4 # for the status, and once more for the rest of an answer that is not good

fail() {
    printf '%s\n' "$@"
    exit 1
}

{ exec 3<>"/dev/tcp/$host/$port"; } 2>/dev/null || fail "nobody listens on $host:$port"
printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$path" >&3
IFS= read -r -t "$timeout_s" status <&3 || fail "no answer from $host:$port$path in $timeout_s s"
[[ $status != HTTP/1.?' 200 '* ]] || exit 0
IFS= read -r -t "$timeout_s" -d '' answer <&3 || true # its last line is the reason, for `make up`
fail "${status%$'\r'}" "${answer##*$'\n'}"
