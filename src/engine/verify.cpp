#include "engine/verify.h"

#include <algorithm>
#include <cmath>

#include "model/checkpoint/checkpoint.h"

namespace sluice::engine {
namespace {

class Reference {
 public:
  Reference(model::Checkpoint file, std::string prefix)
      : file_(std::move(file)), prefix_(std::move(prefix)) {}

  bool has(const std::string& name) const { return find(name) != nullptr; }

  template <typename T>
  Result<std::vector<T>> read(const std::string& name, DType dtype, std::vector<uint64_t> shape) const {
    const model::TensorInfo* t = find(name);
    if (t == nullptr) return not_found("{}: no tensor {}", file_.path(), name);
    for (size_t d = 0; d < shape.size() && t->shape.size() == shape.size(); ++d) {
      if (shape[d] == 0) shape[d] = t->shape[d];
    }
    if (t->dtype != dtype || t->shape != shape) {
      return corrupt("{}: tensor {} does not fit this model: it has another shape or type", file_.path(),
                     t->name);
    }
    std::vector<T> out(t->bytes / sizeof(T));
    SLUICE_TRY(file_.read(*t, 0, std::as_writable_bytes(std::span(out))));
    return out;
  }

 private:
  const model::TensorInfo* find(const std::string& name) const {
    const model::TensorInfo* t = prefix_.empty() ? nullptr : file_.find(prefix_ + name);
    return t != nullptr ? t : file_.find(name);
  }

  model::Checkpoint file_;
  std::string prefix_;
};

// Runs the core until it is idle.
Status drain(Core& core, std::vector<CoreEvent>& events) {
  while (core.busy()) {
    if (!core.step(events)) return internal_error("the engine stands still");
  }
  for (const CoreEvent& e : events) SLUICE_TRY(e.error);
  return {};
}

void compare_position(std::span<const float> ours, std::span<const float> theirs, PromptReport& report) {
  const double our_lse = ops::log_sum_exp(ours), their_lse = ops::log_sum_exp(theirs);
  double kl = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    const double a = static_cast<double>(ours[i]), b = static_cast<double>(theirs[i]);
    const double difference = std::abs(a - b);
    // A NaN is the largest difference there is.
    if (!(difference <= report.max_logit_difference))
      report.max_logit_difference = std::isnan(difference) ? INFINITY : difference;
    kl += std::exp(b - their_lse) * ((b - their_lse) - (a - our_lse));
  }
  report.kl += kl;
  const auto top = [](std::span<const float> v) { return std::max_element(v.begin(), v.end()) - v.begin(); };
  report.top1 += top(ours) == top(theirs);
}

class Verifier {
 public:
  Verifier(Core& core, const Reference& reference, const VerifyOptions& options)
      : core_(core),
        reference_(reference),
        options_(options),
        vocab_(static_cast<uint64_t>(core.model().spec().vocab)) {}

  Result<PromptReport> prompt(const std::string& name) {
    PromptReport report;
    report.name = name;
    SLUICE_ASSIGN(const auto ids, reference_.read<int32_t>(name + ".input_ids", DType::i32, {0}));
    report.tokens = static_cast<int64_t>(ids.size());
    SLUICE_ASSIGN(const auto logits,
                  reference_.read<float>(name + ".logits", DType::f32, {ids.size(), vocab_}));
    std::vector<int32_t> greedy;
    std::vector<float> margins;
    if (reference_.has(name + ".greedy")) {
      SLUICE_ASSIGN(greedy, reference_.read<int32_t>(name + ".greedy", DType::i32, {0}));
      SLUICE_ASSIGN(margins, reference_.read<float>(name + ".greedy_margin", DType::f32, {greedy.size()}));
    }

    CoreRequest request;
    request.prompt = ids;
    request.sampling.temperature = 0;
    request.sampling.ignore_eos = true;
    request.sampling.max_tokens = static_cast<int32_t>(greedy.size());
    request.prompt_logits = true;
    request.on_logits = [&](int position, std::span<const float> row) {
      if (static_cast<size_t>(position) >= ids.size()) return;
      compare_position(row, std::span(logits).subspan(static_cast<size_t>(position) * vocab_, vocab_),
                       report);
    };
    SLUICE_TRY(core_.add(std::move(request)).status());
    std::vector<CoreEvent> events;
    SLUICE_TRY(drain(core_, events));
    std::vector<int32_t> outputs;
    for (const CoreEvent& e : events) {
      if (e.token >= 0) outputs.push_back(e.token);
    }
    const auto close = std::find_if(margins.begin(), margins.end(),
                                    [&](float m) { return m < static_cast<float>(options_.margin); });
    report.greedy_compared = std::min<int64_t>(close - margins.begin(), static_cast<int64_t>(outputs.size()));
    while (report.greedy_equal < report.greedy_compared &&
           outputs[static_cast<size_t>(report.greedy_equal)] ==
               greedy[static_cast<size_t>(report.greedy_equal)]) {
      ++report.greedy_equal;
    }
    report.kl /= static_cast<double>(ids.size());
    report.top1 /= static_cast<double>(ids.size());
    report.passed = options_.by_distribution
                        ? report.kl <= options_.max_kl && report.top1 >= options_.min_top1
                        : report.max_logit_difference <= options_.tolerance &&
                              report.greedy_equal == report.greedy_compared;
    return report;
  }

  /// Compares the residual stream where layer k begins with `name`.hidden_k, and where the last ends with
  /// last_layer_output.
  Result<int64_t> first_departing_layer(const std::string& name) {
    if (!reference_.has(name + ".hidden_0")) return int64_t{-1};
    LoadedModel& model = core_.model();
    const program::Program& program = model.program();
    const auto layers = static_cast<int64_t>(model.spec().layers.size());
    SLUICE_ASSIGN(const auto ids, reference_.read<int32_t>(name + ".input_ids", DType::i32, {0}));
    if (static_cast<int64_t>(ids.size()) > model.recipe().max_batch_tokens) return int64_t{-1};
    const auto hidden = static_cast<uint64_t>(model.spec().hidden);
    int64_t departing = -1, seen = -1;
    Status status;
    const auto rows_of = [&](int32_t buffer, size_t rows) {
      return core_.executor().read(
          program::matrix(program, model.memory(), buffer, static_cast<int64_t>(rows)));
    };
    const auto compare = [&](int64_t layer, const std::string& tensor, const std::vector<float>& ours) {
      if (departing >= 0 || !status.ok() || !reference_.has(tensor)) return;
      auto theirs = reference_.read<float>(tensor, DType::f32, {ids.size(), hidden});
      if (!theirs.ok()) {
        status = theirs.status();
        return;
      }
      double worst = 0, scale = 1;
      for (size_t k = 0; k < theirs->size(); ++k) {
        const double b = static_cast<double>((*theirs)[k]);
        const double d = std::abs(static_cast<double>(ours[k]) - b);
        if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
        scale = std::max(scale, std::abs(b));
      }
      if (worst > options_.tolerance * scale) departing = layer;
    };
    // Behind the last layer there are rows whose logits are wanted, so many at once.
    const auto head =
        static_cast<size_t>(std::find_if(program.steps.begin(), program.steps.end(),
                                         [](const program::Step& s) {
                                           return s.rows == program::Rows::logits && s.layer < 0 &&
                                                  !std::holds_alternative<program::GatherRowsStep>(s.op);
                                         }) -
                            program.steps.begin());
    std::vector<float> last;
    core_.executor().observe([&](size_t i) {
      if (i == head) {
        const size_t left = ids.size() - last.size() / hidden;
        const std::vector<float> slice =
            rows_of(program.last_hidden, std::min(left, static_cast<size_t>(program.limits.logits)));
        last.insert(last.end(), slice.begin(), slice.end());
        if (last.size() == ids.size() * hidden) compare(layers, name + ".last_layer_output", last);
      } else if (i < head && program.steps[i].layer > seen) {
        seen = program.steps[i].layer;
        compare(seen, fmt::format("{}.hidden_{}", name, seen), rows_of(program.hidden, ids.size()));
      }
    });
    CoreRequest request;
    request.prompt = ids;
    request.sampling.max_tokens = 0;
    request.prompt_logits = true;
    request.on_logits = [](int, std::span<const float>) {};
    request.salt =
        "verify hidden states";  // not from the prefix cache: every position must be computed in one step
    const Status added = core_.add(std::move(request)).status();
    std::vector<CoreEvent> events;
    const Status ran = added.ok() ? drain(core_, events) : added;
    core_.executor().observe({});
    SLUICE_TRY(ran);
    SLUICE_TRY(status);
    return departing;
  }

 private:
  Core& core_;
  const Reference& reference_;
  const VerifyOptions& options_;
  uint64_t vocab_;
};

}  // namespace

Result<VerifyReport> verify(Core& core, const std::string& reference_path, const std::string& prefix,
                            const VerifyOptions& options) {
  SLUICE_ASSIGN(model::Checkpoint file, model::Checkpoint::open(reference_path));
  const Reference reference(std::move(file), prefix);
  Verifier verifier(core, reference, options);
  VerifyReport report;
  report.passed = true;
  for (int i = 0; reference.has(fmt::format("prompt_{}.input_ids", i)); ++i) {
    SLUICE_ASSIGN(PromptReport prompt, verifier.prompt(fmt::format("prompt_{}", i)));
    report.passed &= prompt.passed;
    report.prompts.push_back(std::move(prompt));
  }
  if (report.prompts.empty())
    return invalid_argument("{}: not a reference file: it has no tensor prompt_0.input_ids", reference_path);
  for (size_t i = 0; !report.passed && report.first_departing_layer < 0 && i < report.prompts.size(); ++i) {
    SLUICE_ASSIGN(report.first_departing_layer, verifier.first_departing_layer(report.prompts[i].name));
  }
  return report;
}

}  // namespace sluice::engine
