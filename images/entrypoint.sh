#!/usr/bin/env bash
# What each service runs, in containers (compose.yaml) and as plain processes (supervisord.conf):
#     entrypoint.sh head|worker|bootstrap|api
# Every flag of Ray and uvicorn stands here and nowhere else. All values come from the environment: knobs from .env, and
# what Ray itself reads from ray.env.
set -euo pipefail

role=${1:?usage: entrypoint.sh head|worker|bootstrap|api}
if [[ ! $role =~ ^(head|worker|bootstrap|api)$ ]]; then
    echo "entrypoint.sh knows head, worker, bootstrap and api, and not '$role'. A service of your own with this image says" \
        "in entrypoint: what it runs" >&2
    exit 2
fi

# In a container the kernel ends the process that eats the memory. Ray's own monitor would end first what it may start
# again, and that are the singletons, however little they have. Embedded there is no limit but the machine's, where the
# kernel acts much too late.
[[ $RUNTIME == local ]] || export RAY_memory_monitor_refresh_ms=${RAY_memory_monitor_refresh_ms:-0}

if [[ $RAY_AUTH_MODE == disabled ]]; then
    unset RAY_AUTH_TOKEN_PATH # Ray turns authentication on where it finds a token
fi

# Where the dashboard and the API listen. Ray's other ports are open on all addresses of the machine, whatever it is
# told; there the token is the guard.
listen=127.0.0.1
[[ $RUNTIME == local || -n ${CLUSTER_ADDRESS:-} ]] || listen=0.0.0.0 # of the container; compose.yaml publishes on 127.0.0.1

# Logs, packages of `runtime_env`, spilled objects. Embedded, the nodes share one machine, and each worker has its own.
node=${RAY_WORKER_NUMBER:-}
ray_dir=$RAY_TMPDIR/ray${node:+/node-$node}
if [[ $RUNTIME != local ]]; then
    # A folder of the volume for each container; bootstrap has the head's network, with its files, and so the head's. On
    # the network of the machine all containers have one host name, so the id is read where Docker keeps that name.
    container_id=$(sed -nE 's|.*/([0-9a-f]{12})[0-9a-f]{52}/hostname /etc/hostname .*|\1|p' /proc/self/mountinfo)
    container_id=${container_id:-$HOSTNAME}
    own_dir=/ray/node-$container_id
    ln --symbolic --force --no-dereference "$own_dir" "$ray_dir"
    export TMPDIR=$ray_dir/tmp XDG_CACHE_HOME=$ray_dir/cache # on disk as well, as /tmp is memory
fi

ray_flags=(
    --object-store-memory="$OBJECT_STORE_BYTES"
    --disable-usage-stats --log-color=false --temp-dir="$ray_dir"
)
if [[ -n ${CLUSTER_ADDRESS:-} ]]; then
    # Of several machines: each node is told its address, and has a hundred ports of its own, as docs/cluster.md lists
    # them. The head is number 0 of its machine, the API 1, the first worker 2.
    number=0
    case $role in
        api) number=1 ;;
        worker) number=$((1 + ${RAY_WORKER_NUMBER:-1})) ;;
    esac
    first=$((CLUSTER_PORTS + 100 * number))
    agent_port=$first
    ray_flags+=(
        --node-ip-address="$CLUSTER_ADDRESS" --metrics-export-port=$((first + 1)) --node-manager-port=$((first + 2))
        --object-manager-port=$((first + 3)) --dashboard-agent-grpc-port=$((first + 4))
        --runtime-env-agent-port=$((first + 5)) --min-worker-port=$((first + 10)) --max-worker-port=$((first + 99))
    )
else
    agent_port=$((RAY_AGENT_PORT + ${RAY_WORKER_NUMBER:-0}))
    ray_flags+=(--min-worker-port=0 --max-worker-port=0) # any free port: two nodes on one machine share a range otherwise
    # Ray's own metrics and those of the actors, for images/prometheus/prometheus.yml. Embedded, any free port: the nodes
    # share one machine, and Ray lists them in $ray_dir/prom_metrics_service_discovery.json.
    [[ $RUNTIME == local ]] || ray_flags+=(--metrics-export-port=9101)
fi
ray_flags+=(--dashboard-agent-listen-port="$agent_port")
[[ $RUNTIME == local ]] || echo "$agent_port" >/tmp/agent_port # for the health check

# Whether a knob has what pydantic takes for true.
is_on() {
    [[ ${1,,} =~ ^(1|t|true|y|yes|on)$ ]]
}

# Run a command until it ends or this script is told to stop, and then exit with 0. `ray start --block` exits with 1
# when it is told to stop, which looks like a failure.
run_until_stopped() {
    local child stopping="" code=0
    trap 'stopping=1; kill -TERM "$child" 2>/dev/null || true' TERM INT
    # A command whose parent was killed is told to stop as well: nothing of the embedded stack is left behind. In the
    # background a shell has it ignore SIGINT, by which Ray interrupts a task that somebody cancels.
    setpriv --pdeathsig TERM env --default-signal=INT,QUIT "$@" &
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

# Whether a process ends within so many seconds.
ended_within() {
    timeout "$1" tail --pid="$2" -f /dev/null
}

# Process ids of the children of the container's init: this script, and what `ray start` has left running.
children_of_init() {
    local stat
    for stat in /proc/[0-9]*/stat; do
        read -r stat <"$stat" || continue
        [[ ${stat##*) } != ?' 1 '* ]] || echo "${stat%% *}"
    done 2>/dev/null
}

# A Ray node with these arguments of `ray start`, and with the command, if there is one, that follows after `--`. Ends
# when any of its processes ends, or this script is told to stop.
run_node() {
    local flags=() knob=() pid raylet="" server="" stopping="" ended=""
    local -A names=()
    while (($#)) && [[ $1 != -- ]]; do
        flags+=("$1")
        shift
    done
    [[ $RUNTIME == local ]] || hold_own_dir
    tidy_ray_dir
    [[ $RUNTIME == local ]] || knob=("${role^^}_MEMORY")
    setpriv --pdeathsig TERM python3 -m scripts.worker_logs "$ray_dir" "$LOG_FORMAT" "${knob[@]}" &
    # Embedded, `ray start` stays and ends all of the node when this script is killed, as the end of a container does.
    [[ $RUNTIME != local ]] || run_until_stopped ray start --block "${flags[@]}"

    ray start "${flags[@]}" >/dev/null # without --block, for which 80 MiB of Python would stay
    for pid in $(children_of_init); do
        ((pid != $$)) || continue
        [[ $(<"/proc/$pid/comm") != raylet ]] || raylet=$pid
        tail --pid="$pid" -f /dev/null & # a job that ends when the process does
        names[$!]=$(<"/proc/$pid/comm")
    done
    trap 'stopping=1; [[ -z $server ]] || kill -TERM "$server" 2>/dev/null || true' TERM INT
    if (($#)); then
        shift
        "$@" &
        server=$!
        names[$server]="the API's server"
    fi
    wait -n -p ended || true # whichever dies, the container ends and is started again
    if [[ -n $stopping ]]; then
        [[ -z $server ]] || ended_within 8 "$server" || kill -KILL "$server"
        # It leaves the cluster in order, so that nobody waits for its heartbeat; without a head it would wait for one.
        kill -TERM "$raylet"
        ended_within 5 "$raylet" || kill -KILL "$raylet"
        exit 0
    fi
    echo "${names[${ended:-none}]:-a process} of this node ended by itself. What it wrote is above, or in Ray's own" \
        "logs, which \`make support-bundle\` gathers" >&2
    exit 1
}

# The control plane outlives a restart of this container, and starts afresh in a new one: so one folder per container.
keep_only() {
    local keep=$1 sibling
    shift
    for sibling in "$@"; do
        [[ $sibling == "$keep" || ! -e $sibling ]] || rm -rf -- "$sibling"
    done
}

# Make the folder of this container, and hold it locked as long as a process of this script lives: whoever comes next
# removes those that nobody holds.
hold_own_dir() {
    local all lock other
    # One container at a time, else one could remove the folder that another one has just made.
    if ! exec {all}</ray || ! flock "$all" || ! mkdir -p "$own_dir/tmp"; then
        echo "Ray cannot write to its folder /ray (RAY_TEMP_DIR) as user $(id -u): give it a folder that this user owns," \
            "or leave the knob empty" >&2
        exit 1
    fi
    exec {lock}<"$own_dir"
    flock "$lock"
    for other in /ray/node-*; do
        [[ $other == "$own_dir" ]] || flock --nonblock "$other" rm -rf -- "$other" || true # of one that lives
    done
    exec {all}<&-
}

# What an earlier start of this node has left: its last session stays, and what the workers of that one have written is
# set aside, since Ray's log monitor would send all of it to the drivers once more.
tidy_ray_dir() {
    local sessions=("$ray_dir"/session_2*) logs # sorted by name, that is by time
    keep_only "${sessions[-1]}" "${sessions[@]}"
    logs=${sessions[-1]}/logs
    [[ -d $logs ]] || return 0
    mkdir -p "$logs/old"
    find "$logs" -maxdepth 1 -name "worker-*" -exec mv --target-directory="$logs/old" {} +
}

head() {
    local gcs_dir=${GCS_DIR:-/gcs}/${container_id:-local}
    keep_only "$gcs_dir" "${gcs_dir%/*}"/*
    [[ $RUNTIME == local ]] || ln --symbolic --force --no-dereference "$own_dir" /ray/head # where Prometheus looks
    # Embedded, Ray takes a worker's process and this file for a head that runs already, and does not start again.
    rm -f "$ray_dir/ray_current_cluster"
    # Ray Client's server forks a process for each client; with gRPC's fork handlers one in several dies before it starts
    # ("epoll_wait error: Bad file descriptor"), and its client waits for 30 s.
    export GRPC_ENABLE_FORK_SUPPORT=0
    # A killed node refuses the health check; after five refusals its actors start elsewhere. Ray's default of 3 s makes
    # that 15 s. A paused or cut-off node is dead after five timeouts of 10 s, as before.
    export RAY_health_check_period_ms=1000
    export RAY_gcs_storage=rocksdb RAY_gcs_storage_path=$gcs_dir
    # Where the dashboard finds them; Ray's own variables in .env win. Without a Grafana it has no Metrics tab, instead of
    # one that shows an error.
    export RAY_GRAFANA_HOST=${RAY_GRAFANA_HOST:-DISABLED}
    [[ $RUNTIME == local ]] || export RAY_PROMETHEUS_HOST=${RAY_PROMETHEUS_HOST:-http://prometheus:9090}
    # Off by Ray's own default: whoever may use the dashboard may then look into every process.
    ! is_on "${PROFILING:-}" || export RAY_DASHBOARD_ENABLE_PROFILING=1
    if [[ -n ${CLUSTER_ADDRESS:-} ]]; then
        setpriv --pdeathsig TERM python3 -m scripts.code_sync publish &
    fi
    # No CPUs: neither work nor a singleton runs next to the control plane.
    run_node --head --num-cpus=0 "${ray_flags[@]}" \
        --port="${RAY_ADDRESS##*:}" --ray-client-server-port="$RAY_CLIENT_PORT" \
        --dashboard-host="$listen" --dashboard-port="$DASHBOARD_PORT"
}

worker() {
    if [[ -n ${CLUSTER_HEAD:-} ]]; then # of another machine: it has no state volume, and runs the code of the head's
        local code_dir=$RAY_TMPDIR/code
        mkdir -p "$code_dir"
        python3 -m scripts.code_sync follow "$code_dir" --once
        setpriv --pdeathsig TERM python3 -m scripts.code_sync follow "$code_dir" &
        export PYTHONPATH=$code_dir:$code_dir/images/startup:$PYTHONPATH
    else
        # The custom resource stands for the state volume: a singleton asks for a little of it and so lands here.
        ray_flags+=(--resources="{\"$STATE_RESOURCE\": 1000}")
    fi
    run_node --address="$RAY_ADDRESS" --num-cpus="$RAY_WORKER_CPUS" "${ray_flags[@]}"
}

api() {
    export RAY_ENABLE_AUTO_CONNECT=0 # it connects when it can, and answers meanwhile
    export RAY_LOG_TO_DRIVER=0 # what its actors print is in the log of the node they run on
    # h11 refuses endless headers; httptools, which uvicorn prefers, keeps them all: 64 MiB of them take 1.3 GiB.
    # A client is to close an idle connection first, within 75 s: uvicorn's 5 s are httpx's as well, and then a request
    # may meet the end of its connection.
    local program=(uvicorn)
    if is_on "$API_RELOAD"; then
        program=(python3 -m seedcore.api.reloader)
        # A file that is saved twice within a second, with the same length, would run as it was first.
        export PYTHONDONTWRITEBYTECODE=1
    fi
    if [[ ${API_DEBUG:-} == 1 || -e ${STACK_RUN_DIR:-/nowhere}/debug ]]; then # `make debug`, on Docker and embedded
        export PYDEVD_DISABLE_FILE_VALIDATION=1 # says at each start that the standard library is compiled in
        program=(python3 -m debugpy --listen "$listen:$DEBUG_PORT" -m uvicorn)
    fi
    local level=${LOG_LEVEL,,}
    local server=("${program[@]}" seedcore.api.server:app --host "$listen" --port "$API_PORT"
        --log-level "${level/%warn/warning}" --no-access-log --no-server-header --timeout-graceful-shutdown 5
        --timeout-keep-alive 75 --http h11)

    # Embedded, the API is a driver on the head's node: a driver needs some node on its machine.
    [[ $RUNTIME != local ]] || run_until_stopped "${server[@]}"

    run_node --address="$RAY_ADDRESS" --num-cpus=0 "${ray_flags[@]}" -- "${server[@]}"
}

case $role in
    head | worker | api) "$role" ;;
    bootstrap) RAY_LOG_TO_DRIVER=0 exec python3 -m scripts.run_module seedcore.bootstrap ;;
esac
