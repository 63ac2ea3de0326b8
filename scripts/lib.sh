# shellcheck shell=sh
# What scripts/start, scripts/test and .ci/run share: setting up, in steps that can be repeated.
# Sourced with PROJECT set, the checkout's absolute path. Every step prints a line.

VENV="$PROJECT/.venv"
PACKAGES="busybox-static ca-certificates graphviz libseccomp2"
# The first that pyproject.toml allows makes the environment. The distribution's own comes before all others: it is
# built with every optimisation, and starts a container in a fifth less time than one that pyenv has built.
SYSTEM_PYTHON=/usr/bin/python3
PYTHONS="python3.13 python3.12 python3.11 python3"

say() {
    printf '%s\n' "==> $*"
}

die() {
    printf '%s\n' "$0: $*" >&2
    exit 1
}

# quietly COMMAND...: run it, and show the end of what it printed only when it fails.
quietly() {
    log=$(mktemp)
    if "$@" >"$log" 2>&1 </dev/null; then
        rm -f "$log"
        return 0
    fi
    tail -n 40 "$log" >&2
    rm -f "$log"
    return 1
}

need_root() {
    [ "$(uname -s)" = Linux ] || die "containers are made by the Linux kernel; use a Linux machine, real or virtual"
    [ "$(id -u)" = 0 ] || die "containers take root's privileges; try again with sudo"
    # sudo may leave the caller's HOME in place, and what root wrote there the caller could not change.
    HOME=$(awk -F: '$3 == 0 { print $6; exit }' /etc/passwd)
    export HOME
}

# hand_back: what root made in the checkout belongs to the checkout's owner, who wants to be able to remove it.
hand_back() {
    owner=$(stat -c %u:%g "$PROJECT")
    [ "$owner" = 0:0 ] || find "$PROJECT" -xdev -uid 0 \( -type d -o -links 1 \) -exec chown -h "$owner" {} +
}

# install_packages PACKAGE...: what is missing of these, by apt-get.
install_packages() {
    if ! command -v apt-get >/dev/null; then
        say "packages: there is no apt-get here; please install what Debian calls $*"
        return
    fi
    missing=""
    for package; do
        installed=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) || installed=""
        [ "$installed" = "install ok installed" ] || missing="$missing $package"
    done
    if [ -z "$missing" ]; then
        say "packages: $* (installed already)"
        return
    fi
    say "packages: apt-get install$missing"
    quietly apt-get update -q || die "apt-get update failed; is there a network?"
    # $missing is a list. A new machine may be at its automatic upgrade, which holds dpkg's lock for a while.
    # shellcheck disable=SC2086
    quietly env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 $missing || die "apt-get could not install$missing"
}

# python_of COMMAND: version and path of this Python ("3.11.2 /usr/bin/python3"); nothing when it is too old or none.
python_of() {
    code='import sys; sys.version_info < (3, 11) or print("%d.%d.%d" % sys.version_info[:3], sys.executable)'
    "$1" -I -c "$code" 2>/dev/null || true
}

# find_python: set `python` to the path of the Python that makes the environment.
find_python() {
    if [ -n "${PYTHON-}" ]; then
        found=$(python_of "$PYTHON")
        python=${found#* }
        [ -n "$found" ] || die "PYTHON=$PYTHON is no Python 3.11 or newer"
        return
    fi
    for name in "$SYSTEM_PYTHON" $PYTHONS; do
        found=$(python_of "$name")
        python=${found#* }
        [ -z "$found" ] || return 0
    done
    install_python || die "no Python 3.11 or newer among $PYTHONS; name yours: sudo PYTHON=/path/to/python3 $0"
}

# install_python: set `python` to one of the distribution's; false when it has none that is new enough.
install_python() {
    command -v apt-get >/dev/null && quietly apt-get update -q || return 1
    for version in 3.13 3.12 3.11; do
        if apt-cache show "python$version-venv" >/dev/null 2>&1; then
            install_packages "python$version-venv"
            python=$(command -v "python$version")
            return
        fi
    done
    return 1
}

# environment_is_good: whether .venv works, was made for this place, and is of the Python that PYTHON asks for.
environment_is_good() {
    have=$(python_of "$VENV/bin/python")
    have=${have%% *}
    [ -n "$have" ] && "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || return 1
    [ ! -f "$VENV/made-for" ] || [ "$(head -n 1 "$VENV/made-for")" = "$PROJECT" ] || return 1
    [ -n "${PYTHON-}" ] || return 0
    wanted=$(python_of "$PYTHON")
    [ "$have" = "${wanted%% *}" ]
}

make_environment() {
    if environment_is_good; then
        say "environment: .venv, Python $have (made already)"
        return
    fi
    find_python
    if ! "$python" -I -c 'import ensurepip, venv' 2>/dev/null; then # Debian has these in a package of their own
        install_packages "$("$python" -I -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    fi
    say "environment: .venv, made by $python"
    rm -rf "$VENV"
    quietly "$python" -m venv "$VENV" || die "$python -m venv .venv failed"
}

# install_project: this checkout, and what it depends on, into the environment.
install_project() {
    stamp=$(printf '%s\n' "$PROJECT" && sha256sum <"$PROJECT/pyproject.toml")
    if [ "$(cat "$VENV/made-for" 2>/dev/null)" = "$stamp" ]; then
        say "Python packages: what pyproject.toml names (installed already)"
        return
    fi
    say "Python packages: pip install -e .[lab,test] (this takes a minute)"
    quietly "$VENV/bin/python" -m pip install -q --disable-pip-version-check -e '.[lab,test]' ||
        die "pip install failed; when it needs a proxy or an index that your environment names, try sudo -E $0"
    printf '%s\n' "$stamp" >"$VENV/made-for" # the last step: an interrupted installation is taken up again
}

# get_rootfs VERSION: set `rootfs` to the archive of a root filesystem ("" for the default one).
get_rootfs() {
    say "root filesystem: python -m minicontainer.images.rootfs${1:+ $1}"
    rootfs=$("$VENV/bin/python" -I -m minicontainer.images.rootfs --print-path ${1:+"$1"}) ||
        die "there is no root filesystem" # why, it has said; and where one is from it says on stderr as well
    export rootfs
}

# set_up: all of it, from a new machine on. Two at once take turns.
set_up() {
    need_root
    cd "$PROJECT" || exit
    trap hand_back EXIT
    trap 'exit 130' INT # dash runs no EXIT trap otherwise
    trap 'exit 143' TERM
    exec 9<"$PROJECT"
    flock 9
    # shellcheck disable=SC2086
    install_packages $PACKAGES
    make_environment
    install_project
    exec 9<&-
}
