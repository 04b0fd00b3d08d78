# shellcheck shell=bash
# What became of a run, for scripts that source this: launchers change statuses, outcome.json does not.

# Sets `train_dir` to what --train_dir says among the flags of shardtune train.
find_train_dir() {
  train_dir=
  while [ $# -gt 0 ]; do
    case $1 in
      --train[_-]dir=*) train_dir=${1#*=} ;;
      --train[_-]dir) train_dir=${2-} ;;
    esac
    shift
  done
  [ -n "$train_dir" ] || { echo "A run has a directory, but no --train_dir was given: name one." >&2; exit 2; }
}

# A field of its outcome.json, empty if there is none.
outcome() {
  python -c 'import json, sys; print(json.load(open(sys.argv[1])).get(sys.argv[2], ""))' "$train_dir/outcome.json" "$1" 2>/dev/null || true
}

# Wait for process $1 to the end; signals end `wait`, not the process. Sets `status`.
# shellcheck disable=SC2034
wait_out() {
  status=0
  while kill -0 "$1" 2>/dev/null; do
    wait "$1" && status=0 || status=$?
  done
}
