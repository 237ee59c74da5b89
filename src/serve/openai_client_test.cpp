// OpenAI's Python client against servers of this process (tests/openai_client_test.py says what it does).
// Skipped where Python or the package is missing; SLUICE_PYTHON names the interpreter (default python3).
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/testing/python.h"
#include "serve/testing/tiny_server.h"

namespace sluice::serve {
namespace {

TEST(OpenAiClient, ScenariosPass) {
  const std::string python = test_python();
  if (const std::string why = test_python_lacks("openai"); !why.empty()) GTEST_SKIP() << why;
  testing::TinyServer computing({.null = false, .serve = {.api_keys = {"key"}}});
  testing::TinyServer queue({.max_num_seqs = 1,
                             .max_seq_len = 1 << 18,
                             .core = {.max_waiting = 1},
                             .serve = {.stream_buffer_bytes = size_t{1} << 30}});
  EXPECT_EQ(std::system(
                fmt::format("{} {}/tests/openai_client_test.py http://127.0.0.1:{}/v1 http://127.0.0.1:{}/v1",
                            python, SLUICE_SOURCE_DIR, computing.port(), queue.port())
                    .c_str()),
            0);
}

}  // namespace
}  // namespace sluice::serve
