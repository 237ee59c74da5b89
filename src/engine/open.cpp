#include "engine/open.h"

#include <algorithm>
#include <future>
#include <thread>

namespace sluice::engine {

namespace {

// Up to 256 tokens of plain letters, or any that end nothing where there is no tokenizer.
std::vector<int32_t> null_tokens(const Codec& codec, const std::vector<int32_t>& end_ids, int32_t vocab) {
  std::vector<int32_t> out, any;
  for (int32_t id = 0; id < vocab && out.size() < 256; ++id) {
    if (std::find(end_ids.begin(), end_ids.end(), id) != end_ids.end()) continue;
    if (any.size() < 256) any.push_back(id);
    if (!codec.has_tokenizer() || id >= codec.tokenizer()->vocab_size() || codec.tokenizer()->is_special(id))
      continue;
    const std::string bytes = codec.tokenizer()->token_bytes(id);
    const auto plain = [](char c) { return c == ' ' || (c >= 'a' && c <= 'z'); };
    if (!bytes.empty() && bytes != " " && std::all_of(bytes.begin(), bytes.end(), plain)) out.push_back(id);
  }
  return out.empty() ? any : out;
}

Result<Opened> with_core(std::unique_ptr<LoadedModel> model, Codec codec, CoreOptions options, bool null) {
  const model::Spec& spec = model->spec();
  const int32_t known = codec.has_tokenizer() ? codec.tokenizer()->vocab_size() : 0;
  if (codec.has_tokenizer()) SLUICE_TRY(artifact::check_tokenizer_fits(*codec.tokenizer(), spec.vocab));
  SLUICE_ASSIGN(std::vector<int32_t> end_ids, codec.end_ids(spec.eos, spec.vocab));
  if (null && options.null_tokens.empty()) {
    options.null_tokens = null_tokens(codec, end_ids, static_cast<int32_t>(spec.vocab));
    if (options.null_tokens.empty())
      return invalid_argument("every token of the vocabulary ends a text; --device null has none to give");
  }
  SLUICE_ASSIGN(auto core, Core::create(std::move(model), known, std::move(end_ids), std::move(options)));
  return Opened{std::move(core), std::move(codec)};
}

}  // namespace

Result<Opened> open(const std::string& path, model::Recipe recipe, ops::Backend backend, LoadOptions options,
                    CoreOptions core_options) {
  auto reading = std::async(std::launch::async, [&] { return Codec::open(path, options.generation_config); });
  const device::Device& device = *backend.device;
  options.threads = device.shares_host_memory() ? device.info().parallelism
                                                : static_cast<int>(std::thread::hardware_concurrency());
  auto model = LoadedModel::load(path, std::move(recipe), std::move(backend), options);
  auto codec = reading.get();
  if (!model.ok()) return model.status();
  if (!codec.ok()) return codec.status();
  return with_core(*std::move(model), *std::move(codec), std::move(core_options), false);
}

Result<Opened> open_null(const std::string& path, model::Recipe recipe, ops::Backend backend,
                         LoadOptions options, CoreOptions core_options) {
  SLUICE_ASSIGN(Codec codec, Codec::open(path, options.generation_config));
  SLUICE_ASSIGN(auto model, LoadedModel::plan_only(path, std::move(recipe), std::move(backend), options));
  return with_core(std::move(model), std::move(codec), std::move(core_options), true);
}

}  // namespace sluice::engine
