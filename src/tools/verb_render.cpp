// sluice render: the text that a chat template makes of messages.
#include "artifact/text_assets.h"
#include "base/file.h"
#include "text/chat_template.h"
#include "tools/options.h"
#include "tools/verbs.h"

namespace sluice::tools {
namespace {

constexpr size_t kMaxMessages = size_t{64} << 20;

struct RenderVerbOptions {
  OutputOptions output;
  std::string model;
  std::string template_file;
  std::string messages;
};

struct Source {
  std::string text;
  Json special_tokens = Json::object();
};

bool has_tools(const Json& chat) {
  return chat.is_object() && chat.contains("tools") && !chat["tools"].is_null();
}

Result<Source> find_template(const RenderVerbOptions& options, bool with_tools) {
  if (options.model.empty() == options.template_file.empty())
    return invalid_argument("give either MODEL or --template");
  Source source;
  if (!options.template_file.empty()) {
    SLUICE_ASSIGN(source.text,
                  read_text_file(options.template_file, text::RenderLimits().max_template_bytes));
    return source;
  }
  SLUICE_ASSIGN(const artifact::TextAssets assets, artifact::TextAssets::open(options.model));
  SLUICE_ASSIGN(auto found, assets.chat_template(with_tools));
  if (!found) return not_found("{}: the model has no chat template; give one with --template", options.model);
  source.text = *std::move(found);
  SLUICE_ASSIGN(source.special_tokens, assets.special_tokens());
  return source;
}

Result<Json> read_messages(const std::string& file) {
  if (file != "-") return read_json_file(file, kMaxMessages);
  SLUICE_ASSIGN(const std::string text, read_stdin(kMaxMessages));
  return parse_json(text, "stdin");
}

Result<int> render(const RenderVerbOptions& options) {
  SLUICE_ASSIGN(Json chat, read_messages(options.messages));
  SLUICE_ASSIGN(Source source, find_template(options, has_tools(chat)));
  SLUICE_ASSIGN(const Json variables, text::chat_variables(std::move(chat), source.special_tokens));
  SLUICE_ASSIGN(const auto chat_template, text::ChatTemplate::parse(std::move(source.text)));
  SLUICE_ASSIGN(const text::RenderedChat rendered, chat_template.render_marked(variables));
  if (!options.output.json) {
    print_raw(rendered.text);
    return kDone;
  }
  Json ranges = Json::array();
  for (const text::ByteRange& range : rendered.from_input) ranges.push_back({range.begin, range.end});
  print_json({{"text", rendered.text}, {"from_input", std::move(ranges)}});
  return kDone;
}

}  // namespace

Run declare_render(CLI::App& app) {
  auto options = std::make_shared<RenderVerbOptions>();
  app.add_option("MODEL", options->model, "Model whose chat template is rendered");
  app.add_option("--template", options->template_file, "A template file instead of a model")
      ->type_name("F.jinja");
  app.add_option(
         "--messages", options->messages,
         "An array of messages, or an object with messages, tools, add_generation_prompt, bos_token and any "
         "other variable; - is stdin")
      ->type_name("F.json")
      ->required();
  options->output.declare(app);
  return [options] { return render(*options); };
}

}  // namespace sluice::tools
