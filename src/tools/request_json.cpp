#include "tools/request_json.h"

#include "base/fields.h"
#include "sampling/request_fields.h"
#include "sampling/structured_json.h"

namespace sluice::tools {
namespace {

// Takes the members of an object one by one, so that what is left over can be refused.
class Members {
 public:
  Members(const Json& object, const std::string& where) : left_(object), where_(where) {}

  template <typename T>
  Status read(const char* name, T& out) {
    const auto it = left_.find(name);
    if (it == left_.end()) return {};
    const Json value = *it;
    left_.erase(name);
    return value.is_null() ? Status() : from_json(value, where_ + ": " + name, out);
  }

  Status refuse_rest() const {
    if (left_.empty()) return {};
    return invalid_argument("{}: unknown field \"{}\"", where_, left_.begin().key().substr(0, 64));
  }

 private:
  Json left_;
  const std::string& where_;
};

Status read_sampling(Members& m, const Json& request, const std::string& where, SamplingParams& s) {
  Status status;
  sampling::for_each_request_field(s, [&](const char* name, auto& field) {
    if (status.ok()) status = m.read(name, field);
  });
  SLUICE_TRY(status);
  SLUICE_TRY(m.read("seed", s.seed));
  SLUICE_TRY(m.read("max_tokens", s.max_tokens));
  SLUICE_TRY(m.read("logprobs", s.logprobs));
  if (request.contains("stop") && request["stop"].is_string()) {
    Json ignored;
    SLUICE_TRY(m.read("stop", ignored));
    s.stop = {request["stop"].get<std::string>()};
  } else {
    SLUICE_TRY(m.read("stop", s.stop));
  }
  Json structured, format;
  SLUICE_TRY(m.read("structured_outputs", structured));
  SLUICE_TRY(m.read("response_format", format));
  if (!structured.is_null() && !format.is_null())
    return invalid_argument("{}: give one of \"structured_outputs\" and \"response_format\"", where);
  if (!structured.is_null()) {
    SLUICE_ASSIGN(s.structured_output,
                  sampling::parse_structured_outputs(structured, where + ": structured_outputs"));
  } else if (!format.is_null()) {
    SLUICE_ASSIGN(s.structured_output, sampling::parse_response_format(format, where + ": response_format"));
  }
  return validate(s).with_context(where);
}

}  // namespace

Result<ParsedRequest> parse_request(const Json& request, const SamplingParams& defaults,
                                    const engine::Codec& codec, const std::string& where) {
  if (!request.is_object()) return invalid_argument("{}: expected an object", where);
  Members m(request, where);
  ParsedRequest out;
  out.sampling = defaults;
  SLUICE_TRY(read_sampling(m, request, where, out.sampling));
  SLUICE_TRY(m.read("id", out.id));
  SLUICE_TRY(m.read("priority", out.priority));
  std::optional<std::string> prompt;
  Json messages, tools, kwargs;
  bool continues = false;
  SLUICE_TRY(m.read("prompt", prompt));
  SLUICE_TRY(m.read("messages", messages));
  SLUICE_TRY(m.read("tools", tools));
  SLUICE_TRY(m.read("chat_template_kwargs", kwargs));
  SLUICE_TRY(m.read("continue_final_message", continues));
  SLUICE_TRY(m.read("input_ids", out.prompt_ids));
  SLUICE_TRY(m.refuse_rest());
  const int given = int{prompt.has_value()} + int{!messages.is_null()} + int{!out.prompt_ids.empty()};
  if (given != 1)
    return invalid_argument("{}: give exactly one of \"prompt\", \"messages\" and \"input_ids\"", where);
  if (messages.is_null() && !(tools.is_null() && kwargs.is_null() && !continues)) {
    return invalid_argument(
        "{}: \"tools\", \"chat_template_kwargs\" and \"continue_final_message\" belong to \"messages\"",
        where);
  }
  if (prompt) {
    auto ids = codec.encode_prompt(*prompt, true);
    if (!ids.ok()) return ids.status().with_context(where);
    out.prompt_ids = *std::move(ids);
  } else if (!messages.is_null()) {
    Json variables = kwargs.is_null() ? Json::object() : kwargs;
    SLUICE_TRY(text::check_template_kwargs(variables).with_context(where + ": chat_template_kwargs"));
    variables["messages"] = std::move(messages);
    if (!tools.is_null()) variables["tools"] = std::move(tools);
    if (continues) variables["continue_final_message"] = true;
    auto ids = codec.encode_chat(std::move(variables));
    if (!ids.ok()) return ids.status().with_context(where);
    out.prompt_ids = *std::move(ids);
  }
  return out;
}

}  // namespace sluice::tools
