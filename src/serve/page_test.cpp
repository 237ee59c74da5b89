// The built-in page: its files, its headers, and a visit in headless Chromium.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "serve/testing/tiny_server.h"

namespace sluice::serve {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::Response;
using testing::TinyServer;
using testing::TinyServerOptions;

TEST(Page, IsServedWholeAndAllowsNothingFromElsewhere) {
  TinyServerOptions o;
  o.serve.api_keys = {"secret"};
  const TinyServer locked(o);
  const Response index = locked.get("/");
  ASSERT_EQ(index.status, 200);
  EXPECT_EQ(index.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_THAT(index.headers.at("content-security-policy"), HasSubstr("default-src 'none'"));
  EXPECT_THAT(index.body, Not(HasSubstr("secret")));
  for (const auto& [path, type] : {std::pair{"/page/style.css", "text/css; charset=utf-8"},
                                   {"/page/main.js", "text/javascript; charset=utf-8"}}) {
    const Response r = locked.get(path);
    EXPECT_EQ(r.status, 200) << path;
    EXPECT_EQ(r.headers.at("content-type"), type);
    EXPECT_EQ(r.headers.at("x-content-type-options"), "nosniff");
  }
  EXPECT_EQ(locked.get("/page/nothing.js").status, 404);
}

void visit(const TinyServerOptions& options, const std::string& arguments) {
  if (std::system("command -v chromium chromium-browser google-chrome > /dev/null") != 0)
    GTEST_SKIP() << "needs Chromium: apt-get install chromium";
  if (std::system("command -v python3 > /dev/null") != 0) GTEST_SKIP() << "needs python3";
  const TinyServer server(options);
  const std::string command = fmt::format("python3 {}/tests/page_test.py http://127.0.0.1:{}/ {}",
                                          SLUICE_SOURCE_DIR, server.port(), arguments);
  EXPECT_EQ(std::system(command.c_str()), 0);
}

TEST(Page, AnswersAVisitor) {
  TinyServerOptions o;
  o.max_seq_len = 256;
  const char* screenshots = std::getenv("SLUICE_SCREENSHOTS");
  visit(o, screenshots != nullptr ? std::string("--screenshots ") + screenshots : "");
}

TEST(Page, AsksForTheKeyWhereOneIsNeeded) {
  TinyServerOptions o;
  o.max_seq_len = 256;
  o.serve.api_keys = {"secret"};
  visit(o, "--key secret");
}

}  // namespace
}  // namespace sluice::serve
