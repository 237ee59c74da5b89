// Chat templates: from messages to the prompt text a model was trained on. A template is a Jinja program
// that ships with the model; it is untrusted input and runs within budgets.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>

#include "base/json.h"
#include "text/rendered_chat.h"

namespace sluice::text {

namespace jinja {
class Template;
}

struct RenderOptions {
  std::optional<std::tm> now;  // the local time strftime_now formats; the wall clock when absent
};

/// A parsed chat template. Immutable, cheap to copy, safe to render from several threads at once.
///
/// Renders byte for byte as jinja2 3.1 does under the settings of transformers' `apply_chat_template`:
/// ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loop controls, the `generation` tag,
/// `raise_exception`, `strftime_now`, and a `tojson` that escapes neither HTML nor non-ASCII.
class ChatTemplate {
 public:
  /// Refuses, with the line: a syntax error, an unknown filter or test (where jinja2 refuses it at compile
  /// time), and what chat templates have no use for (include, import, extends, block, recursive loops).
  static Result<ChatTemplate> parse(std::string source, const RenderLimits& limits = {});

  /// Renders with exactly these variables (an object). `raise_exception('text')` and every error of the
  /// template are `invalid_argument` with the text and the line.
  Result<std::string> render(const Json& variables, const RenderOptions& options = {}) const;

  /// As `render`, with the provenance of every byte.
  Result<RenderedChat> render_marked(const Json& variables, const RenderOptions& options = {}) const;

  const std::string& source() const;

  /// Whether the template reads the variable `name` from its caller ("tools", "enable_thinking").
  bool reads(const std::string& name) const;

 private:
  explicit ChatTemplate(std::shared_ptr<const jinja::Template> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const jinja::Template> impl_;
};

/// The variables transformers 5 passes to a template. `chat` is an array of messages, or an object with
/// `messages` and any further variable; `special_tokens` (an object such as read_special_tokens gives) comes
/// under the chat's own names. As apply_chat_template does: keys of a message whose value is null are
/// dropped, `reasoning_content` is filled from `thinking` or `reasoning` and `thinking` from it, absent
/// `tools` and `documents` are null, `add_generation_prompt` is false unless given. Refuses an empty
/// conversation, and messages, tools or documents that are not arrays of objects, by name.
Result<Json> chat_variables(Json chat, const Json& special_tokens = Json::object());

/// Whether a request may bring `kwargs` as further variables of the template: an object, without what the
/// request says elsewhere and without special tokens, which are the model's own and count where the template
/// prints them.
Status check_template_kwargs(const Json& kwargs);

/// The chat template of a model directory, or nothing when it has none. In order of precedence:
/// chat_template.jinja with additional_chat_templates/*.jinja, chat_template.json, and `chat_template` of
/// tokenizer_config.json (a string, or a list of {name, template}). Of several, "tool_use" when
/// `with_tools` and there is one, else "default"; several without a default are refused.
Result<std::optional<std::string>> find_chat_template(const std::string& dir, bool with_tools = false);

/// bos_token, eos_token and the other named special tokens of a model directory, as strings: from
/// tokenizer_config.json, else special_tokens_map.json. Empty when neither names any.
Result<Json> read_special_tokens(const std::string& dir);

}  // namespace sluice::text
