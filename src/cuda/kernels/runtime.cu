#include "cuda/kernels/runtime.h"

#include "cuda/kernels/common.cuh"

namespace sluice::cuda {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw CudaError(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
}

std::string why_unusable() {
  int driver = 0, count = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
    return "this machine has no NVIDIA driver; install one, or use --device cpu";
  if (driver < CUDART_VERSION / 1000 * 1000) {
    return "the NVIDIA driver is too old: it serves CUDA " + std::to_string(driver / 1000) + ", this build needs " +
           std::to_string(CUDART_VERSION / 1000) + "; update it, or use --device cpu";
  }
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0)
    return std::string("no GPU can be used (") + cudaGetErrorString(error) + "); use --device cpu";
  const Properties p = properties();
  if (p.major != 9) {
    return p.name + " has compute capability " + std::to_string(p.major) + "." + std::to_string(p.minor) +
           "; the CUDA backend runs on 9.0 (H100, H200): use --device cpu";
  }
  return {};
}

Properties properties() {
  cudaDeviceProp p;
  check(cudaGetDeviceProperties(&p, 0), "reading the device's properties");
  size_t free_bytes = 0, total = 0;
  check(cudaMemGetInfo(&free_bytes, &total), "reading the device's memory");
  return {p.name, p.major, p.minor, p.multiProcessorCount, free_bytes};
}

void* allocate_device(size_t bytes) {
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, bytes);
  if (error == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    return nullptr;
  }
  check(error, "allocating memory");
  check(cudaMemset(data, 0, bytes), "clearing memory");
  check(cudaStreamSynchronize(nullptr), "clearing memory");  // our queues do not wait for the default one
  return data;
}
void free_device(void* data) { static_cast<void>(cudaFree(data)); }

void* allocate_pinned(size_t bytes) {
  void* data = nullptr;
  const cudaError_t error = cudaMallocHost(&data, bytes);
  if (error == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    return nullptr;
  }
  check(error, "allocating pinned memory");
  std::fill_n(static_cast<std::byte*>(data), bytes, std::byte{0});
  return data;
}
void free_pinned(void* data) { static_cast<void>(cudaFreeHost(data)); }

Queue make_queue() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
  return stream;
}
void destroy(Queue queue) { static_cast<void>(cudaStreamDestroy(queue)); }
void synchronize(Queue queue) { check(cudaStreamSynchronize(queue), "a step's kernels"); }
void copy(Queue queue, void* to, const void* from, size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, queue), "a copy");
}

CUgraphExec_st* record(Queue queue, const std::function<void()>& work) {
  check(cudaStreamBeginCapture(queue, cudaStreamCaptureModeThreadLocal), "beginning a graph");
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    static_cast<void>(cudaStreamEndCapture(queue, &graph));
    if (graph != nullptr) static_cast<void>(cudaGraphDestroy(graph));
    throw;
  }
  check(cudaStreamEndCapture(queue, &graph), "ending a graph");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
  static_cast<void>(cudaGraphDestroy(graph));
  check(error, "making a graph");
  return executable;
}
void replay(Queue queue, CUgraphExec_st* graph) { check(cudaGraphLaunch(graph, queue), "launching a graph"); }
void destroy(CUgraphExec_st* graph) { static_cast<void>(cudaGraphExecDestroy(graph)); }

void* make_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "making an event");
  return event;
}
void mark(Queue queue, void* event) { check(cudaEventRecord(static_cast<cudaEvent_t>(event), queue), "an event"); }
bool is_reached(void* event) {
  const cudaError_t state = cudaEventQuery(static_cast<cudaEvent_t>(event));
  if (state == cudaErrorNotReady) {
    static_cast<void>(cudaGetLastError());
    return false;
  }
  check(state, "an event");
  return true;
}
float milliseconds(void* from, void* to) {
  float ms = 0;
  check(cudaEventSynchronize(static_cast<cudaEvent_t>(to)), "waiting for an event");
  check(cudaEventElapsedTime(&ms, static_cast<cudaEvent_t>(from), static_cast<cudaEvent_t>(to)), "an event's time");
  return ms;
}
void await(Queue queue, void* event) {
  check(cudaStreamWaitEvent(queue, static_cast<cudaEvent_t>(event), 0), "waiting for an event");
}
void destroy_event(void* event) { static_cast<void>(cudaEventDestroy(static_cast<cudaEvent_t>(event))); }

}  // namespace sluice::cuda
