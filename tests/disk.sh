#!/usr/bin/env bash
# A full disk and a failing one, with the real server: runs the tests of tests/process that need
# file systems of their own, in a mount name space, so that nothing stays behind.
# Usage: tests/disk.sh [BINARY]. Where mounting is not allowed it says so, and with
# GRANARY_DISK_TESTS=required it fails. GRANARY_DISK_FS=ext4 or xfs has disks full that are no tmpfs.
set -uo pipefail
cd "$(dirname "$0")/.."

if [[ $# -gt 0 ]]; then
    GRANARY_BINARY=$(realpath -- "$1")
    export GRANARY_BINARY
fi

# not_possible WHAT: tells what was not tested.
not_possible() {
    printf '\n*** NOT TESTED HERE: %s ***\n\n' "$1"
    [[ ${GRANARY_DISK_TESTS:-} != required ]]
}

# run_tests FILTER COMMAND...: runs the ignored tests of this name inside of what COMMAND makes.
run_tests() {
    local filter=$1
    shift
    "$@" cargo test --locked --test process "$filter" -- --ignored --nocapture --test-threads 1
}

cargo test --locked --test process --no-run || exit 1

as_root=(unshare --mount --propagation private)
as_user=(unshare --user --map-root-user --mount)
probe='d=$(mktemp -d) && mount -t tmpfs -o size=1m tmpfs "$d" && umount "$d" && rmdir "$d"'
if "${as_root[@]}" sh -c "$probe" 2>/dev/null; then
    inside=("${as_root[@]}")
elif "${as_user[@]}" sh -c "$probe" 2>/dev/null; then
    inside=("${as_user[@]}")
else
    not_possible "a full disk, a failing disk: nobody may mount a tmpfs"
    exit
fi
status=0
run_tests full_disk "${inside[@]}" || status=1

probe='d=$(mktemp -d) && mount -t tmpfs -o size=9m tmpfs "$d" && truncate -s 8m "$d/image" &&
    mkfs.ext4 -q "$d/image" && mkdir "$d/m" && mount -o loop "$d/image" "$d/m" && umount "$d/m"'
if "${inside[@]}" sh -c "$probe" >/dev/null 2>&1; then
    run_tests sick_disk "${inside[@]}" || status=1
else
    not_possible "a failing disk: no loop devices" || status=1
fi
exit "$status"
