#!/bin/sh
# The first step of the image build, as root: says what a base image needs and this one lacks, and adds what Debian has
# a package of.
set -eu

oldest=11 newest=14 # Python 3.N, as scripts/host/make_venv.sh has them
modules="ensurepip sqlite3 ssl zoneinfo"

refuse() {
    echo "a base image (BASE_IMAGE) needs Debian or Ubuntu with python3 3.$oldest to 3.$newest; this one $*" >&2
    exit 1
}

system="no system that says its name"
# shellcheck disable=SC1091 # of the base image
[ ! -r /etc/os-release ] || system=$(. /etc/os-release && echo "$PRETTY_NAME")
[ -n "$(command -v apt-get)" ] || refuse "is $system"
[ -n "$(command -v python3)" ] || refuse "is $system without python3"
version=$(python3 -I -c 'import sys; print("%d.%d" % sys.version_info[:2])')
minor=${version#3.}
case $minor in
    *[!0-9]*) minor=0 ;;
esac
[ "$minor" -ge "$oldest" ] && [ "$minor" -le "$newest" ] || refuse "is $system with Python $version"

lacking() {
    # shellcheck disable=SC2086 # words
    python3 -I - $modules <<'PYTHON'
import sys
from importlib.util import find_spec

print(*(name for name in sys.argv[1:] if find_spec(name) is None))
PYTHON
}

packages=""
[ -n "$(command -v update-ca-certificates)" ] || packages="ca-certificates"
[ -z "$(lacking)" ] || packages="$packages python3-venv"
if [ -n "$packages" ]; then
    echo "adding what the base image lacks: $packages"
    # shellcheck disable=SC2086 # words
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install --yes -q --no-install-recommends $packages; } ||
        refuse "lacks $packages, which apt-get cannot install, as it says above"
    rm -rf /var/lib/apt/lists/*
fi
[ -z "$(lacking)" ] || refuse "is $system with a Python that lacks the modules $(lacking)"
