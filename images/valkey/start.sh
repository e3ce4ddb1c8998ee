#!/usr/bin/env bash
# Runs a server for the memory: Valkey, or Redis where Debian has no other. `start.sh health` asks whether it answers.
# In its container it listens for the other services, without Docker on 127.0.0.1 alone.
set -euo pipefail

port=${VALKEY_PORT:-6379}
if [[ ${1:-} == health ]]; then
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf 'PING\r\n' >&3
    read -r -t 5 answer <&3
    [[ $answer == +PONG* || $answer == -NOAUTH* ]] # not while it loads its file
    exit
fi

server=$(command -v valkey-server || command -v redis-server) || {
    echo "neither valkey-server nor redis-server is installed: \`apt-get install valkey-server\`, or take the profile" \
        "valkey out of COMPOSE_PROFILES." >&2
    exit 1
}
# SQLITE_SYNCHRONOUS says of this engine too whether an answer waits for the disk.
config="port $port
dir ${VALKEY_DIR:-/valkey}
appendonly yes
appendfsync $([[ ${SQLITE_SYNCHRONOUS:-NORMAL} == FULL ]] && echo always || echo no)
save \"\"
maxmemory-policy noeviction"
# What it has answered is in its file. Not with `everysec`: while that waits for the disk, it answers before it writes.
if [[ ${RUNTIME:-docker} == local ]]; then
    config+=$'\nbind 127.0.0.1'
else
    declare -A bytes=([b]=1 [k]=1024 [m]=1048576 [g]=1073741824)
    limit=$((${VALKEY_MEMORY%?} * bytes[${VALKEY_MEMORY: -1}]))
    # Of its container, of which no port is published. A quarter is for buffers, and for the rewrite of its file.
    config+=$'\nbind * -::*\nprotected-mode no\nmaxmemory '$((limit * 3 / 4))
fi
[[ -z ${MEMORY_PASSWORD_FILE:-} ]] || MEMORY_PASSWORD=$(<"$MEMORY_PASSWORD_FILE")
if [[ -n ${MEMORY_PASSWORD:-} ]]; then
    password=${MEMORY_PASSWORD//\\/\\\\}
    config+=$'\nrequirepass "'${password//\"/\\\"}'"'
fi
exec "$server" - <<<"$config"
