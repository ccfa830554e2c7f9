# shellcheck shell=bash
# What tests/run and the scripts of packaging/ share; sourced by them, at the top of the tree.

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        echo "${0##*/}: this needs root, and there is no sudo: run it as root" >&2
        return 1
    fi
}

# need COMMAND=PACKAGE…: installs the packages of those commands that are not there, saying so.
need() {
    local pair missing=()
    for pair; do
        if ! PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%=*}" >/dev/null; then
            missing+=("${pair#*=}")
        fi
    done
    if [ "${#missing[@]}" -eq 0 ]; then return; fi
    if ! command -v apt-get >/dev/null; then
        echo "${0##*/}: missing, and this is no Debian: ${missing[*]}" >&2
        return 1
    fi
    echo "${0##*/}: installing through apt: ${missing[*]}" >&2
    as_root apt-get update -qq >&2
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends -qq "${missing[@]}" >&2
}

need_rust() {
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH="$HOME/.cargo/bin:$PATH"
    fi
    if ! command -v cargo >/dev/null; then
        echo "${0##*/}: no cargo: install a Rust toolchain, 1.89 or later (https://rustup.rs, or Debian's rustc-web and cargo-web)" >&2
        return 1
    fi
    # rustc links through cc, and ring has a few lines of C and assembly.
    need cc=build-essential
}

need_packaging() {
    need_rust
    need dpkg-buildpackage=dpkg-dev dh=debhelper fakeroot=fakeroot perl=perl
}

# The files that the package is made of, each with a NUL behind it; not what a build in place leaves
# in debian/.
package_sources() {
    local of=(Cargo.toml Cargo.lock LICENSE src debian systemd packaging tests) file
    { git ls-files -z --cached --others --exclude-standard -- "${of[@]}" 2>/dev/null ||
        find "${of[@]}" -type f -print0; } |
        while IFS= read -r -d '' file; do
            if [ -e "$file" ]; then printf '%s\0' "$file"; fi
        done
}

# copy_package_sources FOLDER
copy_package_sources() {
    mkdir -p "$1"
    package_sources | xargs -0 cp --parents --preserve=mode,timestamps --target-directory="$1"
}

# What boots throw-away machines. apt's lists say where Debian comes from on this host.
need_machines() {
    need mmdebstrap=mmdebstrap systemd-nspawn=systemd-container nsenter=util-linux
    # shellcheck disable=SC2016 # the dollar is apt's
    if ! apt-get indextargets --format '$(ORIGIN)' 'Created-By: Packages' | grep -qx Debian; then
        echo "${0##*/}: fetching apt's package lists" >&2
        as_root apt-get update -qq >&2
    fi
}

# cargo_as_root COMMAND…: cargo as the user who calls, what it builds run as root.
cargo_as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        cargo "$@"
    else
        local triple
        triple=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
        env "CARGO_TARGET_${triple}_RUNNER=sudo --preserve-env --" cargo "$@"
    fi
}
