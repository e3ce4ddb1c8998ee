#!/usr/bin/env bash
# Brings a bare Debian 12 machine to a running Docker Engine 26.1 with the newest Compose and buildx that Debian has, and
# makes base images from Debian packages, so that images can be built where no container registry can be reached. Run as
# root; does only what is missing. An engine that answers is left alone if it is new enough.
#     .ci/install_docker.sh
#
#   DOCKER_ENGINE_DIR  folder that the engine's programs go to
#   DOCKER_DATA_ROOT   folder of the engine's images, containers and volumes, if this script starts the engine
#   PYTHON_BASES       releases of Debian of which to make a base image, seedcore/python-base:RELEASE
set -euo pipefail

engine_dir=${DOCKER_ENGINE_DIR:-/opt/seedcore-docker}
data_root=${DOCKER_DATA_ROOT:-/var/lib/docker}
read -ra python_bases <<<"${PYTHON_BASES:-trixie}"
min_engine=25 # as scripts/host/docker_engine.py has them
min_compose=2.24
engine_log=/var/log/dockerd-seedcore.log
engine_deadline_s=60
engine_release=trixie # Debian 12 itself has 20.10; these programs run there as well
plugins_release=sid
apt_options=(-o Acquire::Check-Valid-Until=false) # a mirror may be some weeks behind
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
plugin_dir=/usr/local/lib/docker/cli-plugins
export DEBIAN_FRONTEND=noninteractive

say() { printf '%s\n' "install_docker: $*" >&2; }
fail() { say "$@"; exit 1; }

require_programs() { # each is in the package of its name
    (($(command -v "$@" | wc -l) < $#)) || return 0
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

# The files of packages of another release, below a folder: fetch RELEASE FOLDER PACKAGE...
fetch() {
    local release=$1 folder=$2 mirror work apt package
    shift 2
    say "fetching $* of $release"
    mirror=$(debian_mirror)
    work=$(mktemp -d)
    mkdir -p "$work/lists/partial" "$work/archives/partial"
    echo "deb [signed-by=$keyring] $mirror $release main" >"$work/sources.list"
    # A package index of its own, so that nothing else is ever upgraded from there.
    apt=(apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" -o APT::Sandbox::User=root "${apt_options[@]}")
    "${apt[@]}" update
    (cd "$work" && "${apt[@]}" download "$@" >/dev/null)
    for package in "$work"/*.deb; do
        dpkg-deb --extract "$package" "$work/root"
    done
    rm -rf "$folder"
    mkdir -p "$(dirname "$folder")"
    mv "$work/root" "$folder"
    rm -rf "$work"
}

is_at_least() { # OLDEST VERSION
    [[ $(printf '%s\n' "$1" "${2#v}" | sort -V | head -n 1) == "$1" ]]
}

engine_version() {
    docker version --format '{{.Server.Version}}' 2>/dev/null
}

plugins_are_good() {
    local compose
    compose=$(docker compose version --short 2>/dev/null) && is_at_least "$min_compose" "$compose" &&
        docker buildx version >/dev/null 2>&1
}

install_engine() {
    # runc is this machine's own, since that of the next release needs a newer libc. tini is what docker-init links to.
    [[ -x $engine_dir/usr/sbin/dockerd ]] || fetch $engine_release "$engine_dir" docker.io docker-cli containerd tini
    ln -sf "$engine_dir/usr/bin/docker" /usr/local/bin/docker
    hash -r
}

install_plugins() {
    local work
    work=$(mktemp -d)
    fetch $plugins_release "$work/root" docker-compose docker-buildx
    mkdir -p "$plugin_dir"
    install "$work"/root/usr/libexec/docker/cli-plugins/docker-{compose,buildx} "$plugin_dir"
    rm -rf "$work"
    plugins_are_good || fail "Docker Compose >= $min_compose is needed, this is $(docker compose version 2>&1)"
}

start_engine() {
    say "starting the engine with its data in $data_root"
    mkdir -p "$data_root"
    setsid env PATH="$engine_dir/usr/sbin:$engine_dir/usr/bin:$PATH" \
        dockerd --data-root "$data_root" >"$engine_log" 2>&1 </dev/null &
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
    local release=$1 image=$2 mirror work
    say "making the base image $image from Debian packages"
    mirror=$(debian_mirror)
    work=$(mktemp -d)
    # Through a file: of a pipe that breaks, Docker would make an empty image.
    mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates \
        --aptopt='Acquire::Check-Valid-Until "false"' "$release" "$work/root.tar" "$mirror"
    docker import "$work/root.tar" "$image"
    rm -rf "$work"
}

main() {
    command -v apt-get >/dev/null || fail "this is for Debian machines"
    ((EUID == 0)) || fail "run it as root: sudo $0"

    local version
    if version=$(engine_version); then
        is_at_least "$min_engine" "$version" ||
            fail "the engine that answers is $version, $min_engine or newer is needed. Stop it, then run this again."
    else
        require_programs runc iptables
        install_engine
        start_engine
    fi
    plugins_are_good || install_plugins
    local release image
    for release in "${python_bases[@]}"; do
        image=seedcore/python-base:$release
        [[ -z $(docker image ls --quiet "$image") ]] || continue
        require_programs mmdebstrap
        make_python_base "$release" "$image"
    done

    say "engine $(engine_version), Compose $(docker compose version --short), base images of ${python_bases[*]}"
}

main
