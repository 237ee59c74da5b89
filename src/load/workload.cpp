#include "load/workload.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/fields.h"
#include "base/file.h"

namespace sluice::load {
namespace {

constexpr size_t kMaxFile = size_t{1} << 30;

constexpr std::array<std::string_view, 128> kWords = {
    "the",    "of",     "and",   "to",    "in",     "is",      "that",  "it",      "was",     "for",
    "on",     "are",    "as",    "with",  "his",    "they",    "at",    "be",      "this",    "from",
    "have",   "or",     "by",    "one",   "had",    "not",     "but",   "what",    "all",     "were",
    "when",   "we",     "there", "can",   "an",     "your",    "which", "their",   "said",    "if",
    "do",     "will",   "each",  "about", "how",    "up",      "out",   "them",    "then",    "she",
    "many",   "some",   "so",    "these", "would",  "other",   "into",  "has",     "more",    "her",
    "two",    "like",   "him",   "see",   "time",   "could",   "no",    "make",    "than",    "first",
    "been",   "its",    "who",   "now",   "people", "my",      "made",  "over",    "did",     "down",
    "only",   "way",    "find",  "use",   "may",    "water",   "long",  "little",  "very",    "after",
    "words",  "called", "just",  "where", "most",   "know",    "get",   "through", "back",    "much",
    "before", "go",     "good",  "new",   "write",  "our",     "used",  "me",      "man",     "too",
    "any",    "day",    "same",  "right", "look",   "think",   "also",  "around",  "another", "came",
    "come",   "work",   "three", "word",  "must",   "because", "does",  "part"};

void append_words(std::string& out, int count, std::mt19937_64& random) {
  for (int i = 0; i < count; ++i) {
    if (!out.empty()) out.push_back(' ');
    out += kWords[random() % kWords.size()];
  }
}

class RandomWorkload : public Workload {
 public:
  explicit RandomWorkload(const RandomOptions& options) : options_(options) {
    std::mt19937_64 random(options.seed);
    append_words(prefix_, options.prefix_len, random);
  }

  Job job(size_t i) const override {
    std::seed_seq seed{options_.seed, static_cast<uint64_t>(i) + 1};
    std::mt19937_64 random(seed);
    std::string prompt = prefix_;
    append_words(prompt, around(options_.input_len, random), random);
    return {std::move(prompt), around(options_.output_len, random)};
  }

 private:
  int around(int length, std::mt19937_64& random) const {
    const double spread = length * options_.range_ratio;
    const auto low = static_cast<int>(std::floor(length - spread)), high = static_cast<int>(length + spread);
    return std::uniform_int_distribution<int>(std::max(1, low), std::max(1, high))(random);
  }

  RandomOptions options_;
  std::string prefix_;
};

class DatasetWorkload : public Workload {
 public:
  explicit DatasetWorkload(std::vector<Job> jobs) : jobs_(std::move(jobs)) {}
  Job job(size_t i) const override { return jobs_[i % jobs_.size()]; }

 private:
  std::vector<Job> jobs_;
};

struct Line {
  std::optional<std::string> prompt;
  std::optional<std::vector<Json>> messages;
  std::optional<int> output_tokens;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("prompt", s.prompt), v("messages", s.messages), v("output_tokens", s.output_tokens);
  }
};

Result<Job> read_line(std::string_view text, const std::string& where, int output_len, bool takes_messages) {
  SLUICE_ASSIGN(const Json json, parse_json(text, where));
  Line line;
  SLUICE_TRY(from_json(json, where, line));
  if (line.prompt.has_value() == line.messages.has_value())
    return invalid_argument("{}: give either \"prompt\" or \"messages\"", where);
  if (line.messages && !takes_messages)
    return invalid_argument("{}: \"messages\" need --backend openai-chat; completions take a \"prompt\"",
                            where);
  const int tokens = line.output_tokens.value_or(output_len);
  if (tokens < 1) return invalid_argument("{}: output_tokens must be at least 1", where);
  return Job{line.prompt ? Json(*line.prompt) : Json(*line.messages), tokens};
}

}  // namespace

std::unique_ptr<Workload> random_workload(const RandomOptions& options) {
  return std::make_unique<RandomWorkload>(options);
}

Result<std::unique_ptr<Workload>> dataset_workload(const std::string& path, int output_len,
                                                   bool takes_messages) {
  SLUICE_ASSIGN(const std::string text, read_text_file(path, kMaxFile));
  std::vector<Job> jobs;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    SLUICE_ASSIGN(Job job, read_line(line, fmt::format("{}:{}", path, number), output_len, takes_messages));
    jobs.push_back(std::move(job));
  }
  if (jobs.empty()) return invalid_argument("{}: holds no request", path);
  return std::unique_ptr<Workload>(std::make_unique<DatasetWorkload>(std::move(jobs)));
}

Arrivals::Arrivals(double requests_per_second, double burstiness, uint64_t seed)
    : random_(seed),
      gap_(burstiness, std::isinf(requests_per_second) ? 1.0 : 1 / (requests_per_second * burstiness)),
      at_once_(std::isinf(requests_per_second)) {}

double Arrivals::next() { return at_once_ ? 0 : time_ += gap_(random_); }

}  // namespace sluice::load
