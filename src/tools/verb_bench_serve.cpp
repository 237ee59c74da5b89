// sluice bench serve: how a server over HTTP carries a load.
#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/file.h"
#include "load/report.h"
#include "load/run.h"
#include "tools/measure.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/signals.h"
#include "tools/verbs.h"

namespace sluice::tools {
namespace {

using load::Measure;

struct BenchServeOptions {
  OutputOptions output;
  load::RunOptions run;
  load::RandomOptions random;
  std::string url = "http://127.0.0.1:8000";
  std::string backend = "openai";
  std::string dataset, extra_body, api_key, html, result_filename;
  std::vector<std::string> headers, goodput;
  std::string percentile_metrics = "ttft,tpot,itl,e2el";
  std::vector<double> percentiles = {90, 95, 99};
  size_t warmups = 0;
  bool save_result = false;
};

Result<Measure> measure_named(std::string_view name, std::string_view option) {
  const auto found = enum_from_name<Measure>(name);
  if (!found)
    return invalid_argument("{}: {} is not one of ttft, tpot, itl, e2el", option, name.substr(0, 32));
  return *found;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    if (end > begin) out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

// "ttft:500"
Result<load::Objectives> objectives(const std::vector<std::string>& given) {
  load::Objectives out;
  for (const std::string& item : given) {
    const size_t colon = std::min(item.find(':'), item.size());
    SLUICE_ASSIGN(const Measure measure, measure_named(item.substr(0, colon), "--goodput"));
    const std::string number = item.substr(std::min(colon + 1, item.size()));
    double limit = 0;
    const auto [end, ec] = std::from_chars(number.data(), number.data() + number.size(), limit);
    if (ec != std::errc() || end != number.data() + number.size() || !(limit > 0))
      return invalid_argument("--goodput {}: give milliseconds, like ttft:500", item.substr(0, 64));
    out[measure] = limit;
  }
  return out;
}

Status read_headers(BenchServeOptions& o) {
  if (o.api_key.empty()) {
    if (const char* key = std::getenv("OPENAI_API_KEY")) o.api_key = key;
  }
  if (!o.api_key.empty()) o.headers.push_back("Authorization=Bearer " + o.api_key);
  for (const std::string& header : o.headers) {
    const size_t equals = std::min(header.find('='), header.size());
    if (equals == 0 || equals == header.size() || header.find_first_of("\r\n") != std::string::npos)
      return invalid_argument("--header: give NAME=VALUE on one line");
    o.run.headers.emplace_back(header.substr(0, equals), header.substr(equals + 1));
  }
  return {};
}

Status complete(BenchServeOptions& o) {
  SLUICE_ASSIGN(o.run.target, load::parse_target(o.url));
  o.run.request.backend = enum_from_name<load::Backend>(o.backend).value();
  if (o.run.endpoint.empty()) o.run.endpoint = load::endpoint_of(o.run.request.backend);
  if (!o.run.endpoint.starts_with('/') || o.run.endpoint.find_first_of(" \r\n") != std::string::npos)
    return invalid_argument("--endpoint {}: give a path like /v1/completions", o.run.endpoint.substr(0, 64));
  if (!o.extra_body.empty()) {
    SLUICE_ASSIGN(o.run.request.extra, parse_json(o.extra_body, "--extra_body"));
    if (!o.run.request.extra.is_object()) return invalid_argument("--extra_body: give a JSON object");
  }
  if (o.save_result && o.result_filename.empty()) o.result_filename = "sluice-bench-serve.json";
  return read_headers(o);
}

Json config_of(const BenchServeOptions& o) {
  const load::RunOptions& r = o.run;
  Json out = {{"url", o.url}, {"endpoint", r.endpoint}, {"backend", o.backend}, {"model", r.request.model}};
  out["num_prompts"] = r.num_prompts;
  out["request_rate"] = std::isfinite(r.request_rate) ? Json(r.request_rate) : Json("inf");
  out["burstiness"] = r.burstiness;
  out["max_concurrency"] = r.max_concurrency > 0 ? Json(r.max_concurrency) : Json(nullptr);
  if (o.dataset.empty()) {
    out["random_input_len"] = o.random.input_len;
    out["random_range_ratio"] = o.random.range_ratio;
    out["random_prefix_len"] = o.random.prefix_len;
  } else {
    out["dataset"] = o.dataset;
  }
  out["random_output_len"] = o.random.output_len;
  out["seed"] = r.seed;
  if (r.request.temperature) out["temperature"] = *r.request.temperature;
  out["ignore_eos"] = r.request.ignore_eos;
  if (!o.goodput.empty()) out["goodput"] = o.goodput;
  return out;
}

std::string text_report(const load::Summary& s, std::span<const Measure> measures) {
  std::string out = fmt::format(
      "{} requests in {:.2f} s, at most {} at once: {:.2f} a second\n"
      "{} input tokens ({} cached), {} output tokens: {:.1f} output tokens/s, {:.1f} in all\n",
      s.completed, s.duration, s.max_concurrent, s.per_second(s.completed), s.input_tokens, s.cached_tokens,
      s.output_tokens, s.per_second(static_cast<double>(s.output_tokens)),
      s.per_second(static_cast<double>(s.input_tokens + s.output_tokens)));
  if (s.good) out += fmt::format("goodput: {:.2f} requests/s ({} of them)\n", s.per_second(*s.good), *s.good);
  for (const auto& [kind, failure] : s.failures)
    out += fmt::format("failed: {} times {}: {}\n", failure.count, kind, failure.example);
  if (s.completed == 0 || measures.empty()) return out;
  std::vector<std::string> head = {"ms", "mean", "median", "std"};
  for (const auto& [which, value] : s.of(measures[0]).percentiles) head.push_back(fmt::format("p{}", which));
  Table table(1, std::move(head));
  for (const Measure m : measures) {
    const load::Distribution& d = s.of(m);
    std::vector<std::string> row = {fmt::format("{} ({})", load::title(m), enum_name(m))};
    for (const double v : {d.mean, d.median, d.stddev}) row.push_back(fmt::format("{:.2f}", v));
    for (const auto& [which, value] : d.percentiles) row.push_back(fmt::format("{:.2f}", value));
    table.add(std::move(row));
  }
  return out + "\n" + table.text();
}

Result<std::unique_ptr<load::Workload>> make_workload(const BenchServeOptions& o) {
  if (o.dataset.empty()) return load::random_workload(o.random);
  return load::dataset_workload(o.dataset, o.random.output_len,
                                o.run.request.backend == load::Backend::openai_chat);
}

/// Requests that are sent first and counted nowhere.
Status warm_up(const BenchServeOptions& o, const load::Workload& workload) {
  if (o.warmups == 0) return {};
  load::RunOptions first = o.run;
  first.first_prompt = o.run.num_prompts;  // other prompts: none of them shall be in the cache
  first.num_prompts = o.warmups;
  first.request_rate = std::numeric_limits<double>::infinity();
  SLUICE_TRY(load::run(first, workload).status());
  return check_interrupted();
}

Result<int> bench_serve(BenchServeOptions& o) {
  SLUICE_TRY(complete(o));
  SLUICE_ASSIGN(const load::Objectives wanted, objectives(o.goodput));
  std::vector<Measure> measures;
  for (const std::string& name : split(o.percentile_metrics, ',')) {
    SLUICE_ASSIGN(const Measure measure, measure_named(name, "--percentile_metrics"));
    measures.push_back(measure);
  }
  SLUICE_ASSIGN(const std::unique_ptr<load::Workload> workload, make_workload(o));
  note_interrupts();
  o.run.stop = [] { return interrupted() != 0; };
  if (o.run.request.model.empty()) {
    SLUICE_ASSIGN(o.run.request.model, load::first_model(o.run));
  }
  SLUICE_TRY(warm_up(o, *workload));
  Progress progress("asking", o.run.num_prompts, Progress::Unit::requests);
  o.run.progress = [&](size_t ended) { progress.update(ended); };
  SLUICE_ASSIGN(const load::RunResult result, load::run(o.run, *workload));

  const load::Summary summary = load::summarize(result.outcomes, result.seconds, o.percentiles, wanted);
  Json json = config_of(o);
  if (!o.html.empty())
    SLUICE_TRY(write_file_atomically(o.html, load::report_html(summary, result.outcomes, json)));
  json.update(load::report_json(summary, measures));
  if (result.unfinished > 0) json["unfinished"] = result.unfinished;
  if (!o.result_filename.empty())
    SLUICE_TRY(write_file_atomically(o.result_filename, dump_json(json, 2) + "\n"));
  o.output.json ? print_json(json) : print_raw(text_report(summary, measures));
  SLUICE_TRY(check_interrupted());
  return summary.completed > 0 ? kDone : kCheckFailed;
}

void declare_workload(CLI::App& app, BenchServeOptions& o) {
  const auto number = [&](const char* name, auto& value, int least, int most, const char* help) {
    app.add_option(name, value, help)->check(CLI::Range(least, most))->type_name("N")->capture_default_str();
  };
  constexpr int kMillion = 1'000'000;
  number("--num_prompts", o.run.num_prompts, 1, kMillion, "Requests to send");
  number("--num_warmups", o.warmups, 0, kMillion, "Requests to send before them, which are not counted");
  number("--random_input_len", o.random.input_len, 1, kMillion,
         "Words of a random prompt; common vocabularies have each as one token");
  number("--random_output_len,--output_len", o.random.output_len, 1, kMillion, "Tokens to ask for");
  number("--random_prefix_len", o.random.prefix_len, 0, kMillion, "Words that all random prompts begin with");
  app.add_option("--random_range_ratio", o.random.range_ratio,
                 "Both random lengths vary evenly by up to this share")
      ->check(CLI::Range(0.0, 0.999))
      ->type_name("R")
      ->capture_default_str();
  app.add_option("--dataset,--dataset_path", o.dataset,
                 "Prompts of a JSONL file instead: {\"prompt\": ...} or {\"messages\": ...}, and "
                 "\"output_tokens\"")
      ->type_name("FILE");
  app.add_option("--seed", o.run.seed, "Of prompts and arrivals")->type_name("N")->capture_default_str();
  app.add_option("--request_rate", o.run.request_rate, "Requests a second [inf: all at once]")
      ->check(CLI::PositiveNumber)
      ->type_name("R");
  app.add_option("--burstiness", o.run.burstiness,
                 "Of arrivals: 1 is a Poisson process, less comes in bursts, more is evener")
      ->check(CLI::Range(1e-3, 1e6))
      ->type_name("R")
      ->capture_default_str();
  app.add_option("--max_concurrency", o.run.max_concurrency, "Requests under way at once [no bound]")
      ->check(CLI::Range(1, kMillion))
      ->type_name("N");
}

void declare_request(CLI::App& app, BenchServeOptions& o) {
  app.add_option("--url,--base_url", o.url, "The server")->type_name("URL")->capture_default_str();
  app.add_option("--backend", o.backend, "Which API is spoken: openai (completions) or openai-chat")
      ->check(CLI::IsMember({"openai", "openai-chat"}))
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--endpoint", o.run.endpoint, "Path of the requests [the backend's]")->type_name("PATH");
  app.add_option("--model", o.run.request.model, "Name of the model [the first that the server lists]")
      ->type_name("NAME");
  app.add_option("--temperature", o.run.request.temperature, "Of sampling [the server's]")
      ->check(CLI::Range(0.0, 2.0))
      ->type_name("T");
  app.add_flag("--ignore_eos", o.run.request.ignore_eos, "Every request gets as many tokens as it asks for");
  app.add_option("--extra_body", o.extra_body, "Fields for every request's body")->type_name("JSON");
  app.add_option("--header", o.headers, "A header of every request; may be given several times")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
  app.add_option("--api_key", o.api_key, "The server's key [$OPENAI_API_KEY]")->type_name("KEY");
  app.add_option("--timeout", o.run.timeout, "Seconds that a request may take")
      ->check(CLI::Range(0.1, 1e6))
      ->type_name("S")
      ->capture_default_str();
}

}  // namespace

Run declare_bench_serve(CLI::App& app) {
  auto o = std::make_shared<BenchServeOptions>();
  declare_request(app, *o);
  declare_workload(app, *o);
  app.add_option("--goodput", o->goodput, "Count the requests that keep these limits: ttft:500,tpot:50 (ms)")
      ->delimiter(',')
      ->type_name("NAME:MS,...");
  app.add_option("--percentile_metrics", o->percentile_metrics, "What to print: ttft, tpot, itl, e2el")
      ->type_name("NAMES")
      ->capture_default_str();
  app.add_option("--metric_percentiles", o->percentiles, "Which percentiles")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(0.0, 100.0))
      ->type_name("P,P,...")
      ->capture_default_str();
  app.add_flag("--save_result", o->save_result, "Write the JSON object to --result_filename");
  app.add_option("--result_filename", o->result_filename, "A file for the JSON object")->type_name("FILE");
  app.add_option("--html", o->html, "A file for a report with plots")->type_name("FILE");
  o->output.declare(app);
  return [o] {
    o->random.seed = o->run.seed;
    return bench_serve(*o);
  };
}

}  // namespace sluice::tools
