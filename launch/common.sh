# shellcheck shell=bash
# The scripts beside this one source it. It puts .venv on the PATH and sets `options` of shardtune supervise from
#   HOSTS=a:4,b:4    machines to use over ssh, with the number of processes on each; they share this folder and the data
#   INTERFACE=eth0   the network interface between them, where they have several
# CUDA_VISIBLE_DEVICES=0,1 chooses GPUs of this machine, and so the number of workers; horovodrun does not pass it to others.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if ! [ -x "$root/.venv/bin/shardtune" ]; then
  echo "$(basename "$0"): $root/.venv does not exist. Run launch/setup.sh first." >&2
  exit 1
fi
PATH=$root/.venv/bin:$PATH
# shellcheck disable=SC2034 # the scripts use it
options=(${HOSTS:+--hosts "$HOSTS"} ${INTERFACE:+--interface "$INTERFACE"})
