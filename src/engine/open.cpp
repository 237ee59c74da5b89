#include "engine/open.h"

#include <future>
#include <thread>

namespace sluice::engine {

Result<Opened> open(const std::string& path, model::Recipe recipe, ops::Backend backend,
                    LoadOptions options) {
  auto reading = std::async(std::launch::async, [&] { return Codec::open(path); });
  const device::Device& device = *backend.device;
  options.threads = device.shares_host_memory() ? device.info().parallelism
                                                : static_cast<int>(std::thread::hardware_concurrency());
  auto model = LoadedModel::load(path, std::move(recipe), std::move(backend), options);
  auto codec = reading.get();
  if (!model.ok()) return model.status();
  if (!codec.ok()) return codec.status();
  const int32_t vocab_limit = codec->has_tokenizer() ? codec->tokenizer()->vocab_size() : 0;
  const model::Spec& spec = (*model)->spec();
  SLUICE_ASSIGN(std::vector<int32_t> end_ids, codec->end_ids(spec.eos, spec.vocab));
  SLUICE_ASSIGN(auto core, Core::create(*std::move(model), vocab_limit, std::move(end_ids)));
  return Opened{std::move(core), *std::move(codec)};
}

}  // namespace sluice::engine
