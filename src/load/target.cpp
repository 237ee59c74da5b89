#include "load/target.h"

#include <algorithm>
#include <charconv>

namespace sluice::load {
namespace {

constexpr std::string_view kScheme = "http://";

bool is_port(std::string_view text) {
  int value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  return ec == std::errc() && end == text.data() + text.size() && value >= 1 && value <= 65535;
}

}  // namespace

std::string Target::authority() const {
  const bool v6 = host.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

Result<Target> parse_target(const std::string& url) {
  const auto bad = [&](std::string_view why) {
    return invalid_argument("--url {}: {}; give one like http://127.0.0.1:8000", url.substr(0, 200), why);
  };
  std::string_view rest = url;
  if (rest.starts_with("https://")) return bad("TLS is not spoken here");
  if (rest.starts_with(kScheme)) rest.remove_prefix(kScheme.size());
  if (std::any_of(rest.begin(), rest.end(), [](unsigned char c) { return c <= ' ' || c == 0x7f; }))
    return bad("it holds a space or a control character");
  const size_t slash = std::min(rest.find('/'), rest.size());
  std::string_view authority = rest.substr(0, slash), prefix = rest.substr(slash);
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  Target out{.host = "", .port = "80", .prefix = std::string(prefix)};
  if (authority.starts_with('[')) {  // an IPv6 address
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) return bad("the bracket is not closed");
    out.host = authority.substr(1, end - 1);
    authority.remove_prefix(end + 1);
  } else {
    const size_t colon = std::min(authority.rfind(':'), authority.size());
    out.host = authority.substr(0, colon);
    authority.remove_prefix(colon);
  }
  if (authority.starts_with(':')) out.port = authority.substr(1);
  if (out.host.empty()) return bad("it names no host");
  if (!is_port(out.port)) return bad("the port is not one");
  return out;
}

}  // namespace sluice::load
