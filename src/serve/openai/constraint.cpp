#include "serve/openai/constraint.h"

#include "sampling/structured_json.h"

namespace sluice::serve {
namespace {

using sampling::ConstraintCompiler;
using text::grammar::ToolDialect;
using Compiled = Result<std::shared_ptr<const sampling::Constraint>>;

Result<ToolDialect> dialect_of(const App& app) {
  if (app.options().tool_dialect) return *app.options().tool_dialect;
  SLUICE_ASSIGN(const auto source, app.engine()->codec().chat_template_source(true));
  const auto dialect = source ? text::grammar::tool_dialect_of_template(*source) : std::nullopt;
  if (dialect) return *dialect;
  return unsupported(
      "tools: the chat template shows no way of writing calls that is known here; the server's option "
      "--tool_call_parser can name one, and with tool_choice \"none\" the model only sees the tools");
}

// Equal for tools that have the same grammar.
std::string key_of(const ToolUse& use) {
  const text::grammar::ToolRequest& r = use.request;
  Json tools = Json::array();
  for (const text::grammar::Tool& tool : r.tools) tools.push_back({tool.name, tool.parameters});
  return fmt::format("tools:{}:{}:{}:{}:{}", static_cast<int>(use.dialect), static_cast<int>(r.choice.mode),
                     r.choice.name, r.parallel, dump_json(tools));
}

// Of an answer's form, behind thoughts where the model may have some.
Compiled compile_form(ConstraintCompiler& compiler, const StructuredOutput& format,
                      const std::optional<Reasoning>& reasoning) {
  if (!reasoning) return compiler.compile(format);
  const std::string key =
      fmt::format("behind thoughts:{}:{}", reasoning->begun, sampling::constraint_key(format));
  if (auto known = compiler.find(key)) return known;
  SLUICE_ASSIGN(const auto form, sampling::grammar_of(format, compiler.limits()));
  return compiler.compile(key, text::behind_reasoning(form, reasoning->begun));
}

// Of tools, and of an answer's form where it has one.
Compiled compile_tools(ConstraintCompiler& compiler, const ToolUse& use, const Constraint& constraint) {
  std::string key = key_of(use);
  if (constraint.format) key += sampling::constraint_key(*constraint.format);
  if (auto known = compiler.find(key)) return known;
  text::grammar::Grammar form;
  if (constraint.format) {
    auto grammar = sampling::grammar_of(*constraint.format, compiler.limits());
    if (!grammar.ok()) return grammar.status().with_context(constraint.field);
    form = *std::move(grammar);
  }
  SLUICE_ASSIGN(const auto grammar, text::grammar::tool_grammar(use.request, use.dialect, compiler.limits(),
                                                                constraint.format ? &form : nullptr));
  auto compiled = compiler.compile(key, grammar);
  if (!compiled.ok()) return compiled.status().with_context("tools");
  return compiled;
}

}  // namespace

void read_format(Fields& fields, Constraint& out) {
  const auto take = [&](const std::string& field, auto parsed) {
    if (!parsed.ok()) return fields.adopt(parsed.status());
    if (out.format) return fields.fail(field, "only one constraint can be given");
    out.format = *std::move(parsed);
    out.field = field;
  };
  if (const Json& format = fields.get("response_format"); !format.is_null())
    take("response_format", sampling::parse_response_format(format, "response_format"));
  if (const Json& structured = fields.get("structured_outputs"); !structured.is_null())
    take("structured_outputs", sampling::parse_structured_outputs(structured, "structured_outputs"));
  // The older spelling of the same.
  for (const std::string kind : {"json", "regex", "choice", "grammar"}) {
    const std::string name = "guided_" + kind;
    const Json& value = fields.get(name.c_str());
    if (value.is_null()) continue;
    auto parsed = sampling::parse_structured_outputs({{kind, value}}, "structured_outputs");
    if (!parsed.ok()) return fields.fail(name, parsed.status().message());
    take(name, std::move(parsed));
  }
}

void read_tools(Fields& fields, Constraint& out) {
  const Json& tools = fields.get("tools");
  const Json& choice = fields.get("tool_choice");
  auto parsed = text::grammar::parse_tool_request(tools, choice, fields.get("parallel_tool_calls"));
  if (!parsed.ok()) return fields.adopt(parsed.status());
  if (parsed->choice.mode != text::grammar::ToolChoice::Mode::none) out.tools = *std::move(parsed);
}

void compile_constraint(Fields& fields, App& app, Constraint constraint, Call& call) {
  if (fields.error() || !(constraint.format || constraint.tools)) return;
  ConstraintCompiler* compiler = app.engine()->constraints();
  if (compiler == nullptr) {
    return fields.fail(constraint.tools ? "tools" : constraint.field,
                       "needs a tokenizer, and the model has none");
  }
  const auto began = Clock::now();
  const auto count = [&] {
    app.metrics().grammar_compiled(std::chrono::duration<double>(Clock::now() - began).count());
  };
  if (!constraint.tools) {
    Compiled compiled = compile_form(*compiler, *constraint.format, call.reasoning);
    count();
    if (!compiled.ok()) return fields.fail(constraint.field, compiled.status().message());
    call.constraint = *std::move(compiled);
    return;
  }
  const auto dialect = dialect_of(app);
  if (!dialect.ok()) return fields.adopt(dialect.status());
  call.tools = ToolUse{*constraint.tools, *dialect};
  Compiled compiled = compile_tools(*compiler, *call.tools, constraint);
  count();
  if (!compiled.ok()) return fields.adopt(compiled.status());
  call.constraint = *std::move(compiled);
}

}  // namespace sluice::serve
