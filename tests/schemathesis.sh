#!/usr/bin/env bash
# Sends what the OpenAPI document permits, and what it forbids, to a real server and compares the
# answers with the document. Usage: tests/schemathesis.sh BINARY [OPTION OF SCHEMATHESIS]...
# Needs schemathesis 4 (pip install schemathesis) and curl; listens on loopback only.
set -euo pipefail

granary=$(realpath -- "${1:?usage: tests/schemathesis.sh BINARY [OPTION]...}")
shift
tests=$(cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d)
server=
unset GRANARY_DATA GRANARY_LISTEN
export GRANARY_ADMIN_PASSWORD="correct horse battery staple"

clean_up() {
    [[ -z $server ]] || kill -9 "$server" 2>/dev/null
    rm -rf -- "$work"
}
trap clean_up EXIT

"$granary" serve --data "$work/data" --listen 127.0.0.1:0 \
    --login-failures-per-account 0 --login-failures-per-address 0 >"$work/out" 2>"$work/log" &
server=$!
url=
until [[ -n $url ]]; do
    kill -0 "$server"
    url=$(grep -ho 'http://127.0.0.1:[0-9]*' "$work/out" "$work/log" | head -n 1) || sleep 0.1
done

login="{\"username\": \"admin\", \"password\": \"$GRANARY_ADMIN_PASSWORD\"}"
json='Content-Type: application/json'
token=$(curl -sf -H "$json" -d "$login" "$url/v1/auth/obtain" | sed 's/.*"access":"\([^"]*\)".*/\1/')

# send PATH BODY: a POST that must succeed.
send() {
    curl -sf -o /dev/null -H "Authorization: Bearer $token" -H "$json" -d "$2" "$url$1"
}

for number in 2 3 4 5 6 7 8 9 10 11 12 13; do
    send /v1/users/create "{\"username\": \"user-$number\", \"password\": \"pass-$number\"}"
    send /v1/teams/create "{\"name\": \"team-$number\"}"
    send /v1/projects/create "{\"name\": \"project-$number\", \"team\": 1}"
    send /v1/nodes/create "{\"ip\": \"10.0.0.$number\", \"index\": 0, \"cpu_mem\": 64}"
    send /v1/datasets/create \
        "{\"name\": \"dataset-$number\", \"project\": 1, \"licence\": 1, \"tags\": \"\"}"
    send "/v1/datasets/$((number - 1))/files/notes.txt" "notes of $number"
    send "/v1/datasets/$((number - 1))/files/images/cat.png" "a cat"
done

schemathesis --config-file "$tests/schemathesis.toml" run --url "$url" "$@" "$url/openapi.json"
