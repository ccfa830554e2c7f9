#!/bin/bash
# Keeps one throw-away machine: mounts, boots, reboots, and removes every trace of it.
#
# Arguments: DIR (empty, ours), CGROUP (below the cgroup2 mount), LOWER (overlay layers), SIZE (of
# what the machine may write), STAGE (tree copied in before the first boot, may be empty).
#
# The harness starts it under setpriv --pdeathsig TERM: when the test dies, however it dies, TERM
# arrives here. All mounts live in a namespace of the inner process, so they end with it.
set -u
dir=$1 cgroup=$2 lower=$3 size=$4 stage=$5
name=${cgroup##*/}

inner() {
    set -eu
    mount --make-rprivate /
    mount -t tmpfs -o "size=$size,mode=0755" lab "$dir"
    mkdir "$dir/upper" "$dir/work" "$dir/root"
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
    if [ -n "$stage" ]; then cp -a --remove-destination "$stage/." "$dir/root/"; fi
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
    status=133
    # 133 is nspawn's way to say that the machine wants to be rebooted (--keep-unit).
    while [ "$status" -eq 133 ]; do
        status=0
        # The shell that becomes nspawn enters the group, not the one that waits: on a pure cgroup2
        # host a group with processes of its own cannot hand controllers to its children.
        (
            echo 0 >"$cgroup/cgroup.procs"
            exec setpriv --pdeathsig KILL -- systemd-nspawn --quiet --boot \
                --directory="$dir/root" --machine="$name" --hostname=lab --register=no --keep-unit \
                --private-network --console=pipe --link-journal=no --timezone=off --resolv-conf=off
        ) </dev/null || status=$?
    done
    exit "$status"
}

# Empty groups go from the leaves up; a v1 name=systemd hierarchy gets a shadow of the tree.
remove_groups() {
    local try group
    for group in "$cgroup" "/sys/fs/cgroup/systemd/$name"; do
        for try in 1 2 3 4 5 6 7 8 9 10; do
            [ -d "$group" ] || break
            find "$group" -depth -type d -delete 2>/dev/null
            [ -d "$group" ] || break
            sleep "0.0$try"
        done
    done
}

cleanup() {
    trap '' TERM INT HUP
    if [ -e "$cgroup/cgroup.kill" ]; then
        echo 1 >"$cgroup/cgroup.kill"
    fi
    kill -KILL "$child" 2>/dev/null
    wait "$child" 2>/dev/null
    remove_groups
    rm -rf --one-file-system "$dir"
    if [ -n "$stage" ]; then rm -rf --one-file-system "$stage"; fi
}

if [ "${LAB_INNER:-}" = 1 ]; then
    inner
fi

mkdir "$cgroup" || exit 1
child=
# The console's text stays for the harness when the machine ends by itself.
trap 'cleanup; rm -f "$dir.console"; exit 0' TERM INT HUP
LAB_INNER=1 setpriv --pdeathsig KILL -- unshare --mount -- bash "$0" "$@" &
child=$!
wait "$child"
status=$?
cleanup
exit "$status"
