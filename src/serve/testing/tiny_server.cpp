#include "serve/testing/tiny_server.h"

#include <map>
#include <thread>

#include "base/check.h"
#include "cpu/cpu_device.h"
#include "engine/open.h"
#include "model/testing/temp_directory.h"
#include "model/testing/tiny_checkpoint.h"

namespace sluice::serve::testing {

using model::testing::TempDirectory;

namespace {

constexpr int64_t kComputingSeqLen = 1024;

// Tools and calls as Hermes' template has them, in few characters.
constexpr const char* kTemplate =
    "{% if tools %}tools: {{ tools | tojson }}<|end|>{% endif %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{\"name\": {{ c.function.name | tojson }}, "
    "\"arguments\": {{ c.function.arguments | tojson }}}</tool_call>{% endfor %}"
    "<|end|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}";

}  // namespace

const std::string& tiny_model(int64_t max_positions, const std::string& chat_template) {
  static std::map<std::pair<int64_t, std::string>, std::unique_ptr<TempDirectory>> made;
  auto& dir = made[{max_positions, chat_template}];
  if (dir) return dir->path();
  dir = std::make_unique<TempDirectory>();
  model::testing::TinyModel shape;
  shape.max_positions = max_positions;
  SLUICE_CHECK(model::testing::write_tiny_checkpoint(dir->path(), shape).ok());
  Json vocab = Json::object();
  for (char c = '!'; c <= '~'; ++c) vocab[std::string(1, c)] = c - '!';
  vocab["\xc4\xa0"] = 94;  // U+0120: a space in byte-level BPE
  vocab["\xc4\x8a"] = 95;  // U+010A: a line feed
  const Json special = {{"id", 96},        {"content", "<|end|>"}, {"single_word", false}, {"lstrip", false},
                        {"rstrip", false}, {"normalized", false},  {"special", true}};
  dir->write("tokenizer.json",
             dump_json({{"version", "1.0"},
                        {"added_tokens", Json::array({special})},
                        {"normalizer", nullptr},
                        {"pre_tokenizer",
                         {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}},
                        {"post_processor", nullptr},
                        {"decoder", {{"type", "ByteLevel"}}},
                        {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}}));
  dir->write("chat_template.jinja", chat_template.empty() ? kTemplate : chat_template);
  return dir->path();
}

TinyServer::TinyServer(TinyServerOptions o) {
  o.serve.http.port = 0;
  if (o.serve.model_name.empty()) o.serve.model_name = "tiny";
  o.serve.version = "test";
  auto app = App::start(o.serve);
  SLUICE_CHECK(app.ok(), "{}", app.status().message());
  app_ = *std::move(app);
  model::Recipe recipe;
  recipe.max_seq_len = o.null ? o.max_seq_len : o.model.empty() ? kComputingSeqLen : 0;
  recipe.max_sequences = o.max_num_seqs;
  recipe.max_batch_tokens = 512;
  recipe.kv_tokens = o.null ? 2 * o.max_seq_len : 8 * kComputingSeqLen;
  auto backend = cpu::make_cpu_backend({.threads = 2});
  SLUICE_CHECK(backend.ok());
  const std::string& model =
      o.model.empty() ? tiny_model(o.null ? 1 << 20 : kComputingSeqLen, o.chat_template) : o.model;
  auto opened = o.null ? engine::open_null(model, recipe, *std::move(backend), {}, o.core)
                       : engine::open(model, recipe, *std::move(backend), {}, o.core);
  SLUICE_CHECK(opened.ok(), "{}", opened.status().message());
  app_->ready(std::make_unique<engine::Service>(std::move(opened->core), std::move(opened->codec)));
}

bool TinyServer::becomes_idle() const {
  for (int i = 0; i < 6000; ++i) {
    const engine::ServiceStats stats = app_->engine()->stats();
    if (stats.counts.running + stats.counts.waiting == 0 && stats.kv_usage == 0 && app_->idle()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace sluice::serve::testing
