// The two shapes of OpenAI's streamed completions, as a client writes and reads them.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "load/workload.h"

namespace sluice::load {

enum class Backend { openai, openai_chat };
constexpr auto enum_names(Backend) { return std::array<std::string_view, 2>{"openai", "openai-chat"}; }

struct RequestOptions {
  Backend backend = Backend::openai;
  std::string model;  // empty: the server's own choice
  std::optional<double> temperature;
  bool ignore_eos = false;
  Json extra = Json::object();  // merged into every body, last
};

/// The default --endpoint.
std::string_view endpoint_of(Backend backend);
/// The body of a streamed request. A prompt that is a text becomes one user's message where messages are
/// wanted.
std::string request_body(const RequestOptions& options, const Job& job);

/// What one event of the stream brought.
struct Chunk {
  bool has_output = false;  // text, or a part of a tool call
  std::optional<int> prompt_tokens, output_tokens, cached_tokens;
  std::optional<std::string> error;
};
/// Nothing when `data` is no JSON object.
std::optional<Chunk> read_chunk(std::string_view data);

/// Cuts a stream of server-sent events into their data, one `data:` line each.
class EventSplitter {
 public:
  void feed(std::string_view bytes) { buffer_.append(bytes); }
  /// The next event's data, valid until the next call of feed(); nothing until more has come.
  std::optional<std::string_view> next();
  /// Bytes of an event that has begun.
  size_t pending() const { return buffer_.size() - at_; }
  /// Forgets what was taken.
  void compact();

 private:
  std::string buffer_;
  size_t at_ = 0;
};

}  // namespace sluice::load
