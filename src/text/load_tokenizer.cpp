#include "base/file.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"

namespace sluice::text {
namespace {

constexpr size_t kMaxFileBytes = size_t{256} << 20;

bool has(const std::string& dir, const char* name) { return exists(join_path(dir, name)); }

// The text of a file of the directory; empty when it is not there.
Result<std::string> read_optional(const std::string& dir, const char* name) {
  if (!has(dir, name)) return std::string();
  return read_text_file(join_path(dir, name), kMaxFileBytes);
}

}  // namespace

Result<Tokenizer> load_tokenizer(const std::string& dir) {
  SLUICE_ASSIGN(const std::string config, read_optional(dir, "tokenizer_config.json"));
  if (has(dir, "tokenizer.json")) {
    SLUICE_ASSIGN(const std::string tokenizer, read_optional(dir, "tokenizer.json"));
    SLUICE_ASSIGN(const std::string specials, read_optional(dir, "special_tokens_map.json"));
    auto made = make_json_tokenizer({tokenizer, config, specials});
    return made.ok() ? std::move(made) : made.status().with_context(dir);
  }
  if (has(dir, "tokenizer.model")) {
    SLUICE_ASSIGN(const std::string model, read_optional(dir, "tokenizer.model"));
    auto made = make_sentencepiece_tokenizer(model, config);
    return made.ok() ? std::move(made) : made.status().with_context(dir);
  }
  for (const char* name : {"tekken.json", "tiktoken.model", "vocab.json", "vocab.txt"}) {
    if (!has(dir, name)) continue;
    return unsupported("{}: {} is not read; convert the tokenizer to tokenizer.json (save_pretrained does)",
                       dir, name);
  }
  return not_found("{} has no tokenizer.json and no tokenizer.model", dir);
}

}  // namespace sluice::text
