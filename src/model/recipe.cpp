#include "model/recipe.h"

#include <algorithm>
#include <charconv>

#include "quant/format.h"

namespace sluice::model {
namespace {

constexpr int64_t kMaxCount = int64_t{1} << 24;

struct Group {
  std::string_view section, member, name;
};
constexpr Group kGroups[] = {
    {"attention", "qkv", "attention.qkv"},
    {"attention", "out", "attention.out"},
    {"feedforward", "intermediate", "feedforward.intermediate"},
    {"feedforward", "output", "feedforward.output"},
    {"", "embedding", "embedding"},
    {"", "head", "head"},
};

// The group of a matrix's role; empty for those whose type is fixed (routers are computed in f32).
std::string_view group_of(std::string_view role) {
  const auto ends = [&](std::string_view suffix) { return role.ends_with(suffix); };
  if (role == "embed") return "embedding";
  if (role == "head") return "head";
  if (ends("attention.q") || ends("attention.k") || ends("attention.v")) return "attention.qkv";
  if (ends("attention.o")) return "attention.out";
  if (ends(".gate") || ends(".up")) return "feedforward.intermediate";
  if (ends(".down")) return "feedforward.output";
  return {};
}

int64_t layer_of(std::string_view role) {
  if (!role.starts_with("layers.")) return -1;
  int64_t layer = -1;
  std::from_chars(role.data() + 7, role.data() + role.size(), layer);
  return layer;
}

Result<DType> writable_type(const std::string& name, const std::string& where) {
  const auto dtype = dtype_from_name(name);
  std::string known;
#define X(type, elems, bytes, ggml) \
  if (quant::can_quantize(DType::type)) known += (known.empty() ? "" : ", ") + std::string(#type);
  SLUICE_DTYPES(X)
#undef X
  if (name.starts_with("fp8") || name.starts_with("int4") || name.starts_with("int8")) {
    return unsupported("{}: {} weights are not there yet; choose one of {}", where, name, known);
  }
  if (!dtype || !quant::can_quantize(*dtype)) {
    return invalid_argument("{}: \"{}\" is not a type that weights can be stored in; choose one of auto, {}",
                            where, name.substr(0, 32), known);
  }
  return *dtype;
}

// "3" or "4-7"
Result<std::pair<int64_t, int64_t>> layer_range(const std::string& text, const std::string& origin) {
  int64_t first = -1, last = -1;
  const char* end = text.data() + text.size();
  auto r = std::from_chars(text.data(), end, first);
  bool ok = r.ec == std::errc() && first >= 0;
  if (ok && r.ptr == end) {
    last = first;
  } else if (ok && *r.ptr == '-') {
    r = std::from_chars(r.ptr + 1, end, last);
    ok = r.ec == std::errc() && r.ptr == end && last >= first;
  } else {
    ok = false;
  }
  if (!ok)
    return invalid_argument("{}: layers: \"{}\" is neither a layer like \"3\" nor a range like \"4-7\"",
                            origin, text.substr(0, 32));
  return std::pair{first, last};
}

Status rules_of(const Json& document, const std::string& origin, int64_t first, int64_t last,
                std::vector<PrecisionRule>& out) {
  for (const auto& entry : document.items()) {
    const std::string& section = entry.key();
    const Json& value = entry.value();
    const std::string where = origin + ": " + section;
    if (section == "normalization") {
      const auto dtype = value.is_string() ? dtype_from_name(value.get<std::string>()) : std::nullopt;
      if (dtype != DType::f32)
        return unsupported("{}: norms are computed and stored in fp32 only; write \"fp32\" or leave it out",
                           where);
      continue;
    }
    const auto add = [&](const Group& group, const Json& type) -> Status {
      const std::string at = origin + ": " + std::string(group.name);
      if (!type.is_string()) return invalid_argument("{}: expected the name of a type", at);
      if (type == "auto") return {};
      SLUICE_ASSIGN(const DType dtype, writable_type(type.get<std::string>(), at));
      out.push_back({first, last, std::string(group.name), dtype});
      return {};
    };
    bool known = false;
    for (const Group& group : kGroups) {
      if (group.section.empty() ? group.member == section : group.section == section && value.is_string()) {
        SLUICE_TRY(add(group, value));
        known = true;
      }
    }
    if (known) continue;
    const bool is_section = std::any_of(std::begin(kGroups), std::end(kGroups),
                                        [&](const Group& g) { return g.section == section; });
    if (!is_section) {
      return invalid_argument(
          "{}: unknown entry; known are attention, feedforward, embedding, head, normalization, layers",
          where);
    }
    if (!value.is_object()) return invalid_argument("{}: expected an object or the name of a type", where);
    for (const auto& part : value.items()) {
      const std::string& member = part.key();
      const auto group = std::find_if(std::begin(kGroups), std::end(kGroups), [&](const Group& g) {
        return g.section == section && g.member == member;
      });
      if (group == std::end(kGroups)) return invalid_argument("{}: unknown entry \"{}\"", where, member);
      SLUICE_TRY(add(*group, part.value()));
    }
  }
  return {};
}

}  // namespace

Result<std::vector<PrecisionRule>> precision_from_name(const std::string& name) {
  std::vector<PrecisionRule> rules;
  if (name == "auto" || name.empty()) return rules;
  SLUICE_ASSIGN(const DType dtype, writable_type(name, "--precision"));
  const bool narrow = is_block_type(dtype) && row_bytes(dtype, 256) < row_bytes(DType::q8_0, 256);
  for (const Group& group : kGroups) {
    rules.push_back({-1, -1, std::string(group.name), narrow && group.section.empty() ? DType::q8_0 : dtype});
  }
  return rules;
}

Result<std::vector<PrecisionRule>> precision_from_json(const Json& document, const std::string& origin) {
  if (!document.is_object()) return invalid_argument("{}: expected an object", origin);
  std::vector<PrecisionRule> rules;
  Json everywhere = document;
  everywhere.erase("layers");
  SLUICE_TRY(rules_of(everywhere, origin, -1, -1, rules));
  if (document.contains("layers")) {
    if (!document["layers"].is_object()) return invalid_argument("{}: layers: expected an object", origin);
    for (const auto& [range, overrides] : document["layers"].items()) {
      SLUICE_ASSIGN(const auto layers, layer_range(range, origin));
      if (!overrides.is_object()) return invalid_argument("{}: layers.{}: expected an object", origin, range);
      for (const char* outside : {"embedding", "head", "layers"}) {
        if (overrides.contains(outside))
          return invalid_argument("{}: layers.{}: \"{}\" is not part of a layer", origin, range, outside);
      }
      SLUICE_TRY(rules_of(overrides, fmt::format("{}: layers.{}", origin, range), layers.first, layers.second,
                          rules));
    }
  }
  return rules;
}

void inherit_sizes(Recipe& r, const Recipe& stored) {
  if (r.kv_tokens == 0 && r.max_seq_len == 0 && r.max_sequences == 0) r.kv_tokens = stored.kv_tokens;
  if (r.max_seq_len == 0) r.max_seq_len = stored.max_seq_len;
  if (r.max_sequences == 0) r.max_sequences = stored.max_sequences;
  if (r.max_batch_tokens == 0) r.max_batch_tokens = stored.max_batch_tokens;
}

Status complete(Recipe& r, const Spec& spec, int64_t page_tokens) {
  if (r.tensor_parallel != 1 || r.pipeline_parallel != 1) {
    return unsupported(
        "--tensor_parallel and --pipeline_parallel above 1 are not there yet on the CPU; use 1");
  }
  if (r.max_seq_len < 0 || r.max_sequences < 0 || r.max_batch_tokens < 0 || r.kv_tokens < 0 ||
      r.page_tokens < 0) {
    return invalid_argument(
        "max_seq_len, max_num_seqs, max_num_batched_tokens and kv_tokens must be positive");
  }
  if (r.page_tokens == 0) r.page_tokens = page_tokens;
  if (r.max_sequences == 0) r.max_sequences = 16;
  if (r.max_batch_tokens == 0) r.max_batch_tokens = 512;
  int64_t limit = spec.max_positions > 0 ? spec.max_positions : kMaxCount;
  if (spec.learned_positions > 0) limit = std::min(limit, spec.learned_positions);
  if (r.max_seq_len > limit) {
    return invalid_argument("--max_seq_len {} is more than the {} positions that the model was made for",
                            r.max_seq_len, limit);
  }
  if (r.max_seq_len == 0) r.max_seq_len = std::min<int64_t>(limit, 4096);
  if (r.max_sequences > 65536 || r.max_batch_tokens > (1 << 20) || r.kv_tokens > (int64_t{1} << 40)) {
    return invalid_argument("--max_num_seqs, --max_num_batched_tokens or --kv_tokens is out of range");
  }
  r.max_batch_tokens = std::max(r.max_batch_tokens, r.max_sequences);
  if (r.kv_tokens == 0)
    r.kv_tokens = std::max(r.max_seq_len, std::min(256 * r.max_sequences, r.max_sequences * r.max_seq_len));
  if (r.kv_tokens < r.max_seq_len) {
    return invalid_argument("--kv_tokens {} cannot hold one sequence of --max_seq_len {}", r.kv_tokens,
                            r.max_seq_len);
  }
  for (const PrecisionRule& rule : r.precision) {
    if (rule.last_layer >= static_cast<int64_t>(spec.layers.size())) {
      return invalid_argument("precision: layer {} does not exist; the model has {} layers", rule.last_layer,
                              spec.layers.size());
    }
  }
  return {};
}

Result<RoleTypes> resolve_types(const Model& model, const Recipe& recipe, std::vector<std::string>& notes) {
  RoleTypes types;
  for (const Weight& weight : model.weights) {
    if (weight.k == 1 || weight.role == "positions") continue;
    const std::string_view group = group_of(weight.role);
    DType wanted = group.empty() ? DType::f32 : weight.dtype;
    const int64_t layer = layer_of(weight.role);
    for (const PrecisionRule& rule : recipe.precision) {
      if (rule.group != group ||
          (rule.first_layer >= 0 && (layer < rule.first_layer || layer > rule.last_layer)))
        continue;
      wanted = rule.dtype;
    }
    DType fitting = wanted;
    for (DType fallback : {DType::q8_0, DType::bf16}) {
      if (weight.k % static_cast<int64_t>(info(fitting).block_elems) != 0) fitting = fallback;
    }
    if (fitting != wanted) {
      const std::string note =
          fmt::format("{}: rows of {} are not a multiple of {}'s block of {}; stored as {}", group, weight.k,
                      name(wanted), info(wanted).block_elems, name(fitting));
      if (std::find(notes.begin(), notes.end(), note) == notes.end()) notes.push_back(note);
    }
    types[weight.role] = fitting;
  }
  return types;
}

}  // namespace sluice::model
