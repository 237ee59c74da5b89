#include "tools/signals.h"

#include <unistd.h>

#include <csignal>

namespace sluice::tools {
namespace {

volatile std::sig_atomic_t g_signal = 0;

}  // namespace

void note_interrupts() {
  struct sigaction action {};
  action.sa_handler = [](int signal) { g_signal = signal; };
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
}

void explain_lost_files() {
  struct sigaction action {};
  action.sa_handler = [](int) {
    constexpr char kSentence[] =
        "error: a file of the model was cut short or could not be read while in use: restore it, or run "
        "optimize again, and start anew\n";
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kSentence, sizeof kSentence - 1);
    ::_exit(2);
  };
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

int interrupted() { return g_signal; }

Status check_interrupted() { return g_signal == 0 ? Status() : Status(StatusCode::cancelled, "interrupted"); }

}  // namespace sluice::tools
