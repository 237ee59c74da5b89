// What the rest of the room needs of the CUDA runtime, without its headers. Every function throws CudaError
// when the runtime reports a failure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

struct CUstream_st;
struct CUgraphExec_st;

namespace sluice::cuda {

using Queue = CUstream_st*;

class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Properties {
  std::string name;
  int major = 0, minor = 0;
  int multiprocessors = 0;
  uint64_t memory_bytes = 0;  // free when asked
};

/// Empty when device 0 can be used; else one sentence: no driver, too old a driver, no device, not a Hopper.
std::string why_unusable();
Properties properties();

void* allocate_device(size_t bytes);  // zeroed; nullptr when there is too little
void free_device(void* data);
void* allocate_pinned(size_t bytes);  // zeroed; nullptr when there is too little
void free_pinned(void* data);

Queue make_queue();
void destroy(Queue queue);
void synchronize(Queue queue);
void copy(Queue queue, void* to, const void* from, size_t bytes);

/// What `work` queues, as a graph.
CUgraphExec_st* record(Queue queue, const std::function<void()>& work);
void replay(Queue queue, CUgraphExec_st* graph);
void destroy(CUgraphExec_st* graph);

/// Points in a queue's time; milliseconds between two of them.
void* make_event();
void mark(Queue queue, void* event);
bool is_reached(void* event);
float milliseconds(void* from, void* to);
/// Work queued from now on waits for the event.
void await(Queue queue, void* event);
void destroy_event(void* event);

}  // namespace sluice::cuda
