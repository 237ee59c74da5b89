#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sluice::model {
namespace {

// Reads numbers out of the scaling object, naming the key when one is missing or senseless.
class Scaling {
 public:
  Scaling(const Json& json, const std::string& origin) : json_(json), origin_(origin) {}

  bool has(const char* key) const {
    return json_.is_object() && json_.contains(key) && !json_[key].is_null();
  }

  Result<double> positive(const char* key) const {
    if (!has(key)) return invalid_argument("{}: rope scaling of type {} needs \"{}\"", origin_, type(), key);
    const Json& v = json_[key];
    if (!v.is_number() || !std::isfinite(v.get<double>()) || v.get<double>() <= 0) {
      return invalid_argument("{}: rope scaling \"{}\": expected a positive number, got {}", origin_, key,
                              dump_json(v));
    }
    return v.get<double>();
  }
  Result<double> positive_or(const char* key, double fallback) const {
    return has(key) ? positive(key) : fallback;
  }

  Result<std::vector<float>> factors(const char* key) const {
    if (!has(key)) return invalid_argument("{}: rope scaling of type {} needs \"{}\"", origin_, type(), key);
    std::vector<float> out;
    SLUICE_TRY(from_json(json_[key], origin_ + ": rope scaling " + key, out));
    return out;
  }

  Status check_count(const char* key, size_t have, size_t want) const {
    if (have == want) return {};
    return invalid_argument("{}: rope scaling \"{}\" has {} entries, half the rotated dimensions are {}",
                            origin_, key, have, want);
  }

  bool flag(const char* key, bool fallback) const {
    return has(key) && json_[key].is_boolean() ? json_[key].get<bool>() : fallback;
  }

  std::string type() const {
    for (const char* key : {"rope_type", "type"}) {
      if (has(key)) return json_[key].is_string() ? json_[key].get<std::string>() : dump_json(json_[key]);
    }
    return has("factor") ? "linear" : "default";
  }

 private:
  const Json& json_;
  const std::string& origin_;
};

std::vector<double> plain_frequencies(const RopeRequest& r) {
  std::vector<double> out;
  for (int64_t i = 0; i < r.dims; i += 2) {
    out.push_back(1.0 / std::pow(r.theta, static_cast<double>(i) / static_cast<double>(r.dims)));
  }
  return out;
}

std::vector<float> to_floats(const std::vector<double>& v) { return {v.begin(), v.end()}; }

double yarn_mscale(double scale, double mscale) {
  return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0;
}

Result<double> original_positions(const RopeRequest& r, const Scaling& s) {
  if (s.has("original_max_position_embeddings")) return s.positive("original_max_position_embeddings");
  return static_cast<double>(r.max_positions);
}

// YaRN: frequencies below beta_slow turns over the original context are interpolated, above beta_fast kept, a
// linear ramp between.
Status yarn(const RopeRequest& r, const Scaling& s, Rope& rope) {
  if (r.theta <= 1) return invalid_argument("rope_theta: {} is too small for yarn", r.theta);
  SLUICE_ASSIGN(const double original, original_positions(r, s));
  SLUICE_ASSIGN(const double factor,
                s.positive_or("factor", static_cast<double>(r.max_positions) / std::max(1.0, original)));
  SLUICE_ASSIGN(const double beta_fast, s.positive_or("beta_fast", 32));
  SLUICE_ASSIGN(const double beta_slow, s.positive_or("beta_slow", 1));
  SLUICE_ASSIGN(const double mscale, s.positive_or("mscale", 0));
  SLUICE_ASSIGN(const double mscale_all, s.positive_or("mscale_all_dim", 0));
  const double fallback = mscale > 0 && mscale_all > 0
                              ? yarn_mscale(factor, mscale) / yarn_mscale(factor, mscale_all)
                              : yarn_mscale(factor, 1);
  SLUICE_ASSIGN(const double attention_factor, s.positive_or("attention_factor", fallback));
  rope.attention_factor = static_cast<float>(attention_factor);

  const double dims = static_cast<double>(r.dims);
  const auto dim_of_turns = [&](double turns) {
    return dims * std::log(original / (turns * 2 * std::numbers::pi)) / (2 * std::log(r.theta));
  };
  double low = dim_of_turns(beta_fast), high = dim_of_turns(beta_slow);
  if (s.flag("truncate", true)) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1);
  if (low == high) high += 0.001;

  std::vector<double> f = plain_frequencies(r);
  for (size_t i = 0; i < f.size(); ++i) {
    const double interpolated = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    f[i] = f[i] / factor * interpolated + f[i] * (1 - interpolated);
  }
  rope.frequencies = to_floats(f);
  return {};
}

Status llama3(const RopeRequest& r, const Scaling& s, Rope& rope) {
  SLUICE_ASSIGN(const double factor, s.positive("factor"));
  SLUICE_ASSIGN(const double low, s.positive("low_freq_factor"));
  SLUICE_ASSIGN(const double high, s.positive("high_freq_factor"));
  SLUICE_ASSIGN(const double original, s.positive("original_max_position_embeddings"));
  if (high <= low)
    return invalid_argument("rope scaling \"high_freq_factor\" must be larger than \"low_freq_factor\"");
  std::vector<double> f = plain_frequencies(r);
  for (double& v : f) {
    const double wavelength = 2 * std::numbers::pi / v;
    if (wavelength < original / high) continue;
    const double smooth = std::clamp((original / wavelength - low) / (high - low), 0.0, 1.0);
    v = wavelength > original / low ? v / factor : (1 - smooth) * v / factor + smooth * v;
  }
  rope.frequencies = to_floats(f);
  return {};
}

Status longrope(const RopeRequest& r, const Scaling& s, const std::string& origin, Rope& rope) {
  const size_t count = static_cast<size_t>(r.dims / 2);
  std::vector<float> short_factors = r.short_factors, long_factors = r.long_factors;
  if (short_factors.empty()) {
    SLUICE_ASSIGN(short_factors, s.factors("short_factor"));
    SLUICE_ASSIGN(long_factors, s.factors("long_factor"));
  }
  SLUICE_TRY(s.check_count("short_factor", short_factors.size(), count));
  SLUICE_TRY(s.check_count("long_factor", long_factors.size(), count));
  SLUICE_ASSIGN(const double original, s.positive("original_max_position_embeddings"));
  SLUICE_ASSIGN(const double factor,
                s.positive_or("factor", static_cast<double>(r.max_positions) / original));
  const double fallback = factor <= 1 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(original));
  SLUICE_ASSIGN(const double attention_factor, s.positive_or("attention_factor", fallback));
  rope.attention_factor = static_cast<float>(attention_factor);
  rope.switch_length = static_cast<int64_t>(original);
  const std::vector<double> f = plain_frequencies(r);
  for (size_t i = 0; i < count; ++i) {
    if (!(short_factors[i] > 0) || !(long_factors[i] > 0)) {
      return invalid_argument("{}: rope scaling factors must be positive", origin);
    }
    rope.frequencies.push_back(static_cast<float>(f[i] / short_factors[i]));
    rope.long_frequencies.push_back(static_cast<float>(f[i] / long_factors[i]));
  }
  return {};
}

}  // namespace

Result<Rope> make_rope(const RopeRequest& r, const std::string& origin) {
  if (r.dims <= 0 || r.dims % 2 != 0 || r.dims > r.head_dim) {
    return invalid_argument(
        "{}: head_dim, partial_rotary_factor: {} rotated dimensions of a head of {}; expected an even number "
        "up to it",
        origin, r.dims, r.head_dim);
  }
  if (!(r.theta > 0) || !std::isfinite(r.theta))
    return invalid_argument("{}: rope_theta must be positive", origin);
  if (!r.scaling.is_null() && !r.scaling.is_object())
    return invalid_argument("{}: rope_scaling: expected an object, got {}", origin,
                            dump_json(r.scaling).substr(0, 64));
  Rope rope;
  rope.style = r.style;
  rope.dims = r.dims;
  const Scaling s(r.scaling, origin);
  const std::string type = s.type();
  if (type == "longrope" || type == "su" || !r.short_factors.empty()) {
    SLUICE_TRY(longrope(r, s, origin, rope));
  } else if (type == "yarn") {
    SLUICE_TRY(yarn(r, s, rope).with_context(origin));
  } else if (type == "llama3") {
    SLUICE_TRY(llama3(r, s, rope).with_context(origin));
  } else if (type == "linear") {
    SLUICE_ASSIGN(const double factor, s.positive("factor"));
    std::vector<double> f = plain_frequencies(r);
    for (double& v : f) v /= factor;
    rope.frequencies = to_floats(f);
  } else if (type == "dynamic") {
    SLUICE_TRY(s.positive("factor").status());
    rope.frequencies = to_floats(plain_frequencies(r));
  } else if (type == "default" || type == "none") {
    rope.frequencies = to_floats(plain_frequencies(r));
  } else {
    return unsupported(
        "{}: rope scaling type \"{}\" is not known (known: default, linear, dynamic, yarn, longrope, llama3)",
        origin, type.substr(0, 64));
  }
  if (!r.divisors.empty()) {
    if (r.divisors.size() != rope.frequencies.size()) {
      return invalid_argument("{}: rope_freqs has {} entries, half the rotated dimensions are {}", origin,
                              r.divisors.size(), rope.frequencies.size());
    }
    for (size_t i = 0; i < r.divisors.size(); ++i) {
      if (!(r.divisors[i] > 0)) return invalid_argument("{}: rope_freqs[{}] is not positive", origin, i);
      rope.frequencies[i] /= r.divisors[i];
    }
  }
  const auto finite = [](float v) { return std::isfinite(v); };
  if (!finite(rope.attention_factor) ||
      !std::all_of(rope.frequencies.begin(), rope.frequencies.end(), finite) ||
      !std::all_of(rope.long_frequencies.begin(), rope.long_frequencies.end(), finite)) {
    return invalid_argument("{}: rope_theta and rope_scaling give frequencies that are not finite", origin);
  }
  return rope;
}

}  // namespace sluice::model
