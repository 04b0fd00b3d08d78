// Horovod's cuda_kernels.cu for machines without nvcc. Where that copies several tensors in one kernel, this copies them one after
// another; scaling by a factor, which shardtune never asks for, fails.
#include "cuda_kernels.h"

#include <stdexcept>
#include <string>

namespace horovod {
namespace common {

namespace {
[[noreturn]] void FailToScale() {
  throw std::logic_error("This Horovod was built without nvcc: it cannot scale tensors on a GPU.");
}
} // namespace

void BatchedD2DMemcpyCudaImpl(BatchedD2DParams& params, int num_copies, cudaStream_t stream) {
  for (int i = 0; i < num_copies; ++i) {
    cudaError_t error = cudaMemcpyAsync(params.out[i], params.in[i], params.sizes[i], cudaMemcpyDeviceToDevice, stream);
    if (error != cudaSuccess) {
      throw std::logic_error(std::string("cudaMemcpyAsync failed: ") + cudaGetErrorString(error));
    }
  }
}

void ScaleBufferCudaImpl(const void*, void*, const int64_t, double, DataType, cudaStream_t) { FailToScale(); }

void BatchedScaledD2DMemcpyCudaImpl(BatchedD2DParams&, int, double, DataType, cudaStream_t) { FailToScale(); }

} // namespace common
} // namespace horovod
