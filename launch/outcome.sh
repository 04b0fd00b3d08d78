# shellcheck shell=bash
# Run `shardtune train` and learn what became of it, for scripts that source this: launchers change statuses, outcome.json
# does not.

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
  [ -n "$train_dir" ] || { echo "$(basename "$0"): A run has a directory, but no --train_dir was given: name one." >&2; exit 2; }
}

# A field of its outcome.json, empty if there is none.
outcome() {
  python -c 'import json, sys; print(json.load(open(sys.argv[1])).get(sys.argv[2], ""))' "$train_dir/outcome.json" "$1" 2>/dev/null || true
}

begun() { [ "$(outcome attempt)" != "$before" ]; }
running() { begun && [ "$(outcome outcome)" = running ]; }

# Run a command to its end, and set `became`:
#   finished   all steps are done, perhaps before
#   stopped    somebody asked for it, and the same command goes on
#   failed     a rank met an error that would come again
#   lost       a rank died or hung
#   refused    it did not begin, and said why
# and `status`, that of the command. SIGINT, SIGTERM and SIGUSR1 stop the run, by the caller's signal_rank, and set `asked`.
# shellcheck disable=SC2034
supervise() {
  local ender signal
  before=$(outcome attempt) asked='' job=''
  for signal in INT TERM USR1; do
    # shellcheck disable=SC2064 # with the name that it has now
    trap "ask $signal" $signal
  done
  setsid "$@" & # in a session of its own, which Ctrl-C does not reach
  job=$!
  end_launcher >/dev/null 2>&1 &
  ender=$!
  wait "$job" && status=0 || status=$?
  while kill -0 "$job" 2>/dev/null; do wait "$job" && status=0 || status=$?; done # a signal ended only the waiting
  for _ in {1..60}; do # a shell that horovodrun puts around mpirun may have ended first
    kill -0 -- "-$job" 2>/dev/null || break
    sleep 1
  done
  trap - INT TERM USR1
  kill "$ender" 2>/dev/null || true
  became=lost
  if ! begun; then
    became=refused
    [ "$status" -ne 0 ] || became=finished
    [ -z "$asked" ] || became=stopped
  elif [ "$(outcome outcome)" = finished ]; then
    became=finished
  elif [ -n "$asked" ] || [ "$(outcome outcome)" = stopped ]; then
    became=stopped
  elif [ -n "$(outcome rank)" ]; then
    became=failed
  fi
}

# Never the launcher is told once there is something to save: it would kill the ranks.
ask() {
  asked=$1
  if running; then signal_rank; elif ! begun; then kill -- "-$job" 2>/dev/null || kill "$job"; fi || true # it may just be gone
}

# A launcher may wait for ever for a host that is gone: it has a while to end when its run has.
end_launcher() {
  while ! begun || running; do sleep 5; done
  sleep 30
  kill -- "-$job"
  sleep 15
  kill -KILL -- "-$job"
}
