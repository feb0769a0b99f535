#!/usr/bin/env bash
# Smoke test of the real binary on real files: push, pull, compare, kill -9, restart, compare.
# Usage: tests/smoke.sh BINARY. Needs bash and the usual file tools; listens on loopback only.
set -uo pipefail

granary=$(realpath -- "${1:?usage: tests/smoke.sh BINARY}")
repository=$(cd -- "$(dirname -- "$0")/.." && pwd)
work=$(mktemp -d)
server=
passed=0
failed=0

# Nothing of the user who runs this: no session, no settings, no data directory nearby.
unset "${!GRANARY_@}" XDG_CONFIG_HOME RUST_LOG
export HOME=$work/home
mkdir "$HOME"
cd "$work" || exit 1

clean_up() {
    [[ -z $server ]] || kill -9 "$server" 2>/dev/null
    rm -rf -- "$work"
}
trap clean_up EXIT

die() {
    echo "cannot go on: $*"
    [[ ! -s $work/server.log ]] || { echo "the server's log ends:" && tail -n 20 "$work/server.log"; }
    exit 1
}

# check CLAIM COMMAND...: the claim holds if the command succeeds.
check() {
    local claim=$1
    shift
    if "$@" >"$work/output" 2>&1; then
        passed=$((passed + 1))
        echo "ok: $claim"
    else
        failed=$((failed + 1))
        echo "FAILED: $claim"
        tail -n 20 "$work/output" | sed 's/^/    /'
    fi
}

# fails_saying TEXT COMMAND...: the command ends with status 1 and one sentence that holds TEXT; a
# server's log is no part of that.
fails_saying() {
    local text=$1 status=0 said
    shift
    said=$("$@" 2>&1) || status=$?
    echo "status $status: $said"
    said=$(grep -Ev '^[0-9]{4}-[0-9]{2}-[0-9]{2}T' <<<"$said")
    [[ $status -eq 1 && $said == "granary: "*"$text"* && $said != *$'\n'* && $said != *panicked* ]]
}

# prints TEXT COMMAND...: the command succeeds and its output holds TEXT.
prints() {
    local text=$1 said
    shift
    said=$("$@" 2>&1) || { echo "$said" && return 1; }
    echo "$said"
    [[ $said == *"$text"* ]]
}

# start_server ADDRESS: starts it and waits for its line; sets server, url and listen.
start_server() {
    local line
    rm -f "$work/announcements"
    mkfifo "$work/announcements"
    "$granary" serve --data "$work/data" --listen "$1" >"$work/announcements" 2>>"$work/server.log" &
    server=$!
    # Stays open, so that the server never writes into a closed pipe.
    exec 3<"$work/announcements"
    while read -r -t 120 -u 3 line; do
        echo "$line" >>"$work/announced"
        if [[ $line == "granary listening on http://"* ]]; then
            url=${line#granary listening on }
            listen=${url#http://}
            return
        fi
    done
    die "the server did not start"
}

# stop_server SIGNAL: sends it and waits; sets status.
stop_server() {
    kill "-$1" "$server"
    wait "$server" 2>/dev/null
    status=$?
    server=
}

# kill_during_push LINES: waits until push was answered for as many files, then kill -9.
kill_during_push() {
    local line
    for ((number = 0; number < $1; number++)); do
        read -r -t 120 -u 4 line || die "push ended before the server was killed"
        echo "$line"
    done >"$work/answered.lines"
    stop_server KILL
}

same() {
    diff -r "$1" "$2"
}

make_files() {
    mkdir -p files/deep/er/est "files/with space" "files/ünïcødé/目录"
    cp -r "$repository/engine" "$repository/src" files/ || die "cannot copy the sources"
    : >files/empty
    : >"files/with space/empty too"
    head -c 3145728 /dev/urandom >files/deep/er/est/three-mebibytes.bin
    head -c 1048576 /dev/urandom >files/exactly-one-mebibyte
    head -c 1048577 /dev/urandom >files/one-byte-more
    echo "a + b = 100% ; #1? 'q' \"d\" & \\" >"files/with space/a+b=100%;#1?'q'\"d\"&\\.txt"
    echo "names are text" >"files/ünïcødé/目录/ファイル — naïve 🙂.txt"
    printf 'line\nbreak' >$'files/with space/line\nbreak'
    echo hidden >files/.hidden
    cp files/one-byte-more "files/deep/the same again"
    for number in {1..200}; do
        head -c $((number * 331)) /dev/urandom >"files/deep/er/random-$number.bin"
    done
    mkdir -p many/{a,b,c,d}
    for number in {1..3000}; do
        echo "file number $number" >"many/$(printf 'abcd' | cut -c $((number % 4 + 1)))/$number.txt"
    done
}

make_files
echo "$(find files -type f | wc -l) files, $(du -sh files | cut -f1); $(find many -type f | wc -l) small ones"

# First start, login.
start_server 127.0.0.1:0
password=$(cat data/admin-password) || die "the first start wrote no password"
check "the first start prints the password" grep -qF -- "$password" announced
check "the password is for its owner only" test "$(stat -c %a data/admin-password)" = 600
check "a second server on the same data is refused" \
    fails_saying "in use" "$granary" serve --data data --listen 127.0.0.1:0
check "without a login the next step is named" \
    fails_saying "granary login --url $url" "$granary" ls --url "$url"
check "beside its data directory no login is needed" \
    env GRANARY_DATA="$work/data" "$granary" ls --url "$url"
login() {
    printf '%s\n' "$1" | "$granary" login --url "$url"
}
check "a wrong password is refused in one sentence" fails_saying "does not accept" login wrong
check "login works" login "$password"
check "the session is for its owner only" \
    test "$(stat -c %a "$HOME/.config/granary/tokens.json")" = 600

# Push, pull, compare.
push() {
    "$granary" push "$1" --dataset "$2" --url "$url"
}
pull() {
    "$granary" pull --dataset "$1" "$2" --url "$url"
}
check "pulling what is not there says so" fails_saying "no dataset" pull nothing nowhere
check "a folder is pushed" push files one
check "it is pulled" pull one pulled
check "it comes back byte for byte" same files pulled
check "pushing again sends nothing" prints "sent 0 (0 B)" push files one
check "pulling again fetches nothing" prints "fetched 0 (0 B)" pull one pulled
check "a single file is pushed, whose content the server has" \
    prints "attached without sending 1 (1.00 MiB)" push files/one-byte-more single
check "ls names the file" prints "  one-byte-more" "$granary" ls single --url "$url"
check "ls names the dataset" prints "single" "$granary" ls --url "$url"
echo "other" >changed
mkdir changes && mv changed changes/one-byte-more
check "other content under a name in use is reported" \
    bash -c '! "$@" >said; grep -q "differ 1" said' - \
    "$granary" push changes --dataset single --url "$url"

# kill -9 during a push: whatever was answered is there afterwards.
mkfifo sent
"$granary" push many --dataset two --url "$url" --jobs 4 --verbose >sent 2>push.log &
pusher=$!
exec 4<sent
kill_during_push 700
{ kill -9 "$pusher" && wait "$pusher"; } 2>/dev/null
cat <&4 >>answered.lines
exec 4<&-
# The last line may be cut off in the middle of a name.
grep -E '^sent [abcd]/[0-9]+\.txt$' answered.lines | cut -c 6- | sort >answered
echo "the server was killed after $(wc -l <answered) of 3000 files were answered for"
start_server "$listen"
"$granary" ls two --url "$url" | cut -c 67- | sort >listed
check "every file that was answered for is there after kill -9" \
    bash -c '[[ -s answered && -z $(comm -23 answered listed | tee /dev/stderr) ]]'
check "pushing again completes it" push many two
check "it is pulled" pull two pulled-two
check "it comes back byte for byte" same many pulled-two
check "what was there before is unharmed" pull one pulled-again
check "and byte for byte the same" same files pulled-again

# A push outlives a restart of the server.
rm sent && mkfifo sent
"$granary" push many --dataset three --url "$url" --jobs 4 --verbose >sent 2>push.log &
pusher=$!
exec 4<sent
kill_during_push 700
start_server "$listen"
cat <&4 >/dev/null
exec 4<&-
wait "$pusher"
check "a push outlives kill -9 and a restart of the server" test $? -eq 0
check "it is pulled" pull three pulled-three
check "it comes back byte for byte" same many pulled-three

# An end in order.
stop_server TERM
check "SIGTERM ends the server with status 0" test "$status" -eq 0
start_server "$listen"
check "the password is told once" test "$(grep -cF -- "$password" announced)" -eq 1
check "what was there is there" prints "fetched 0 (0 B)" pull three pulled-three
stop_server INT
check "SIGINT ends the server with status 0" test "$status" -eq 0
check "what is stored is sound after all that" prints "sound: " "$granary" check --data data --deep
check "a server that is gone is told in one sentence" fails_saying "no answer" pull one nowhere

echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
