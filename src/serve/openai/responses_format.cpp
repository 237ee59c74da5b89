// The shape of /v1/responses: items of output, whole and as events with names and rising numbers.
#include "serve/json_text.h"
#include "serve/openai/format.h"
#include "serve/openai/token_text.h"

namespace sluice::serve {
namespace {

Json usage_json(const Usage& u) {
  return {{"input_tokens", u.prompt},
          {"input_tokens_details",
           {{"cached_tokens", u.cached}, {"cache_write_tokens", 0}}},  // no write has a price
          {"output_tokens", u.completion},
          {"output_tokens_details", {{"reasoning_tokens", u.reasoning}}},
          {"total_tokens", u.prompt + u.completion}};
}

// Thoughts come first, then the text, as one message; calls end an answer.
class ResponseFormatter : public Formatter {
 public:
  ResponseFormatter(Json echo, bool obfuscate) : echo_(std::move(echo)), obfuscate_(obfuscate) {}

  void chunk(const Generation& g, Choice& choice, const engine::TextEvent& event, const Parts& parts,
             std::string& out) override {
    if (event.text.empty() && parts.empty() && !event.finish) return;
    if (!std::exchange(choice.begun, true)) {
      for (const char* type : {"response.created", "response.in_progress"})
        send(type, {{"response", response(g, "in_progress", Json::array())}}, out);
    }
    if (!parts.reasoning.empty()) add_reasoning(g, parts.reasoning, out);
    if (!event.text.empty() || (event.finish && !has_message_ && choice.calls.empty()))
      add_text(g, choice, event.text, out);
    for (const ToolCallDelta& call : parts.calls) add_call(g, choice, call, out);
    if (event.finish) end_item(g, choice, out);
  }

  void end(const Generation& g, std::string& out) override {
    const Choice& choice = g.choices()[0];
    const std::string status = status_of(choice);
    send(("response." + status).c_str(), {{"response", response(g, status, output(g, choice))}}, out);
  }

  void fail(const Generation& g, const ApiError& error, std::string& out) override {
    Json failed = response(g, "failed", Json::array());
    failed["error"] = {{"code", "server_error"}, {"message", error.message}};
    send("response.failed", {{"response", std::move(failed)}}, out);
  }

  std::string whole(const Generation& g) override {
    const Choice& choice = g.choices()[0];
    return dump_json(response(g, status_of(choice), output(g, choice)));
  }

 private:
  static const char* status_of(const Choice& choice) {
    return choice.finish == sched::FinishReason::length ? "incomplete" : "completed";
  }

  // The same digits as the response's own.
  static std::string item_id(const Generation& g, const char* prefix) {
    return prefix + g.call().id.substr(g.call().id.find('_') + 1);
  }
  static std::string message_id(const Generation& g) { return item_id(g, "msg_"); }
  static std::string reasoning_id(const Generation& g) { return item_id(g, "rs_"); }
  static std::string call_item_id(const Generation& g, int index) {
    return fmt::format("{}_{}", item_id(g, "fc_"), index);
  }

  static Json logprobs(const Generation& g, const Choice& choice, size_t first) {
    Json out = Json::array();
    const size_t last = std::min(choice.text_tokens, choice.logprobs.size());
    for (size_t i = std::max(first, static_cast<size_t>(choice.reasoning_tokens)); i < last; ++i)
      out.push_back(token_logprobs(g, choice.tokens[i], choice.logprobs[i]));
    return out;
  }
  static Json text_part(const Generation& g, const Choice& choice) {
    return {{"type", "output_text"},
            {"text", choice.text},
            {"annotations", Json::array()},
            {"logprobs", logprobs(g, choice, 0)}};
  }
  static Json reasoning_item(const Generation& g, const char* status, Json content) {
    return {{"id", reasoning_id(g)},
            {"type", "reasoning"},
            {"summary", Json::array()},
            {"content", std::move(content)},
            {"status", status}};
  }
  static Json message_item(const Generation& g, const char* status, Json content) {
    return {{"id", message_id(g)},
            {"type", "message"},
            {"role", "assistant"},
            {"status", status},
            {"content", std::move(content)}};
  }
  static Json call_item(const Generation& g, int index, const ToolCall& call, const char* status) {
    return {{"id", call_item_id(g, index)}, {"type", "function_call"},
            {"call_id", call.id},           {"name", call.name},
            {"arguments", call.arguments},  {"status", status}};
  }

  static Json output(const Generation& g, const Choice& choice) {
    Json out = Json::array();
    if (!choice.reasoning.empty())
      out.push_back(reasoning_item(g, "completed",
                                   Json::array({{{"type", "reasoning_text"}, {"text", choice.reasoning}}})));
    if (!choice.text.empty() || choice.calls.empty())
      out.push_back(message_item(g, choice.calls.empty() ? status_of(choice) : "completed",
                                 Json::array({text_part(g, choice)})));
    for (size_t i = 0; i < choice.calls.size(); ++i) {
      const bool last = i + 1 == choice.calls.size();
      out.push_back(
          call_item(g, static_cast<int>(i), choice.calls[i], last ? status_of(choice) : "completed"));
    }
    return out;
  }

  Json response(const Generation& g, const std::string& status, Json output) const {
    const Call& call = g.call();
    Json incomplete, usage;
    if (status == "incomplete") incomplete = {{"reason", "max_output_tokens"}};
    if (status != "in_progress") usage = usage_json(g.usage());
    Json out = {{"id", call.id},
                {"object", "response"},
                {"status", status},
                {"created_at", call.created},
                {"error", nullptr},
                {"incomplete_details", std::move(incomplete)},
                {"model", call.model},
                {"output", std::move(output)},
                {"usage", std::move(usage)}};
    out.update(echo_);
    return out;
  }

  void send(const char* type, const Json& fields, std::string& out) {
    Json event = {{"type", type}, {"sequence_number", sequence_++}};
    event.update(fields);
    if (obfuscate_ && event.contains("delta")) event["obfuscation"] = padding(dump_json(event).size());
    out += fmt::format("event: {}\ndata: {}\n\n", type, dump_json(event));
  }

  // An event of the message's one part.
  void send_part(const Generation& g, const char* type, Json fields, std::string& out) {
    fields["item_id"] = message_id(g);
    fields["output_index"] = output_index();
    fields["content_index"] = 0;
    send(type, fields, out);
  }

  void add_reasoning(const Generation& g, const std::string& text, std::string& out) {
    if (!std::exchange(has_reasoning_, true))
      send("response.output_item.added",
           {{"output_index", 0}, {"item", reasoning_item(g, "in_progress", Json::array())}}, out);
    send("response.reasoning_text.delta",
         {{"item_id", reasoning_id(g)}, {"output_index", 0}, {"content_index", 0}, {"delta", text}}, out);
  }

  void add_text(const Generation& g, const Choice& choice, const std::string& text, std::string& out) {
    if (!has_message_) {
      end_item(g, choice, out);
      has_message_ = true;
      send("response.output_item.added",
           {{"output_index", output_index()}, {"item", message_item(g, "in_progress", Json::array())}}, out);
      send_part(g, "response.content_part.added", {{"part", text_part(g, Choice())}}, out);
    }
    if (text.empty()) return;
    send_part(g, "response.output_text.delta",
              {{"delta", text}, {"logprobs", logprobs(g, choice, logprobs_sent_)}}, out);
    logprobs_sent_ = choice.text_tokens;
  }

  void add_call(const Generation& g, const Choice& choice, const ToolCallDelta& delta, std::string& out) {
    if (!delta.name.empty()) {
      end_item(g, choice, out);
      call_ = delta.index;
      send("response.output_item.added",
           {{"output_index", output_index()},
            {"item", call_item(g, call_, {delta.id, delta.name, ""}, "in_progress")}},
           out);
    }
    if (delta.arguments.empty()) return;
    send("response.function_call_arguments.delta",
         {{"item_id", call_item_id(g, call_)}, {"output_index", output_index()}, {"delta", delta.arguments}},
         out);
  }

  // Of the item under way; -1: there is none yet.
  int output_index() const { return call_ + (has_message_ ? 1 : 0) + (has_reasoning_ ? 1 : 0); }

  void end_item(const Generation& g, const Choice& choice, std::string& out) {
    const int index = output_index();
    if (index < 0) return;
    const Json item = output(g, choice)[static_cast<size_t>(index)];
    if (item["type"] == "reasoning") {
      send("response.reasoning_text.done",
           {{"item_id", item["id"]},
            {"output_index", index},
            {"content_index", 0},
            {"text", item["content"][0]["text"]}},
           out);
    } else if (call_ < 0) {
      const Json& part = item["content"][0];
      send_part(g, "response.output_text.done", {{"text", part["text"]}, {"logprobs", part["logprobs"]}},
                out);
      send_part(g, "response.content_part.done", {{"part", part}}, out);
    } else {
      send("response.function_call_arguments.done",
           {{"item_id", item["id"]},
            {"output_index", index},
            {"name", item["name"]},
            {"arguments", item["arguments"]}},
           out);
    }
    send("response.output_item.done", {{"output_index", index}, {"item", item}}, out);
  }

  Json echo_;
  bool obfuscate_;
  int sequence_ = 0;
  bool has_reasoning_ = false, has_message_ = false;
  int call_ = -1;             // the one under way, if any has begun
  size_t logprobs_sent_ = 0;  // tokens
};

}  // namespace

std::unique_ptr<Formatter> response_formatter(Json echo, bool obfuscate) {
  return std::make_unique<ResponseFormatter>(std::move(echo), obfuscate);
}

}  // namespace sluice::serve
