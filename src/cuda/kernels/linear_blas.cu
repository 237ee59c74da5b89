// Large products through cuBLASLt, which is opened where it is installed: linked in, it would be most of the binary
// (over 500 MB), and a machine without it runs linear_wgmma.
#include <cublasLt.h>
#include <dlfcn.h>

#include <map>
#include <tuple>

#include "cuda/kernels/common.cuh"
#include "cuda/kernels/kernels.h"

namespace sluice::cuda {
namespace {

void check_blas(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw CudaError(std::string("cuBLASLt: ") + what + " failed with status " + std::to_string(status));
}

/// The library's functions that we call.
struct Library {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtMatmulDescCreate) describe = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) set = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) prefer = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) choose = nullptr;
  decltype(&cublasLtMatmul) multiply = nullptr;
  bool complete = false;

  Library() {
    void* library = dlopen("libcublasLt.so." SLUICE_CUBLASLT_MAJOR, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return;
    complete = true;
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      complete = complete && function != nullptr;
    };
    find(create, "cublasLtCreate");
    find(describe, "cublasLtMatmulDescCreate");
    find(set, "cublasLtMatmulDescSetAttribute");
    find(layout, "cublasLtMatrixLayoutCreate");
    find(prefer, "cublasLtMatmulPreferenceCreate");
    find(set_preference, "cublasLtMatmulPreferenceSetAttribute");
    find(choose, "cublasLtMatmulAlgoGetHeuristic");
    find(multiply, "cublasLtMatmul");
  }
};

/// One shape with the algorithm chosen for it. Plans live as long as their thread: models have few shapes.
struct Plan {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;
  cublasLtMatmulHeuristicResult_t chosen{};
};

class Blas {
 public:
  explicit Blas(const Library& library) : lt_(library) { check_blas(lt_.create(&handle_), "starting"); }

  void multiply(Queue queue, const LinearCall& c, std::byte* workspace) {
    Plan& p = plan(c);
    if (c.bias != nullptr)
      check_blas(lt_.set(p.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &c.bias, sizeof c.bias), "setting the bias");
    const float one = 1, zero = 0;
    check_blas(lt_.multiply(handle_, p.operation, &one, c.weight, p.w, c.x.data, p.x, &zero, c.y.data, p.y, c.y.data,
                            p.y, &p.chosen.algo, workspace, kBlasWorkspace, queue),
               "a product");
  }

 private:
  // In the library's column-major terms: y^T (n, m) = (W^T)^T (n, k) x^T (k, m).
  Plan& plan(const LinearCall& c) {
    const auto key = std::tuple(c.n, c.k, c.x.rows, c.x.stride, c.y.stride, c.type, c.bias != nullptr);
    const auto [it, is_new] = plans_.try_emplace(key);
    Plan& p = it->second;
    if (!is_new) return p;
    const cudaDataType_t type = c.type == DType::bf16 ? CUDA_R_16BF : CUDA_R_16F;
    check_blas(lt_.describe(&p.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describing a product");
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
      check_blas(lt_.set(p.operation, attribute, &value, sizeof value), "describing a product");
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    if (c.bias != nullptr) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, c.bias);
    }
    const auto u = [](int64_t v) { return static_cast<uint64_t>(v); };
    check_blas(lt_.layout(&p.w, type, u(c.k), u(c.n), c.k), "describing a matrix");
    check_blas(lt_.layout(&p.x, type, u(c.k), u(c.x.rows), c.x.stride), "describing a matrix");
    check_blas(lt_.layout(&p.y, CUDA_R_32F, u(c.n), u(c.x.rows), c.y.stride), "describing a matrix");
    cublasLtMatmulPreference_t preference = nullptr;
    check_blas(lt_.prefer(&preference), "choosing an algorithm");
    check_blas(lt_.set_preference(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kBlasWorkspace,
                                  sizeof kBlasWorkspace),
               "choosing an algorithm");
    int found = 0;
    check_blas(lt_.choose(handle_, p.operation, p.w, p.x, p.y, p.y, preference, 1, &p.chosen, &found),
               "choosing an algorithm");
    if (found == 0) throw CudaError("cuBLASLt has no algorithm for a product");
    return p;
  }

  const Library& lt_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, DType, bool>, Plan> plans_;
};

}  // namespace

bool linear_blas(Queue queue, const LinearCall& c, std::byte* workspace) {
  static const Library library;
  if (!library.complete) return false;
  thread_local Blas blas(library);
  blas.multiply(queue, c, workspace);
  return true;
}

}  // namespace sluice::cuda
