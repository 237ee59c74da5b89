#include "base/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <string>

namespace sluice {
namespace {

// Whoever logs goes on though nobody reads the pipe that stderr is.
TEST(Log, DoesNotWaitForAPipeThatIsFull) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const int kept = ::dup(STDERR_FILENO);
  ASSERT_EQ(::fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
  const std::string page(4096, 'x');
  while (::write(ends[1], page.data(), page.size()) > 0) {
  }
  ASSERT_EQ(::fcntl(ends[1], F_SETFL, 0), 0);
  ::dup2(ends[1], STDERR_FILENO);
  const auto began = std::chrono::steady_clock::now();
  log_error("nobody reads this");
  const auto took = std::chrono::steady_clock::now() - began;
  ::dup2(kept, STDERR_FILENO);
  for (const int fd : {kept, ends[0], ends[1]}) ::close(fd);
  EXPECT_LT(took, std::chrono::seconds(5));
}

}  // namespace
}  // namespace sluice
