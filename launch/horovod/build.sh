#!/usr/bin/env bash
# Builds a wheel of Horovod for the active environment. launch/setup.sh calls it.
#
#   launch/horovod/build.sh FOLDER           for cores: MPI and Gloo
#   launch/horovod/build.sh FOLDER nccl      and NCCL, all of it from the packages that TensorFlow's GPU build brings
#   launch/horovod/build.sh FOLDER nvcc      the same, with the nvcc on the PATH for the kernels
#
# The source is Horovod 0.28.1, the last release, whose SHA-256 is in launch/lock/horovod.txt. It compiles with TensorFlow up to 2.18;
# the edits beside this script, one file each with its reason, bring it to 2.21. An edit that does not fit ends the build.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
output=$1 gpu=${2:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The source, and the edits.
pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-cache-dir \
  --require-hashes -r "$here/../lock/horovod.txt" -d "$work"
tar -xzf "$work"/horovod-*.tar.gz -C "$work"
source=$(echo "$work"/horovod-*/)
edits=(no-xla-operations gpu-stream silent-probe)
if [ "$gpu" = nccl ]; then
  edits+=(no-nvcc)
  cp "$here/cuda_kernels.cc" "$source/horovod/common/ops/cuda"
fi
for edit in "${edits[@]}"; do
  python -m patch_ng --strip 1 --directory "$source" "$here/$edit.patch"
done

# What to build. Its CMakeLists is older than what CMake 4 accepts; setuptools < 80 comes from the lock.
MAKEFLAGS=-j$(nproc)
export MAKEFLAGS CMAKE_POLICY_VERSION_MINIMUM=3.5
export HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_MPI=1 HOROVOD_WITH_GLOO=1
if [ -n "$gpu" ]; then
  export HOROVOD_GPU=CUDA HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_NCCL_LINK=SHARED
  packages=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  if [ -z "${HOROVOD_NCCL_HOME:-}" ]; then
    # The names that Horovod's build looks for.
    export HOROVOD_NCCL_HOME=$work/nccl
    mkdir -p "$work/nccl/lib"
    ln -s "$packages/nvidia/nccl/include" "$work/nccl/include"
    ln -s "$packages"/nvidia/nccl/lib/libnccl.so.2 "$work/nccl/lib/libnccl.so"
  fi
  if [ "$gpu" = nccl ]; then
    export HOROVOD_CUDA_HOME=$work/cuda
    mkdir -p "$work/cuda/include" "$work/cuda/lib"
    ln -s "$packages"/nvidia/cuda_runtime/include/* "$packages/nvidia/cuda_nvcc/include/crt" "$work/cuda/include"
    # cuda_fp16.h includes nv/target, which no package of NVIDIA for CUDA 12 has; its place in TensorFlow depends on the version.
    nv=("$packages"/tensorflow/include/third_party/gpus/cuda/{include,libcudacxx/include}/nv/)
    for folder in "${nv[@]}"; do
      if [ -d "$folder" ]; then ln -s "$folder" "$work/cuda/include/nv"; fi
    done
    ln -s "$packages"/nvidia/cuda_runtime/lib/libcudart.so.12 "$work/cuda/lib/libcudart.so"
  fi
fi
pip wheel --disable-pip-version-check --no-deps --no-build-isolation --no-cache-dir "$source" -w "$output"
