#!/usr/bin/env bash
# Health check over HTTP: exit 0 when http://HOST:PORT/PATH answers 200. Starts neither Python nor anything else.
#     healthcheck.sh HOST PORT PATH [REST_S]
# With REST_S it is the check of a container. To start a check costs Docker 0.1 s of CPU, and before version 25 it has one
# interval for containers that start and for those that are healthy. So the check itself waits for a good answer, and
# rests for REST_S before it asks again where the last one was good.
set -euo pipefail

host=${1:?usage: healthcheck.sh HOST PORT PATH [REST_S]} port=${2:?} path=${3:?} rest_s=${4:-}
timeout_s=4
wait_s=10
was_healthy=${TMPDIR:-/tmp}/healthy # a container that starts has an empty /tmp

ask() {
    local status answer
    { exec 3<>"/dev/tcp/$host/$port"; } 2>/dev/null || { reason="nobody listens on $host:$port" && return 1; }
    printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$path" >&3
    IFS= read -r -t "$timeout_s" status <&3 || { reason="no answer from $host:$port$path in $timeout_s s" && return 1; }
    [[ $status != HTTP/1.?' 200 '* ]] || return 0
    IFS= read -r -t "$timeout_s" -d '' answer <&3 || true # its last line is the reason, for `make up`
    reason=${status%$'\r'}$'\n'${answer##*$'\n'}
    return 1
}

fail() {
    printf '%s\n' "$reason"
    exit 1
}

if [[ -z $rest_s ]]; then
    ask || fail
    exit
fi

exec 4<> <(:) # nobody writes there: to read from it is to sleep, without a process
sleep_s() { read -rt "$1" -u 4 || true; }

[[ ! -e $was_healthy ]] || sleep_s "$rest_s"
rm -f "$was_healthy"
asked=$SECONDS
until ask; do
    ((SECONDS - asked < wait_s)) || fail
    sleep_s 0.1
done
: >"$was_healthy"
