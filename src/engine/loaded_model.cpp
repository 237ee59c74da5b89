#include "engine/loaded_model.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "engine/batch_stage.h"
#include "engine/sample_stage.h"
#include "engine/weight_store.h"

namespace sluice::engine {

uint64_t MemoryPlan::kv_bytes() const {
  uint64_t bytes = 0;
  for (const Group& g : kv) bytes += static_cast<uint64_t>(g.pages) * g.page_bytes;
  return bytes;
}

std::string MemoryPlan::summary() const {
  const auto mib = [](uint64_t bytes) { return (bytes + (1 << 20) - 1) >> 20; };
  return fmt::format(
      "weights {} MiB, KV cache {}, activations and workspace {}, inputs and results of a step {}",
      mib(weights), mib(kv_bytes()), mib(activations + workspace), mib(batch + sampling + stream));
}

namespace {

constexpr const char* kRemedies =
    "lower --kv_tokens, --max_seq_len or --max_num_batched_tokens, or choose a smaller --precision";

}  // namespace

LoadedModel::~LoadedModel() = default;

Result<std::unique_ptr<LoadedModel>> LoadedModel::plan_only(const std::string& path, model::Recipe recipe,
                                                            ops::Backend backend,
                                                            const LoadOptions& options) {
  std::unique_ptr<LoadedModel> model(new LoadedModel);
  model->backend_ = std::move(backend);
  SLUICE_TRY(model->prepare(path, std::move(recipe), options));
  return model;
}

Result<std::unique_ptr<LoadedModel>> LoadedModel::load(const std::string& path, model::Recipe recipe,
                                                       ops::Backend backend, const LoadOptions& options) {
  SLUICE_ASSIGN(auto model, plan_only(path, std::move(recipe), std::move(backend), options));
  try {
    Status allocated = model->allocate(options);
    if (allocated.code() == StatusCode::resource_exhausted)
      return resource_exhausted("{}; planned are {}: {}", allocated.message(), model->plan_.summary(),
                                kRemedies);
    SLUICE_TRY(std::move(allocated));
  } catch (const std::exception& e) {  // what the device reports while it is filled
    return internal_error("{}: loading failed: {}", path, e.what());
  }
  return model;
}

Status LoadedModel::prepare(const std::string& path, model::Recipe recipe, const LoadOptions& options) {
  SLUICE_ASSIGN(weights_, open_weights(path));
  spec_ = weights_->spec();
  recipe_ = std::move(recipe);
  if (const model::Recipe* stored = weights_->stored_recipe()) model::inherit_sizes(recipe_, *stored);
  SLUICE_TRY(model::complete(recipe_, spec_, backend_.page_tokens));
  SLUICE_ASSIGN(types_, weights_->types(recipe_, notes_));
  if (!backend_.block_weights) dequantise_types();
  const int64_t logit_rows = options.logit_rows > 0 ? options.logit_rows : recipe_.max_sequences;
  auto program =
      program::lower(spec_, recipe_, types_, backend_, logit_rows, weights_->wishes(backend_.device->info()));
  if (!program.ok()) return program.status().with_context(weights_->origin());
  program_ = *std::move(program);
  return plan_memory();
}

// For backends without kernels for block types.
void LoadedModel::dequantise_types() {
  bool any = false;
  for (auto& entry : types_) {
    if (!is_block_type(entry.second)) continue;
    entry.second = DType::bf16;
    any = true;
  }
  if (any)
    notes_.push_back(
        fmt::format("quantised weights are dequantised to bf16 on {}", backend_.device->info().kind));
}

Status LoadedModel::plan_memory() {
  if (recipe_.weight_budget > 0 && backend_.device->shares_host_memory())
    return unsupported("--weight_budget is for devices with memory of their own; leave it out on {}",
                       backend_.device->info().kind);
  SLUICE_ASSIGN(places_, place_weights(program_, static_cast<uint64_t>(recipe_.weight_budget)));
  plan_.weights = places_.device_bytes;
  plan_.streamed = places_.host_bytes;
  plan_.activations = program_.activation_bytes;
  constexpr uint64_t kLeastWorkspace = 64;  // kernels may be handed its address in any case
  plan_.workspace = std::max(program_.workspace_bytes, kLeastWorkspace);
  const int page = static_cast<int>(recipe_.page_tokens);
  const int64_t all_pages = ceil_div(recipe_.kv_tokens, recipe_.page_tokens);
  kv_layout_.page_tokens = page;
  for (size_t g = 0; g < program_.groups.size(); ++g) {
    const int64_t window = program_.groups[g].window;
    int64_t pages = all_pages;
    if (window > 0) {
      // Each running sequence's window, one more to end a cached prefix with, and the chunks of a step.
      const int64_t held =
          kv::most_pages_held(static_cast<int>(window), static_cast<int>(recipe_.max_seq_len), page);
      pages = std::min(all_pages, 2 * held * recipe_.max_sequences +
                                      ceil_div(recipe_.max_batch_tokens, recipe_.page_tokens));
    }
    const uint64_t page_bytes = program_.page_bytes(static_cast<int32_t>(g));
    const auto bytes = checked_mul(static_cast<uint64_t>(pages), page_bytes);
    if (!bytes || pages > (int64_t{1} << 30)) {
      return resource_exhausted("--kv_tokens {}: more than can be addressed; give fewer", recipe_.kv_tokens);
    }
    plan_.kv.push_back({window, pages, page_bytes});
    kv_layout_.groups.push_back({window == 0 ? "full" : fmt::format("window{}", window),
                                 static_cast<int>(window), static_cast<int>(pages)});
  }
  plan_.batch = BatchStage::bytes(recipe_, program_.groups.size());
  if (!backend_.device->shares_host_memory()) {
    const SampleStage::Sizes sampling{recipe_.max_sequences, program_.limits.logits, spec_.vocab};
    plan_.batch *= 2;
    plan_.sampling = sampling.device_bytes();
    plan_.stream = backend_.device->info().stream_bytes;
    plan_.pinned = plan_.batch + sampling.host_bytes();
  }
  const uint64_t have = backend_.device->info().memory_bytes;
  if (plan_.on_device() > have) {
    return resource_exhausted("the model needs {} MiB ({}), the device has {}: {}", plan_.on_device() >> 20,
                              plan_.summary(), have >> 20, kRemedies);
  }
  return {};
}

Status LoadedModel::allocate(const LoadOptions& options) {
  device::Device& device = *backend_.device;
  SLUICE_ASSIGN(LoadedWeights weights,
                weights_->load(program_, places_, device, options.threads, options.verify_checksums));
  memory_.weights = std::move(weights.at);
  if (!places_.streamed.empty()) {
    streamer_ = std::make_unique<WeightStreamer>(device, places_, weights.device, weights.host);
    memory_.gate = streamer_.get();
  }
  SLUICE_ASSIGN(activations_, device.allocate_sparse(plan_.activations, "activations"));
  SLUICE_ASSIGN(workspace_, device.allocate_sparse(plan_.workspace, "workspace"));
  memory_.activations = activations_.data();
  memory_.workspace = workspace_.data();
  return allocate_caches();
}

// Per layer: all pages of keys, then all pages of values.
Status LoadedModel::allocate_caches() {
  SLUICE_ASSIGN(caches_, backend_.device->allocate_sparse(plan_.kv_bytes(), "KV cache"));
  std::byte* at = caches_.data();
  for (const program::CacheInfo& cache : program_.caches) {
    const uint64_t pages = static_cast<uint64_t>(plan_.kv[static_cast<size_t>(cache.group)].pages);
    program::Memory::Cache c;
    c.keys = at;
    at += pages * cache.key_page_bytes;
    c.values = at;
    at += pages * cache.value_page_bytes;
    memory_.caches.push_back(c);
  }
  return {};
}

}  // namespace sluice::engine
