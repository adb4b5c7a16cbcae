# Sourced by ./run and ./check: finds what is missing, installs it where that is known to work, builds.
#
# On Debian 12 and Ubuntu 22.04/24.04 (and newer releases of both) missing packages are installed with apt-get,
# through sudo when not root; nothing is asked of the network or of root when everything is there. Elsewhere
# the list of packages is printed and the script stops; TUFF_NO_INSTALL=1 skips this step on any system.

root=$(cd "$(dirname "$0")" && pwd)
build=${TUFF_BUILD_DIR:-$root/build/release}
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

# What each is for: README.md, "Dependencies".
packages_build="cmake ninja-build gcc g++ pkg-config libvulkan-dev glslang-dev spirv-tools
    mesa-vulkan-drivers libpng-dev libcjson-dev"
packages_tests="libcriterion-dev vulkan-validationlayers"

say() { printf '== %s\n' "$*"; }
die() { printf '== %s\n' "$*" >&2; exit 1; }

# The package, or something else that provides the same name, is installed.
installed() {
    case $1 in
        gcc) command -v cc >/dev/null 2>&1 && return 0 ;;
        g++) command -v c++ >/dev/null 2>&1 && return 0 ;;
        ninja-build) command -v ninja >/dev/null 2>&1 && return 0 ;;
        cmake | pkg-config) command -v "$1" >/dev/null 2>&1 && return 0 ;;
        spirv-tools) [ -e /usr/include/spirv-tools/libspirv.h ]; return ;; # newer releases: spirv-tools-dev
    esac
    dpkg-query -W -f '${Status}\n' "$1" 2>/dev/null | grep -q ' installed$'
}

known_system() {
    [ -r /etc/os-release ] && command -v apt-get >/dev/null 2>&1 || return 1
    id=$(. /etc/os-release && echo "${ID:-} ${VERSION_ID:-}")
    case $id in
        "debian "[0-9] | "debian "10* | "debian "11*) return 1 ;;
        "debian "*) return 0 ;; # testing and unstable carry no number
        "ubuntu 22.04" | "ubuntu "2[3-9].* | "ubuntu "[3-9]?.*) return 0 ;;
    esac
    return 1
}

# need PACKAGE...: install those that are missing.
need() {
    [ -z "${TUFF_NO_INSTALL:-}" ] || return 0
    if ! known_system; then
        say "this system is not one of Debian 12 or newer, Ubuntu 22.04 or newer."
        say "install what these packages contain, then run again with TUFF_NO_INSTALL=1:"
        printf '   %s\n' "$@"
        exit 1
    fi
    missing=
    for package; do installed "$package" || missing="$missing $package"; done
    [ -n "$missing" ] || return 0
    sudo=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || die "these packages are missing and need root to install:$missing"
        sudo=sudo
    fi
    say "installing with apt-get:$missing"
    $sudo apt-get update -q || say "the package lists could not be refreshed; trying with the present ones"
    if apt-cache show spirv-tools-dev >/dev/null 2>&1; then
        missing=$(echo "$missing" | sed 's/spirv-tools/&-dev/')
    fi
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing ||
        die "apt-get could not install:$missing"
}

# configure_and_build CMAKE-OPTION...
configure_and_build() {
    say "configuring in $build"
    generator=
    [ -f "$build/CMakeCache.txt" ] || { command -v ninja >/dev/null 2>&1 && generator="-G Ninja"; }
    # shellcheck disable=SC2086
    cmake $generator -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release "$@" >"$build.log" 2>&1 ||
        { cat "$build.log" >&2; die "configuring failed"; }
    say "building with $jobs jobs (the first time takes a minute)"
    cmake --build "$build" -j "$jobs" || die "the build failed"
}
