// sluice tokenize MODEL: text on stdin to ids, or --ids back to text.
#include <unistd.h>

#include "artifact/text_assets.h"
#include "tools/options.h"
#include "tools/verbs.h"

namespace sluice::tools {
namespace {

constexpr size_t kMaxText = size_t{256} << 20;

struct TokenizeOptions {
  OutputOptions output;
  std::string model;
  std::string ids;
  bool decode = false;
  bool add_special = false, parse_special = false, skip_special = false;
};

Result<int> encode(const text::Tokenizer& tokenizer, const TokenizeOptions& options) {
  SLUICE_ASSIGN(std::string input, read_stdin(kMaxText));
  SLUICE_ASSIGN(const std::string text, valid_utf8(std::move(input), "stdin"));
  SLUICE_ASSIGN(
      const std::vector<int32_t> ids,
      tokenizer.encode(text, {.add_special = options.add_special, .parse_special = options.parse_special}));
  if (!options.output.json) {
    print_json(Json(ids));
    return kDone;
  }
  Json tokens = Json::array();
  for (int32_t id : ids) tokens.push_back(std::string(tokenizer.token(id)));
  print_json({{"ids", ids}, {"tokens", std::move(tokens)}});
  return kDone;
}

Result<int> decode(const text::Tokenizer& tokenizer, const TokenizeOptions& options) {
  SLUICE_ASSIGN(const std::vector<int32_t> ids, parse_ids(options.ids, "--ids"));
  SLUICE_ASSIGN(const std::string text, tokenizer.decode(ids, options.skip_special));
  if (options.output.json) {
    print_json({{"text", text}});
  } else {
    print_raw(text);
    if (::isatty(STDOUT_FILENO) == 1) print_raw("\n");
  }
  return kDone;
}

Result<int> tokenize(const TokenizeOptions& options) {
  SLUICE_ASSIGN(const artifact::TextAssets assets, artifact::TextAssets::open(options.model));
  SLUICE_ASSIGN(const text::Tokenizer tokenizer, assets.tokenizer());
  return options.decode ? decode(tokenizer, options) : encode(tokenizer, options);
}

}  // namespace

Run declare_tokenize(CLI::App& app) {
  auto options = std::make_shared<TokenizeOptions>();
  app.add_option("MODEL", options->model,
                 "Engine directory, Hugging Face directory or GGUF file (a vocabulary will do)")
      ->required();
  app.add_flag("--add_special", options->add_special, "Add what the model wants around a text (BOS, EOS)");
  app.add_flag("--parse_special", options->parse_special, "Recognise special tokens spelt in the text");
  const CLI::Option* ids =
      app.add_option("--ids", options->ids, "Print the text of these ids instead: 1,2,3")->type_name("IDS");
  app.add_flag("--skip_special", options->skip_special, "With --ids: leave special tokens out");
  options->output.declare(app);
  return [options, ids] {
    options->decode = ids->count() > 0;
    return tokenize(*options);
  };
}

}  // namespace sluice::tools
