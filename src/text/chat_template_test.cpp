#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"

namespace sluice::text {
namespace {

using testing::HasSubstr;

constexpr const char* kChatml =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\n"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

ChatTemplate parse(const std::string& source, const RenderLimits& limits = {}) {
  auto parsed = ChatTemplate::parse(source, limits);
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  return *parsed;
}

Json json(const std::string& text) { return *parse_json(text, "test"); }

Status parse_error(const std::string& source) { return ChatTemplate::parse(source).status(); }

Status render_error(const std::string& source, const Json& variables = Json::object(),
                    const RenderLimits& limits = {}) {
  return parse(source, limits).render(variables).status();
}

TEST(ChatTemplate, RendersAConversation) {
  const Json chat =
      json(R"({"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": true})");
  EXPECT_EQ(*parse(kChatml).render(chat), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, NamesTheLineOfAnError) {
  EXPECT_THAT(parse_error("a\nb\n{{ 1 + }}").message(), HasSubstr("line 3"));
  EXPECT_THAT(parse_error("\n{{ x|nofilter }}").message(), HasSubstr("line 2: No filter named 'nofilter'"));
  EXPECT_THAT(render_error("\n\n{{ missing.x }}").message(), HasSubstr("line 3: 'missing' is undefined"));
  const Status raised =
      render_error("{% if true %}\n{{ raise_exception('Roles must alternate') }}{% endif %}");
  EXPECT_EQ(raised.code(), StatusCode::invalid_argument);
  EXPECT_EQ(raised.message(), "chat template: line 2: Roles must alternate");
}

TEST(ChatTemplate, RefusesWhatChatTemplatesHaveNoUseFor) {
  for (const char* source :
       {"{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}",
        "{% block b %}{% endblock %}", "{% for x in y recursive %}{% endfor %}", "{{ x|urlize }}",
        "{% autoescape true %}{% endautoescape %}", "{{ self.x }}"}) {
    const Status refused = parse_error(source);
    EXPECT_EQ(refused.code(), StatusCode::unsupported) << source;
    EXPECT_THAT(refused.message(), HasSubstr("line 1")) << source;
  }
  EXPECT_EQ(render_error("{{ lipsum() }}").code(), StatusCode::unsupported);
  EXPECT_EQ(render_error("{{ (1).real }}").code(), StatusCode::unsupported);
}

TEST(ChatTemplate, RefusesBadSources) {
  EXPECT_THAT(parse_error("\xff").message(), HasSubstr("UTF-8"));
  EXPECT_EQ(ChatTemplate::parse("12345", {.max_template_bytes = 4}).status().code(),
            StatusCode::resource_exhausted);
  EXPECT_FALSE(parse(kChatml).render(Json::array()).ok());
}

TEST(ChatTemplate, RefusesIntegersBeyond64Bits) {
  EXPECT_THAT(render_error("{{ x }}", json(R"({"x": 18446744073709551615})")).message(),
              HasSubstr("64 bits"));
  EXPECT_THAT(parse_error("{{ 9223372036854775808 }}").message(), HasSubstr("64 bits"));
  for (const char* source :
       {"{{ 9223372036854775807 + 1 }}", "{{ 2 ** 63 }}", "{{ 3000000000 * 4000000000 }}",
        "{{ -9223372036854775807 - 2 }}", "{{ '9223372036854775808'|int }}", "{{ 1e19|int }}"}) {
    EXPECT_THAT(render_error(source).message(), HasSubstr("64 bits")) << source;
  }
  EXPECT_EQ(*parse("{{ '-9223372036854775808'|int }}").render(Json::object()), "-9223372036854775808");
}

TEST(ChatTemplate, ReadsTellsWhichVariablesMatter) {
  const ChatTemplate t =
      parse("{% set a = 1 %}{{ a }}{% if tools %}{% endif %}{% for m in messages %}{{ m }}{% endfor %}");
  EXPECT_TRUE(t.reads("tools"));
  EXPECT_TRUE(t.reads("messages"));
  EXPECT_FALSE(t.reads("a"));
  EXPECT_FALSE(t.reads("m"));
}

// ---- budgets: whatever a template does, it ends soon and within its memory

TEST(ChatTemplate, BudgetsStopHostileTemplates) {
  for (const char* source : {
           "{{ 'a' * 10**9 }}",
           "{{ [1] * 10**10 }}",
           "{{ '%1000000000d' % 1 }}",
           "{{ ('a,' * 30000000).split(',')|length }}",
           "{{ ('a\\n' * 30000000).splitlines()|length }}",
           "{{ '{:>1000000000}'.format(1) }}",
           "{{ 'x'.center(10**12) }}",
           "{{ 'x'.zfill(10**12) }}",
           "{{ 'a\\tb'.expandtabs(10**12) }}",
           "{{ [[1]]|tojson(indent=10**10) }}",
           "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
           "{% set ns = namespace(s='ab') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor "
           "%}",
           "{% set ns = namespace(s='ab') %}{% for i in range(100) %}{% set ns.s = ns.s.replace('a', ns.s) "
           "%}{% endfor %}",
           "{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
           "{% set ns = namespace(l=[1]) %}{% for i in range(50) %}{% set ns.l = [ns.l, ns.l] %}{% endfor "
           "%}{{ ns.l }}",
           "{% set ns = namespace(l=[1]) %}{% for i in range(50) %}{% set ns.l = [ns.l, ns.l] %}{% endfor "
           "%}{{ ns.l == [[ns.l[0], "
           "1], 2] or ns.l|tojson }}",
           "{% set ns = namespace(l=[1]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ "
           "ns.l }}",
           "{% set ns = namespace() %}{% set ns.self = ns %}{{ ns }}",
           "{% set ns = namespace(g=[1]) %}{% for i in range(99999) %}{% set ns.g = ns.g|map('string') %}{% "
           "endfor %}{{ ns.g|list }}",
           "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
           "{% macro f(x) %}{{ f(x) ~ f(x) }}{% endmacro %}{{ f(1) }}",
           "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{{ s.find('b') }}{% endfor %}",
           "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{% set t = s.upper() %}{% endfor %}",
           "{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}",
           "{% set l = range(100000)|list %}{% for i in l %}{{ i in l }}{% endfor %}",
           "{% set l = range(100000)|list %}{% for i in range(1000) %}{% set t = l|sort(reverse=true) %}{% "
           "endfor %}",
       }) {
    const Status stopped = render_error(source);
    EXPECT_EQ(stopped.code(), StatusCode::resource_exhausted) << source << "\n" << stopped.message();
  }
}

TEST(ChatTemplate, SearchesInLinearTime) {
  const char* source =
      "{% set s = 'a' * 1000000 %}{% set n = 'a' * 500000 + 'b' %}{{ n in s }}{{ s.find(n) }}{{ s.rfind(n) "
      "}}{{ s.count(n) }}"
      "{{ s.replace(n, '') == s }}{{ s.split(n)|length }}";
  EXPECT_EQ(*parse(source).render(Json::object()), "False-1-10True1");
}

TEST(ChatTemplate, DeepNestingIsAnErrorAndNoCrash) {
  const auto repeat = [](const std::string& s, size_t n) {
    std::string out;
    for (size_t i = 0; i < n; ++i) out += s;
    return out;
  };
  for (const std::string& source :
       {"{{ " + repeat("(", 20000), "{{ " + repeat("[", 20000), "{{ " + repeat("{1:", 20000),
        "{{ " + repeat("-", 20000) + "1 }}", "{{ " + repeat("not ", 20000) + "1 }}",
        "{{ " + repeat("f(", 20000), "{{ x" + repeat("[0", 20000),
        "{{ 1" + repeat(" if 1 else 1", 20000) + " }}", repeat("{% if 1 %}", 20000),
        "{{ 1" + repeat(" + 1", 20000) + " }}", "{{ x" + repeat(".x", 20000) + " }}",
        "{{ x" + repeat("|e", 20000) + " }}", "{{ x" + repeat("()", 20000) + " }}",
        "{{ 1" + repeat(" and 1", 20000) + " }}", "{% set " + repeat("(", 20000)}) {
    EXPECT_FALSE(ChatTemplate::parse(source).ok()) << source.substr(0, 20);
  }
  EXPECT_EQ(*parse("{{ 'a'" + repeat(" ~ 'a'", 10000) + " }}").render(Json::object()),
            std::string(10001, 'a'));
}

TEST(ChatTemplate, TheLargestNestingAllowedFitsTheStack) {
  std::string source = "{% macro f(n) %}";
  for (int i = 0; i < 40; ++i) source += "{% if true %}";
  source += "{{ [[[[[[[[[[f(n + 1)]]]]]]]]]] }}";
  for (int i = 0; i < 40; ++i) source += "{% endif %}";
  EXPECT_EQ(render_error(source + "{% endmacro %}{{ f(0) }}").code(), StatusCode::resource_exhausted);
}

TEST(ChatTemplate, LimitsCanBeSet) {
  EXPECT_THAT(render_error("{{ 'aaaaa' }}", Json::object(), {.max_output_bytes = 4}).message(),
              HasSubstr("4 bytes"));
  EXPECT_THAT(render_error("{{ [1, 2, 3]|sum }}", Json::object(), {.max_steps = 3}).message(),
              HasSubstr("3 steps"));
  EXPECT_THAT(render_error("{{ [[[[1]]]] }}", Json::object(), {.max_depth = 4}).message(),
              HasSubstr("4 levels"));
  EXPECT_THAT(render_error("{{ x }}", {{"x", std::string(1000, 'a')}}, {.max_memory_bytes = 2000}).message(),
              HasSubstr("memory"));
}

// ---- provenance

std::vector<std::string> input_parts(const RenderedChat& chat) {
  std::vector<std::string> out;
  for (const ByteRange& r : chat.from_input) out.push_back(chat.text.substr(r.begin, r.end - r.begin));
  return out;
}

TEST(ChatTemplate, RemembersWhatTheUserWrote) {
  const Json chat =
      json(R"({"messages": [{"role": "user", "content": "é <|im_end|>"}], "bos_token": "<s>"})");
  const auto rendered =
      parse("{{ bos_token }}<|im_start|>{{ messages[0].role }}\n{{ messages[0].content }}<|im_end|>")
          .render_marked(chat);
  ASSERT_TRUE(rendered.ok());
  EXPECT_EQ(rendered->text, "<s><|im_start|>user\né <|im_end|><|im_end|>");
  EXPECT_THAT(input_parts(*rendered), testing::ElementsAre("user", "é <|im_end|>"));
}

TEST(ChatTemplate, ProvenanceSurvivesEveryOperation) {
  const Json variables = {{"x", "ab-<i>"}, {"n", 7}};
  const auto parts = [&](const char* source) { return input_parts(*parse(source).render_marked(variables)); };
  using testing::ElementsAre;
  EXPECT_THAT(parts("[{{ x }}]"), ElementsAre("ab-<i>"));
  EXPECT_THAT(parts("[{{ 'p' + x ~ 'q' }}]"), ElementsAre("ab-<i>"));
  EXPECT_THAT(parts("[{{ x[1:4] }}{{ x[::-1] }}]"), ElementsAre("b-<>i<-ba"));
  EXPECT_THAT(parts("[{{ x.split('-') }}]"), ElementsAre("ab", "<i>"));
  EXPECT_THAT(parts("[{{ x|upper }}|{{ x|title }}]"), ElementsAre("AB-<I>", "Ab-<I>"));
  EXPECT_THAT(parts("[{{ x|replace('-', '+') }}]"), ElementsAre("ab", "<i>"));
  EXPECT_THAT(parts("[{{ 'a-b'|replace('-', x) }}]"), ElementsAre("ab-<i>"));
  EXPECT_THAT(parts("[{{ x|e }}]"), ElementsAre("ab-&lt;i&gt;"));
  EXPECT_THAT(parts("[{{ {'k': x}|tojson }}]"), ElementsAre("ab-<i>"));
  EXPECT_THAT(parts("[{{ '%s|%s' % (x, 'y') }}{{ '{}'.format(x) }}]"), ElementsAre("ab-<i>", "ab-<i>"));
  EXPECT_THAT(parts("[{% set t %}{{ x|trim }}{% endset %}{{ t * 2 }}]"), ElementsAre("ab-<i>ab-<i>"));
  EXPECT_THAT(parts("[{{ 'ab-<i>' if x == 'ab-<i>' }}{{ n }}]"), ElementsAre());
}

// ---- what transformers does before it renders

TEST(ChatVariables, FollowTransformers) {
  const auto variables = chat_variables(
      json(
          R"([{"role": "user", "content": "q", "name": null}, {"role": "assistant", "content": "a", "reasoning": "r"}])"),
      {{"bos_token", "<s>"}});
  ASSERT_TRUE(variables.ok()) << variables.status().message();
  EXPECT_EQ(*variables, json(R"({"bos_token": "<s>", "messages": [{"role": "user", "content": "q"},
      {"thinking": "r", "role": "assistant", "content": "a", "reasoning": "r", "reasoning_content": "r"}],
      "tools": null, "documents": null, "add_generation_prompt": false})"));
}

TEST(ChatVariables, TheChatOverridesSpecialTokens) {
  const auto variables =
      chat_variables(json(R"({"messages": [{}], "bos_token": "B", "tools": [{"name": "f"}], "extra": 1})"),
                     {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
  ASSERT_TRUE(variables.ok()) << variables.status().message();
  EXPECT_EQ((*variables)["bos_token"], "B");
  EXPECT_EQ((*variables)["eos_token"], "</s>");
  EXPECT_EQ((*variables)["tools"], json(R"([{"name": "f"}])"));
  EXPECT_EQ((*variables)["extra"], 1);
}

TEST(ChatVariables, RefuseTheWrongShape) {
  const auto message = [](const char* chat) { return chat_variables(json(chat)).status().message(); };
  EXPECT_THAT(message("[]"), HasSubstr("at least one"));
  EXPECT_THAT(message("5"), HasSubstr("array"));
  EXPECT_THAT(message("{}"), HasSubstr("missing"));
  EXPECT_THAT(message("[1]"), HasSubstr("messages[0]"));
  EXPECT_THAT(message(R"({"messages": [{}], "tools": {}})"), HasSubstr("tools"));
  EXPECT_THAT(message(R"({"messages": [{}], "documents": ["x"]})"), HasSubstr("documents[0]"));
}

TEST(TemplateKwargs, AddVariablesAndReplaceNone) {
  const auto message = [](const char* kwargs) { return check_template_kwargs(json(kwargs)).message(); };
  EXPECT_EQ(message(R"({"enable_thinking": false, "add_generation_prompt": false, "documents": []})"), "");
  EXPECT_THAT(message("[]"), HasSubstr("expected an object"));
  EXPECT_THAT(message(R"({"messages": []})"), HasSubstr("\"messages\" is a field of the request"));
  EXPECT_THAT(message(R"({"tools": []})"), HasSubstr("\"tools\" is a field of the request"));
  // Text of special tokens counts as the template's: a request that set it could write control tokens.
  EXPECT_THAT(message(R"({"bos_token": "<|im_start|>system"})"), HasSubstr("\"bos_token\""));
  EXPECT_THAT(message(R"({"my_token": "x"})"), HasSubstr("\"my_token\""));
}

// ---- model directories

class ModelDirectory : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/sluice_template_XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void write(const std::string& name, const std::string& text) const {
    ASSERT_TRUE(write_file_atomically(join_path(dir_, name), text).ok());
  }
  std::string found(bool with_tools = false) const {
    const auto result = find_chat_template(dir_, with_tools);
    return result.ok() ? result->value_or("nothing") : result.status().message();
  }
  std::string dir_;
};

TEST_F(ModelDirectory, ChatTemplateByPrecedence) {
  EXPECT_EQ(found(), "nothing");
  write("tokenizer_config.json", R"({"chat_template": "config"})");
  EXPECT_EQ(found(), "config");
  write("chat_template.json", R"({"chat_template": "json"})");
  EXPECT_EQ(found(), "json");
  write("chat_template.jinja", "jinja");
  EXPECT_EQ(found(true), "jinja");
  std::filesystem::create_directory(join_path(dir_, "additional_chat_templates"));
  write("additional_chat_templates/tool_use.jinja", "tools");
  EXPECT_EQ(found(), "jinja");
  EXPECT_EQ(found(true), "tools");
}

TEST_F(ModelDirectory, NamedChatTemplates) {
  write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]})");
  EXPECT_EQ(found(), "d");
  EXPECT_EQ(found(true), "t");
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "a", "template": "1"}, {"name": "b", "template": "2"}]})");
  EXPECT_THAT(found(), HasSubstr("none is named 'default'"));
}

TEST_F(ModelDirectory, BadChatTemplateFiles) {
  for (const char* text : {R"({"chat_template": 5})", R"({"chat_template": [{"name": "x"}]})",
                           R"({"chat_template": [1]})", "[]", "{"}) {
    write("tokenizer_config.json", text);
    EXPECT_FALSE(find_chat_template(dir_).ok()) << text;
    EXPECT_THAT(found(), HasSubstr("tokenizer_config.json"));
  }
}

TEST_F(ModelDirectory, SpecialTokens) {
  EXPECT_EQ(*read_special_tokens(dir_), Json::object());
  write("tokenizer_config.json",
        R"({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "pad_token": null})");
  write("special_tokens_map.json", R"({"bos_token": "other", "pad_token": "<pad>"})");
  EXPECT_EQ(*read_special_tokens(dir_),
            json(R"({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"})"));
  write("tokenizer_config.json", R"({"bos_token": 5})");
  EXPECT_THAT(read_special_tokens(dir_).status().message(), HasSubstr("bos_token"));
}

}  // namespace
}  // namespace sluice::text
