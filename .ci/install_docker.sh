#!/usr/bin/env bash
# Brings a bare Debian machine to a running Docker Engine with Compose v2 and buildx, and makes a base image
# from Debian packages, so that images can be built where no container registry can be reached. Run as root; does
# only what is missing.
#     .ci/install_docker.sh
#
#   DOCKER_DATA_ROOT  folder of the engine's images, containers and volumes, if this script starts the engine
#   PYTHON_BASE       tag of the base image
set -euo pipefail

data_root=${DOCKER_DATA_ROOT:-/var/lib/docker}
python_base=${PYTHON_BASE:-seedcore/python-base:bookworm}
min_compose=2.24
engine_log=/var/log/dockerd-seedcore.log
engine_deadline_s=60
release=bookworm             # of the base image
next_release=trixie          # has Compose v2 as a package, which bookworm has not
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
plugin_dir=/usr/local/lib/docker/cli-plugins
export DEBIAN_FRONTEND=noninteractive

say() { printf '%s\n' "install_docker: $*" >&2; }
fail() { say "$@"; exit 1; }

install_packages() {
    say "installing $*"
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# The mirror that this machine's own apt installs Debian from.
debian_mirror() {
    local mirrors
    # shellcheck disable=SC2016 # apt itself expands it
    list_mirrors() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian'; }
    mirrors=$(list_mirrors)
    if [[ -z $mirrors ]]; then # apt knows the origin of what it has an index of
        apt-get update -qq
        mirrors=$(list_mirrors)
    fi
    [[ -n $mirrors ]] || fail "apt is configured with no Debian mirror; install Docker with Compose by hand"
    head -n 1 <<<"$mirrors"
}

compose_is_good() {
    local version
    version=$(docker compose version --short 2>/dev/null) || return 1
    [[ $(printf '%s\n' "$min_compose" "${version#v}" | sort -V | head -n 1) == "$min_compose" ]]
}

# Only these two plugins come from the next release: static Go programs that need none of its libraries.
install_plugins() {
    local work apt
    work=$(mktemp -d)
    mkdir -p "$work/lists/partial" "$work/archives/partial" "$plugin_dir"
    echo "deb [signed-by=$keyring] $(debian_mirror) $next_release main" >"$work/sources.list"
    # A package index of its own, so that nothing else is ever upgraded from there.
    apt=(apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" -o APT::Sandbox::User=root)
    say "installing the plugins compose and buildx"
    "${apt[@]}" update
    (cd "$work" && "${apt[@]}" download docker-compose docker-buildx >/dev/null)
    for package in "$work"/*.deb; do
        dpkg-deb --extract "$package" "$work/root"
    done
    install "$work"/root/usr/libexec/docker/cli-plugins/docker-{compose,buildx} "$plugin_dir"
    rm -rf "$work"
    compose_is_good || fail "Docker Compose >= $min_compose is needed, this is $(docker compose version 2>&1)"
}

start_engine() {
    say "starting the engine with its data in $data_root"
    mkdir -p "$data_root"
    setsid dockerd --data-root "$data_root" >"$engine_log" 2>&1 </dev/null &
    local engine=$! deadline=$((SECONDS + engine_deadline_s))
    until docker info >/dev/null 2>&1; do
        if ! kill -0 "$engine" 2>/dev/null || ((SECONDS > deadline)); then
            tail -n 20 "$engine_log" >&2
            fail "the engine did not start; the end of $engine_log is above"
        fi
        sleep 0.2
    done
}

make_python_base() {
    say "making the base image $python_base from Debian packages"
    mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates \
        "$release" - "$(debian_mirror)" | docker import - "$python_base" >/dev/null
}

main() {
    command -v apt-get >/dev/null || fail "this is for Debian machines"
    ((EUID == 0)) || fail "run it as root: sudo $0"

    local missing=()
    command -v dockerd >/dev/null || missing+=(docker.io iptables)
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
    if ! compose_is_good || ! docker buildx version >/dev/null 2>&1; then
        install_plugins
    fi
    docker info >/dev/null 2>&1 || start_engine
    docker image inspect "$python_base" >/dev/null 2>&1 || make_python_base

    say "engine $(docker version --format '{{.Server.Version}}')," \
        "Compose $(docker compose version --short), base image $python_base"
}

main
