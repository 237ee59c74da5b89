#include "tools/cli.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <new>

#include "base/check.h"
#include "base/edit_distance.h"
#include "base/log.h"
#include "tools/settings.h"
#include "tools/signals.h"

namespace sluice::tools {
namespace {

std::string overview(std::span<const Verb> verbs) {
  std::string out = "usage: sluice VERB [options]\n\n";
  for (const Verb& verb : verbs) out += fmt::format("  {:<11} {}\n", verb.name, verb.summary);
  return out +
         "\nMODEL is an engine directory, a Hugging Face directory or a GGUF file.\n"
         "sluice VERB --help lists a verb's options; sluice --version prints the release.\n"
         "Exit codes: 0 done, 1 the check failed, 2 bad usage or bad input.\n";
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) out.push_back("--" + name);
    for (const std::string& name : option->get_snames()) out.push_back("-" + name);
  }
  return out;
}

// What the app did not understand, if anything.
Status check_remaining(const CLI::App& app) {
  const std::vector<std::string> words = app.remaining();
  if (words.empty()) return {};
  const std::string word = words.front().substr(0, words.front().find('=')).substr(0, 100);
  if (word.starts_with('-') && word.size() > 1)
    return invalid_argument("unknown option {}{}", word, suggestion(word, option_names(app)));
  return invalid_argument("unexpected argument \"{}\"; see {} --help", word, app.get_name());
}

Status parse(CLI::App& app, std::vector<std::string> words) {
  SLUICE_ASSIGN(Settings settings, complete_settings(app, normalize_arguments(app, std::move(words))));
  std::reverse(settings.words.begin(), settings.words.end());  // as CLI11 wants it
  try {
    app.parse(std::move(settings.words));
  } catch (const CLI::CallForHelp&) {
    throw;
  } catch (const CLI::ParseError& e) {
    SLUICE_TRY(check_remaining(app));  // an option that is missing may only be misspelt
    std::string what = e.what();
    std::replace(what.begin(), what.end(), '\n', ' ');
    const auto source = settings.sources.find(what.substr(0, what.find(':')));
    if (source != settings.sources.end()) what += " (set in " + source->second + ")";
    return invalid_argument("{}; see {} --help", what, app.get_name());
  }
  return check_remaining(app);
}

Result<int> run_verb(const Verb& verb, std::vector<std::string> words) {
  CLI::App app(std::string(verb.summary), "sluice " + std::string(verb.name));
  app.allow_extras();  // they are refused by check_remaining
  app.get_formatter()->column_width(34);
  const Run run = verb.declare(app);
  try {
    SLUICE_TRY(parse(app, std::move(words)));
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app.help());
    return kDone;
  }
  return run();
}

Result<int> dispatch(std::vector<std::string> words, std::span<const Verb> verbs) {
  if (words.empty()) {
    fmt::print(stderr, "{}", overview(verbs));
    return kBadInput;
  }
  std::string first = words.front();
  words.erase(words.begin());
  if (first == "--version") {
    fmt::print("{}\n", version_line());
    return kDone;
  }
  if (first == "help" && !words.empty()) {
    first = words.front();
    words.front() = "--help";
    std::rotate(words.begin(), words.begin() + 1, words.end());  // behind the second word of a verb
  }
  if (first == "--help" || first == "-h" || first == "help") {
    fmt::print("{}", overview(verbs));
    return kDone;
  }
  // A verb of two words goes before the one that its first word is.
  if (!words.empty()) {
    const std::string both = first + " " + words.front();
    if (std::any_of(verbs.begin(), verbs.end(), [&](const Verb& verb) { return verb.name == both; })) {
      first = both;
      words.erase(words.begin());
    }
  }
  std::vector<std::string> known;
  for (const Verb& verb : verbs) {
    if (verb.name == first) return run_verb(verb, std::move(words));
    known.emplace_back(verb.name);
  }
  return invalid_argument("unknown verb \"{}\"{}; sluice --help lists them", first.substr(0, 100),
                          suggestion(first, known));
}

// Results that did not reach their reader are a failure like any other.
Status flush_results() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return {};
  return errno_error("the result could not be written to stdout");
}

}  // namespace

std::string suggestion(std::string_view given, const std::vector<std::string>& known) {
  given = given.substr(0, 64);
  const auto nearest = std::min_element(known.begin(), known.end(), [&](const auto& a, const auto& b) {
    return edit_distance(a, given) < edit_distance(b, given);
  });
  if (nearest == known.end() || edit_distance(*nearest, given) > std::max<size_t>(2, given.size() / 3))
    return {};
  return fmt::format("; did you mean {}?", *nearest);
}

std::string version_line() { return "sluice " SLUICE_VERSION; }

std::vector<std::string> normalize_arguments(const CLI::App& app, std::vector<std::string> words) {
  for (size_t i = 0; i < words.size(); ++i) {
    std::string& word = words[i];
    if (word == "--") break;
    const size_t name_end = std::min(word.find('='), word.size());
    if (word.starts_with("--")) {
      std::replace(word.begin() + 2, word.begin() + static_cast<std::ptrdiff_t>(name_end), '-', '_');
    }
    const CLI::Option* option =
        word.starts_with('-') ? app.get_option_no_throw(word.substr(0, name_end)) : nullptr;
    if (option != nullptr && option->get_items_expected_min() > 0 && name_end == word.size())
      ++i;  // its value
  }
  return words;
}

int run_cli(int argc, const char* const* argv, std::span<const Verb> verbs) {
  // A socket or file that got the number of a closed standard stream would get what is written there.
  for (int fd = ::open("/dev/null", O_RDWR | O_CLOEXEC); fd >= 0;
       fd = ::open("/dev/null", O_RDWR | O_CLOEXEC)) {
    if (fd <= STDERR_FILENO) continue;
    ::close(fd);
    break;
  }
  // Writing to a closed pipe or beyond a file size limit is an error like any other.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  explain_lost_files();
  const auto failed = [](std::string_view what, int code) {
    log_error("{}", what);
    return code;
  };
  try {
    const Result<int> code = dispatch({argv + std::min(argc, 1), argv + argc}, verbs);
    if (code.ok()) {
      const Status flushed = flush_results();
      return flushed.ok() ? *code : failed(flushed.message(), kBadInput);
    }
    std::fflush(stdout);
    if (code.status().code() == StatusCode::cancelled && interrupted() != 0)
      return failed(code.status().message(), 128 + interrupted());
    return failed(code.status().message(),
                  code.status().code() == StatusCode::internal ? kInternalError : kBadInput);
  } catch (const std::bad_alloc&) {
    return failed("out of memory", kBadInput);
  } catch (const std::exception& e) {
    return failed(fmt::format("internal error, please report it: {}", e.what()), kInternalError);
  }
}

}  // namespace sluice::tools
