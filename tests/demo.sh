#!/usr/bin/env bash
# Backs an application up, loses it and restores it, as a user would: `make demo`, or `make demo STORE=minio`.
#
# Needs nothing but what the tests need: the control plane is theirs (see tests/control-plane), ends with the demo, and
# plays nodes and pods; API server, controllers and Ark are real. Exits non-zero unless all of it went well.
# ARK_BIN names another `ark` than the one of this tree.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

store=${STORE:-local}
case $store in
local) plane=run ;;
minio) plane=run-minio ;;
*)
  echo "STORE is '$store': set it to local or minio" >&2
  exit 2
  ;;
esac

if [[ ${1-} != with-a-plane ]]; then
  if [[ -z ${ARK_BIN-} ]]; then
    cargo build --quiet --bin ark
    export ARK_BIN=${CARGO_TARGET_DIR:-target}/debug/ark
  fi
  exec cargo run --quiet --example control-plane -- "$plane" -- "$PWD/tests/demo.sh" with-a-plane
fi

work=$(mktemp -d)
mkdir "$work/bin" "$work/store"
ln -s "$(realpath "$ARK_BIN")" "$work/bin/ark"
PATH=$work/bin:$PATH
# Ark's own settings are the demo's, not those of whoever runs it.
export HOME=$work
server=

finish() {
  local code=$?
  trap - EXIT
  if [[ -n $server ]]; then
    if [[ $code != 0 && $code != 130 ]]; then
      printf '\nthe demo failed; the end of the log of "ark server":\n' >&2
      tail -n 40 "$work/server.log" >&2
    fi
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  rm -rf "$work"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n# %s\n' "$*"; }

fail() {
  printf '\n%s\n' "$*" >&2
  exit 1
}

# Shows a command and runs it; one that hangs fails. What is shown goes past a pipe that takes the output.
exec 3>&1
show() {
  printf '\n$ %s\n' "$*" >&3
  if command -v timeout >/dev/null; then timeout --foreground 180 "$@"; else "$@"; fi
}

# Prints the value of a column in the row of a table on standard input whose first column starts with $2. Columns right
# of one with spaces in it are not found, which those that matter here are not.
cell() {
  awk -v column="$1" -v row="$2" '
    NR == 1 { for (i = 1; i <= NF; i++) if ($i == column) at = i }
    NR > 1 && index($1, row) == 1 && at { print $at }'
}

expect() {
  local what=$1 got=$2 want=$3
  [[ $got == "$want" ]] || fail "$what: expected '$want', got '$got'"
}

say "Ark's resource types, namespace and permissions"
show kubectl apply -f manifests/common/00-prereqs.yaml
# All that are there: waiting for those by name would need the list of them here.
show kubectl wait --for=condition=Established crd --all --timeout=60s

say "where backups are kept: $store"
if [[ $store == local ]]; then
  provider="{name: local, bucket: ark, config: {path: $work/store}}"
else
  provider="{name: aws, bucket: ark, config: {region: us-east-1, s3ForcePathStyle: \"true\", s3Url: \"$S3_ENDPOINT\"}}"
fi
cat >"$work/config.yaml" <<EOF
apiVersion: ark.heptio.com/v1
kind: Config
metadata:
  namespace: heptio-ark
  name: default
backupStorageProvider: $provider
EOF
show cat "$work/config.yaml"
show kubectl apply -f "$work/config.yaml"

say "the server, which would run in the cluster"
printf '\n$ ark server &\n'
ark server >"$work/server.log" 2>&1 &
server=$!

say "an application"
show kubectl apply -f manifests/nginx-app/base.yaml
show kubectl wait --namespace nginx-example --for=condition=Available deployment --all --timeout=120s

say "a backup of it"
show ark backup create nginx-backup --selector app=nginx --wait
kill -0 "$server" 2>/dev/null || fail "the server has ended"
show ark backup get | tee "$work/backups"

say "a disaster"
show kubectl delete namespace nginx-example
show kubectl get deployments,services,pods --namespace nginx-example
if kubectl get namespace nginx-example >/dev/null 2>&1; then fail "the namespace is still there"; fi

say "and back"
show ark restore create nginx-backup --wait
show ark restore get | tee "$work/restores"
show kubectl wait --namespace nginx-example --for=condition=Available deployment --all --timeout=120s
show kubectl get deployments,services,pods --namespace nginx-example

expect "the backup's status" "$(cell STATUS nginx-backup <"$work/backups")" Completed
expect "the restore's status" "$(cell STATUS nginx-backup <"$work/restores")" Completed
expect "the restore's warnings" "$(cell WARNINGS nginx-backup <"$work/restores")" 0
expect "the restore's errors" "$(cell ERRORS nginx-backup <"$work/restores")" 0
printf '\nthe application is back: backup and restore completed without warnings and errors\n'
