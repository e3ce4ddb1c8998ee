#!/usr/bin/env bash
# What each service runs, in containers (compose.yaml) and as plain processes (supervisord.conf):
#     entrypoint.sh head|worker|bootstrap|api
# Every flag of Ray and uvicorn stands here and nowhere else. All values come from the environment, that is from .env.
set -euo pipefail

role=${1:?usage: entrypoint.sh head|worker|bootstrap|api}

export RAY_ENABLE_AUTO_CONNECT=0 # else ray.get_actor before ray.init starts a private cluster
export RAY_USAGE_STATS_ENABLED=0
export RAY_gcs_rpc_server_reconnect_timeout_s=$GCS_RECONNECT_TIMEOUT_S
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 # a node with singletons never gets idle, so draining only costs time
export RAY_ROTATION_MAX_BYTES=8388608          # Ray's own log files; its default is 512 MiB each, here they are in memory
export RAY_ROTATION_BACKUP_COUNT=2
export RAY_DISABLE_DOCKER_CPU_WARNING=1
if [[ $RAY_AUTH_MODE == disabled ]]; then
    unset RAY_AUTH_TOKEN_PATH # Ray turns authentication on where it finds a token
fi

# Where the dashboard and the API listen. Ray's other ports are open on all addresses of the machine, whatever it is
# told; there the token is the guard.
listen=127.0.0.1
[[ $RUNTIME == local ]] || listen=0.0.0.0 # of the container; compose.yaml publishes on 127.0.0.1

ray_flags=(
    --object-store-memory="$OBJECT_STORE_BYTES"
    --min-worker-port=0 --max-worker-port=0 # any free port: two nodes on one machine share a range otherwise
    --disable-usage-stats --log-color=false
)
ray_dir=${RAY_TMPDIR:-/tmp/ray}

# Run a command until it ends or this script is told to stop, and then exit with 0. `ray start --block` exits with 1
# when it is told to stop, which looks like a failure.
run_until_stopped() {
    local child stopping="" code=0
    trap 'stopping=1; kill -TERM "$child" 2>/dev/null || true' TERM INT
    # A command whose parent was killed is told to stop as well: nothing of the embedded stack is left behind.
    setpriv --pdeathsig TERM "$@" &
    child=$!
    wait "$child" || code=$?
    while kill -0 "$child" 2>/dev/null; do # a signal ends `wait` early
        code=0
        wait "$child" || code=$?
    done
    [[ -z $stopping ]] || exit 0
    echo "$1 ended by itself with exit code $code" >&2
    # A container ends with it. Embedded, what it leaves behind would hold the ports when it is started again.
    [[ $RUNTIME != local ]] || kill -KILL 0
    exit $((code ? code : 1))
}

# The control plane outlives a restart of this container, and starts afresh in a new one: so one folder per container.
keep_only() {
    local keep=$1 sibling
    shift
    for sibling in "$@"; do
        [[ $sibling == "$keep" || ! -e $sibling ]] || rm -rf -- "$sibling"
    done
}

head() {
    local gcs_dir=${GCS_DIR:-/gcs}/${HOSTNAME:-local} sessions
    keep_only "$gcs_dir" "${gcs_dir%/*}"/*
    sessions=("$ray_dir"/session_2*) # sorted by name, that is by time
    keep_only "${sessions[-1]}" "${sessions[@]}"
    # Embedded, Ray takes a worker's process and this file for a head that runs already, and does not start again.
    rm -f "$ray_dir/ray_current_cluster"
    # Ray Client's server forks a process for each client; with gRPC's fork handlers one in several dies before it starts
    # ("epoll_wait error: Bad file descriptor"), and its client waits for 30 s.
    export GRPC_ENABLE_FORK_SUPPORT=0
    # A killed node refuses the health check; after five refusals its actors start elsewhere. Ray's default of 3 s makes
    # that 15 s. A paused or cut-off node is dead after five timeouts of 10 s, as before.
    export RAY_health_check_period_ms=1000
    export RAY_gcs_storage=rocksdb RAY_gcs_storage_path=$gcs_dir
    # No CPUs: neither work nor a singleton runs next to the control plane.
    run_until_stopped ray start --head --block --num-cpus=0 "${ray_flags[@]}" --temp-dir="$ray_dir" \
        --port="${RAY_ADDRESS##*:}" --ray-client-server-port="$RAY_CLIENT_PORT" \
        --dashboard-host="$listen" --dashboard-port="$DASHBOARD_PORT" --dashboard-agent-listen-port="$RAY_AGENT_PORT"
}

worker() {
    # Embedded, the head's log monitor reads the same folder, and every line would come twice.
    [[ $RUNTIME != local ]] || ray_flags+=(--include-log-monitor=false)
    # In a container the kernel ends what eats the memory. Ray's own monitor would end the process that got a task last,
    # and that is a singleton. Embedded there is no limit but the machine's, where the kernel acts much too late.
    [[ $RUNTIME == local ]] || export RAY_memory_monitor_refresh_ms=0
    # The custom resource stands for the state volume: a singleton asks for a little of it and so lands here.
    run_until_stopped ray start --address="$RAY_ADDRESS" --block --num-cpus="$RAY_WORKER_CPUS" "${ray_flags[@]}" \
        --resources="{\"$STATE_RESOURCE\": 1000}" \
        --dashboard-agent-listen-port="$((RAY_AGENT_PORT + ${RAY_WORKER_NUMBER:-0}))"
}

raylet_pid() {
    local comm
    for comm in /proc/[0-9]*/comm; do
        if [[ $(<"$comm") == raylet ]]; then
            comm=${comm#/proc/}
            echo "${comm%/comm}"
            return
        fi
    done 2>/dev/null
    echo "ray start left no raylet" >&2
    return 1
}

api() {
    local uvicorn raylet stopping=""
    # h11 refuses endless headers; httptools, which uvicorn prefers, keeps them all: 64 MiB of them take 1.3 GiB.
    local server=(uvicorn seedcore.api.app:app --host "$listen" --port "$API_PORT" --log-level "${LOG_LEVEL,,}"
        --no-access-log --no-server-header --timeout-graceful-shutdown 5 --http h11)
    case ${API_RELOAD,,} in # what pydantic takes for true
        1 | t | true | y | yes | on) server+=(--reload --reload-dir seedcore) ;;
    esac

    # Embedded, the API is a driver on the head's node: a driver needs some node on its machine.
    [[ $RUNTIME != local ]] || run_until_stopped "${server[@]}"

    # No log monitor: no task runs on this node, so there is no output to send to drivers.
    ray start --address="$RAY_ADDRESS" --num-cpus=0 "${ray_flags[@]}" --include-log-monitor=false \
        --dashboard-agent-listen-port="$RAY_AGENT_PORT" >/dev/null
    raylet=$(raylet_pid)
    trap 'stopping=1; kill -TERM "$uvicorn" 2>/dev/null || true' TERM INT
    "${server[@]}" &
    uvicorn=$!
    tail --pid="$raylet" -f /dev/null & # a job that ends when the raylet does
    wait -n || true                     # whichever dies, the container ends and is started again
    if [[ -n $stopping ]]; then
        wait "$uvicorn" || true
        kill -TERM "$raylet" # leaves the cluster in order, so that nobody waits for its heartbeat
        tail --pid="$raylet" -f /dev/null
        exit 0
    fi
    echo "uvicorn or the raylet ended by itself" >&2
    exit 1
}

case $role in
    head | worker | api) "$role" ;;
    bootstrap) exec python3 -m seedcore.bootstrap ;;
    *)
        echo "unknown role '$role'; known are head, worker, bootstrap, api" >&2
        exit 2
        ;;
esac
