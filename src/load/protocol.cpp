#include "load/protocol.h"

namespace sluice::load {
namespace {

// Reads what is measured and builds nothing: this runs for every token of every stream.
class ChunkReader : public nlohmann::json_sax<Json> {
 public:
  Chunk chunk;

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_float(number_float_t, const std::string&) override { return true; }
  bool binary(binary_t&) override { return true; }

  bool number_unsigned(number_unsigned_t value) override {
    if (section_ != Section::usage) return true;
    if (key_ == "prompt_tokens") chunk.prompt_tokens = static_cast<int>(value);
    if (key_ == "completion_tokens") chunk.output_tokens = static_cast<int>(value);
    if (key_ == "cached_tokens") chunk.cached_tokens = static_cast<int>(value);
    return true;
  }
  bool string(std::string& value) override {
    if (section_ == Section::error && key_ == "message") chunk.error = value;
    if (section_ != Section::choices || value.empty()) return true;
    for (const std::string_view output : {"content", "text", "reasoning", "reasoning_content", "arguments"})
      chunk.has_output |= key_ == output;
    return true;
  }
  bool key(std::string& name) override {
    key_ = name;
    if (depth_ == 1) section_ = section_of(name);
    return true;
  }
  bool start_object(size_t) override {
    if (section_ == Section::error && depth_ == 1) chunk.error.emplace();
    ++depth_;
    return true;
  }
  bool end_object() override {
    --depth_;
    return true;
  }
  bool start_array(size_t) override { return ++depth_ > 1; }  // an array at the top is no event
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  enum class Section { other, choices, usage, error };
  static Section section_of(std::string_view name) {
    if (name == "choices") return Section::choices;
    if (name == "usage") return Section::usage;
    return name == "error" ? Section::error : Section::other;
  }

  int depth_ = 0;
  Section section_ = Section::other;
  std::string key_;
};

}  // namespace

std::string_view endpoint_of(Backend backend) {
  return backend == Backend::openai ? "/v1/completions" : "/v1/chat/completions";
}

std::string request_body(const RequestOptions& o, const Job& job) {
  Json body = Json::object();
  if (!o.model.empty()) body["model"] = o.model;
  if (o.backend == Backend::openai) {
    body["prompt"] = job.prompt;
    body["max_tokens"] = job.output_tokens;
  } else {
    body["messages"] =
        job.prompt.is_string() ? Json::array({{{"role", "user"}, {"content", job.prompt}}}) : job.prompt;
    body["max_completion_tokens"] = job.output_tokens;
  }
  if (o.temperature) body["temperature"] = *o.temperature;
  if (o.ignore_eos) body["ignore_eos"] = true;
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  body.update(o.extra);
  return dump_json(body);
}

std::optional<Chunk> read_chunk(std::string_view data) {
  ChunkReader reader;
  if (!Json::sax_parse(data, &reader)) return std::nullopt;
  return std::move(reader.chunk);
}

std::optional<std::string_view> EventSplitter::next() {
  constexpr std::string_view kField = "data:";
  while (true) {
    const size_t feed = buffer_.find('\n', at_);
    if (feed == std::string::npos) return std::nullopt;
    std::string_view line = std::string_view(buffer_).substr(at_, feed - at_);
    at_ = feed + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.starts_with(kField)) continue;  // an empty line, a comment, or another field
    line.remove_prefix(kField.size());
    if (line.starts_with(' ')) line.remove_prefix(1);
    return line;
  }
}

void EventSplitter::compact() {
  buffer_.erase(0, at_);
  at_ = 0;
}

}  // namespace sluice::load
