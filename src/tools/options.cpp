#include "tools/options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <map>

#include "base/file.h"
#include "base/log.h"
#include "cpu/cpu_device.h"
#include "cpu/cpu_set.h"
#include "cuda/backend.h"
#include "tensor/dtype.h"
#include "text/utf8.h"

namespace sluice::tools {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

}  // namespace

void OutputOptions::declare(CLI::App& app) {
  app.add_flag("--json", json, "Print one JSON object on stdout");
  static const std::map<std::string, LogLevel> kLevels = {{"debug", LogLevel::debug},
                                                          {"info", LogLevel::info},
                                                          {"warn", LogLevel::warn},
                                                          {"error", LogLevel::error},
                                                          {"off", LogLevel::off}};
  app.add_option_function<std::string>(
         "--log_level", [](const std::string& name) { set_log_level(kLevels.at(name)); },
         "What is printed on stderr: debug, info, warn, error or off [info]")
      ->check(CLI::IsMember(kLevels))
      ->type_name("LEVEL");
}

void BackendOptions::declare(CLI::App& app) {
  app.add_option("--device", device, "Where to run: cpu or cuda; serve also has null, which computes nothing")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--threads", threads, "Threads to compute with [one for each physical core]")
      ->type_name("N");
  app.add_option("--cpu_mask", cpu_mask, "CPUs to run on, like 0-3,8 or 0x10f [all this process may use]")
      ->type_name("CPUS");
  app.add_option("--isa", isa, "Use kernels of no better instruction set than this [the machine's best]")
      ->type_name("NAME");
}

Result<ops::Backend> BackendOptions::make(bool populate) const {
  if (device == "cuda") return cuda::make_cuda_backend();
  if (device != "cpu") return invalid_argument("--device {}: choose cpu or cuda", device);
  if (!cpu_mask.empty()) {
    SLUICE_ASSIGN(const auto cpus, cpu::parse_cpu_set(cpu_mask));
    SLUICE_TRY(cpu::restrict_to(cpus));
  }
  return cpu::make_cpu_backend({.threads = threads, .populate = populate, .isa = isa});
}

void RecipeOptions::declare(CLI::App& app) {
  const auto number = [&](const char* names, int64_t& value, const char* help) {
    app.add_option(names, value, help)->type_name("N")->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  };
  app.add_option(
         "--precision", precision,
         "Type of the weight matrices: auto (as the checkpoint has them), fp32, bf16, fp16, q8_0, q4_0, ...")
      ->type_name("TYPE");
  app.add_option("--precision_config", precision_config, "Types by role and by layer: a JSON file")
      ->type_name("FILE");
  app.add_option(
         "--activations", activations,
         "auto: products with quantised weights take int8 inputs, with bf16 weights bf16 ones where that "
         "is faster; float: all take fp32 ones")
      ->type_name("KIND")
      ->check(CLI::IsMember({"auto", "float"}));
  app.add_option(
         "--kv_dtype", kv_dtype,
         "Type of cached keys and values: auto (fp16; fp32 with --activations float), fp32, fp16, bf16 "
         "(fastest on CPUs that multiply bf16), int8 (on CPUs; half of fp16's memory, a scale for each head "
         "of a "
         "token)")
      ->type_name("TYPE");
  number("--max_seq_len,--max_model_len", base.max_seq_len,
         "Tokens of one sequence, prompt and output [the model's, at most 4096]");
  number("--max_num_seqs,--batch_size", base.max_sequences, "Sequences that run together [16]");
  number("--max_num_batched_tokens", base.max_batch_tokens, "Tokens of one step [512]");
  number("--kv_tokens", base.kv_tokens, "Tokens that the KV cache holds [by the two above]");
  app.add_option("--weight_budget", base.weight_budget,
                 "Bytes of weights that the GPU holds, e.g. 20GiB; the layers beyond come from the host's "
                 "memory while "
                 "others compute [all]")
      ->type_name("BYTES")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 50));
  app.add_flag("--batch_invariant", base.batch_invariant,
               "Results do not depend on what else is in the batch, to the bit");
  number("--tensor_parallel", base.tensor_parallel, "Devices that share each layer: 1");
  number("--pipeline_parallel", base.pipeline_parallel, "Devices that share the layers: 1");
}

void GenerationConfigOption::declare(CLI::App& app) {
  app.add_option("--generation_config", source,
                 "auto: sampling defaults and ends as the model's generation_config.json recommends; none: "
                 "that file is not read")
      ->type_name("auto|none")
      ->check(CLI::IsMember({"auto", "none"}));
}

Result<model::Recipe> RecipeOptions::recipe() const {
  model::Recipe recipe = base;
  SLUICE_ASSIGN(recipe.precision, model::precision_from_name(precision));
  if (!precision_config.empty()) {
    SLUICE_ASSIGN(const Json document, read_json_file(precision_config, size_t{1} << 20));
    SLUICE_ASSIGN(const auto rules, model::precision_from_json(document, precision_config));
    recipe.precision.insert(recipe.precision.end(), rules.begin(), rules.end());
  }
  recipe.activations = activations == "float" ? ops::Activations::f32 : ops::Activations::int8;
  if (kv_dtype == "auto") {
    recipe.kv = activations == "float" ? DType::f32 : DType::f16;
  } else {
    const auto dtype = dtype_from_name(kv_dtype);
    if (!dtype || !ops::is_kv_type(*dtype))
      return invalid_argument("--kv_dtype {}: choose one of auto, fp32, fp16, bf16, int8",
                              kv_dtype.substr(0, 32));
    recipe.kv = *dtype;
  }
  return recipe;
}

Result<std::vector<int32_t>> parse_ids(const std::string& text, const std::string& option) {
  std::string_view list = trimmed(text);
  if (list.starts_with('[') && list.ends_with(']')) list = trimmed(list.substr(1, list.size() - 2));
  std::vector<int32_t> ids;
  if (list.empty()) return ids;
  for (;;) {
    const size_t comma = list.find(',');
    const std::string_view word = trimmed(list.substr(0, comma));
    const char* end = word.data() + word.size();
    int32_t id = -1;
    if (const auto r = std::from_chars(word.data(), end, id); r.ec != std::errc() || r.ptr != end || id < 0)
      return invalid_argument("{}: \"{}\" is not a token id; give numbers like 1,2,3", option,
                              word.substr(0, 32));
    ids.push_back(id);
    if (comma == std::string_view::npos) return ids;
    list.remove_prefix(comma + 1);
  }
}

Result<std::string> read_stdin(size_t max_bytes) {
  std::string text;
  std::array<char, 1 << 16> piece;
  while (const size_t n = std::fread(piece.data(), 1, piece.size(), stdin)) {
    if (text.size() + n > max_bytes)
      return invalid_argument("stdin holds more than the {} bytes allowed; split the text", max_bytes);
    text.append(piece.data(), n);
  }
  if (std::ferror(stdin) != 0) return errno_error("cannot read stdin");
  return text;
}

Result<std::string> valid_utf8(std::string text, const std::string& origin) {
  if (const auto at = text::find_invalid_utf8(text)) {
    return invalid_argument("{}: not valid UTF-8 at byte {} (0x{:02x}); convert the text to UTF-8", origin,
                            *at, static_cast<unsigned char>(text[*at]));
  }
  return text;
}

void print_json(const Json& value) { print_raw(dump_json(value) + "\n"); }

void print_raw(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

}  // namespace sluice::tools
