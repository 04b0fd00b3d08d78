# shellcheck shell=bash
# What the scripts beside this one share: they source it, with their own arguments.
#
#   HOSTS=a:4,b:4    machines to use over ssh, with how many processes on each; they share this folder and the data
#   INTERFACE=eth0   the network interface between them, where they have several
#   --dry_run        (first argument) print the command, and run nothing
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
say() { echo "$(basename "$0"): $*" >&2; }
fail() {
  say "$*"
  exit 1
}

dry_run=
if [ "${1-}" = --dry_run ]; then
  dry_run=1
  shift
fi
[ -x "$root/.venv/bin/shardtune" ] || fail "Commands are run from .venv, but $root has none: run launch/setup.sh first."
PATH=$root/.venv/bin:$PATH
HOSTS=${HOSTS:-} INTERFACE=${INTERFACE:-}
gpus=$(nvidia-smi -L 2>/dev/null | wc -l || true)
# For Open MPI: as many ranks as are asked for, even where cores are fewer; in a container all is root's.
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# Sets `processes` to those on all of "a:4,b:4".
# shellcheck disable=SC2034
count_processes() {
  local host
  processes=0
  for host in ${1//,/ }; do
    [[ $host =~ ^[^:]+:[1-9][0-9]*$ ]] || fail "HOSTS is a list like a:4,b:4, but it has $host: give each host its number of processes."
    processes=$((processes + ${host##*:}))
  done
}

# Whether a host's address is one of this machine's: only those can be bound to.
is_here() { python -c 'import socket, sys; socket.socket().bind((sys.argv[1], 0))' "$1" 2>/dev/null; }

# Sets `hosts` to those of "a:4,b:4" that can be reached.
# shellcheck disable=SC2034
find_answering() {
  local host alive=()
  for host in ${1//,/ }; do
    if is_here "${host%:*}" || ssh -n -o BatchMode=yes -o ConnectTimeout=10 "${host%:*}" true 2>/dev/null; then
      alive+=("$host")
    else
      say "${host%:*} does not answer, and is left out."
    fi
  done
  hosts=$(IFS=, && echo "${alive[*]}")
  [ -n "$hosts" ] || fail "None of $1 answers: run the same again when one does."
}

# Sets `launcher` to the words in front of a Horovod command, on "a:4,b:4" or, if there are none, on this machine; and
# `processes`. Gloo, between machines: it asks for no MPI there, and stops a job whose machines are gone.
# shellcheck disable=SC2034
choose_launcher() {
  if [ -n "$1" ]; then
    count_processes "$1"
    launcher=(horovodrun --gloo -np "$processes" -H "$1")
    # A host that is alone, and is this one, talks to itself by none of them.
    if [[ $INTERFACE ]] && { [[ $1 == *,* ]] || ! is_here "${1%:*}"; }; then launcher+=(--network-interfaces "$INTERFACE"); fi
  else
    processes=${WORKERS:-$((gpus > 0 ? gpus : 1))}
    launcher=(horovodrun -np "$processes")
  fi
}

# Sets `images` to the flags of shardtune build for a folder of photographs.
# shellcheck disable=SC2034
choose_images() {
  if [ -d "$1/train" ] && [ -d "$1/validation" ]; then
    images=(--train_directory "$1/train" --validation_directory "$1/validation")
  else
    images=(--train_directory "$1" --validation_fraction 0.2)
  fi
}

show() { # quoted where it must be
  local word line=
  for word; do
    [[ $word =~ ^[[:alnum:]_./:,=%+-]+$ ]] || printf -v word %q "$word"
    line+=" $word"
  done
  echo "${line# }"
}
run() {
  if [ -n "$dry_run" ]; then show "$@"; else "$@"; fi
}
