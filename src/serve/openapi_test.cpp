// The description of the API says what the routes do: both ways for paths and keys, and each request field it
// lists is one that the server reads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "base/testing/python.h"
#include "serve/router.h"
#include "serve/testing/tiny_server.h"

namespace sluice::serve {
namespace {

using testing::Response;
using testing::TinyServer;
using testing::TinyServerOptions;

TEST(OpenApi, DescribesEveryRouteAndNoOther) {
  const Json document = TinyServer().get("/openapi.json").json();
  EXPECT_EQ(document["openapi"], "3.1.0");
  EXPECT_EQ(document["info"]["version"], "test");
  std::set<std::string> described, served;
  for (const auto& path : document["paths"].items()) {
    const std::string pattern =
        path.key().ends_with('}') ? path.key().substr(0, path.key().find('{')) + "*" : path.key();
    for (const auto& operation : path.value().items()) {
      const bool open = operation.value().contains("security") && operation.value()["security"].empty();
      described.insert(operation.key() + " " + pattern + (open ? " open" : ""));
    }
  }
  for (const Route& route : routes()) {
    std::string method = route.method;
    for (char& c : method) c = static_cast<char>(std::tolower(c));
    served.insert(method + " " + route.path + (route.open ? " open" : ""));
  }
  EXPECT_EQ(described, served);
}

TEST(OpenApi, ListsOnlyFieldsThatAreRead) {
  TinyServerOptions o;
  o.serve.strict = true;
  const TinyServer strict(o);
  const Json schemas = strict.get("/openapi.json").json()["components"]["schemas"];
  const struct {
    const char* schema;
    const char* path;
    const char* body;
  } kCases[] = {
      {"ChatRequest", "/v1/chat/completions",
       R"({"messages":[{"role":"user","content":"a"}],"max_tokens":1)"},
      {"CompletionRequest", "/v1/completions", R"({"prompt":"a","max_tokens":1)"},
  };
  for (const auto& c : kCases) {
    Json properties = schemas["Generation"]["properties"];
    properties.update(schemas[c.schema]["properties"]);
    const Json given = *parse_json(std::string(c.body) + "}", "body");
    for (const auto& property : properties.items()) {
      if (given.contains(property.key())) continue;
      const Response r = strict.post(c.path, std::string(c.body) + ",\"" + property.key() + "\":null}");
      EXPECT_EQ(r.status, 200) << c.path << " " << property.key() << r.body;
    }
    EXPECT_EQ(strict.post(c.path, std::string(c.body) + ",\"no_such_field\":null}").status, 400);
  }
}

// Requests made of the description, sane and not: none is answered with 5xx, all answers are as described.
TEST(OpenApi, HoldsUnderGeneratedRequests) {
  const std::string python = test_python();
  if (const std::string why = test_python_lacks("schemathesis"); !why.empty()) GTEST_SKIP() << why;
  TinyServerOptions o;
  o.null = false;
  o.serve.any_model = o.serve.tokenizer_info = true;  // or most requests would end before they begin
  const TinyServer server(o);
  const std::string url = fmt::format("http://127.0.0.1:{}", server.port());
  const std::string command = fmt::format(
      "cd '{}' && {} -m schemathesis.cli run {}/openapi.json --url {} --seed 1 --max-examples 10 --no-color "
      "--request-timeout 60 --phases fuzzing --warnings off "
      "--checks not_a_server_error,status_code_conformance,content_type_conformance,"
      "response_schema_conformance",
      ::testing::TempDir(), python, url, url);
  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace sluice::serve
