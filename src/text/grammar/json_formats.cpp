// The formats of strings (JSON Schema 2020-12 validation §7.3) as regular expressions; each matches a subset
// of what its RFC allows: the usual spellings.
#include "text/grammar/json_text.h"

namespace sluice::text::grammar {
namespace {

constexpr const char* kDate =
    "(?:\\d{4}-(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|\\d{4}-(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)"
    "|\\d{4}-02-(?:0[1-9]|1\\d|2[0-8]))";
constexpr const char* kTime =
    "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:[Zz]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
constexpr const char* kLabel = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
constexpr const char* kIpv4 =
    "(?:(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)\\.){3}(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";

// RFC 4291 §2.2: eight groups, or fewer around one "::".
std::string ipv6() {
  const std::string h = "[0-9a-fA-F]{1,4}";
  std::string out = fmt::format("(?:{}:){{7}}{}", h, h);
  for (int before = 0; before <= 7; ++before) {
    const int after = 7 - before;
    const std::string head = before == 0 ? "" : fmt::format("(?:{}:){{{}}}{}", h, before - 1, h);
    const std::string tail = after == 0 ? "" : fmt::format("(?:{}(?::{}){{0,{}}})?", h, h, after - 1);
    out += "|" + head + "::" + tail;
  }
  return "(?:" + out + ")";
}

}  // namespace

Result<std::string> regex_of_format(const std::string& format) {
  const auto whole = [](const std::string& body) { return "^" + body + "$"; };
  if (format == "date") return whole(kDate);
  if (format == "time") return whole(kTime);
  if (format == "date-time") return whole(fmt::format("{}[Tt]{}", kDate, kTime));
  if (format == "duration") {
    return whole(
        "P(?:\\d{1,9}W|(?:\\d{1,9}Y(?:\\d{1,9}M(?:\\d{1,9}D)?)?|\\d{1,9}M(?:\\d{1,9}D)?|\\d{1,9}D)"
        "(?:T(?:\\d{1,9}H(?:\\d{1,9}M(?:\\d{1,9}S)?)?|\\d{1,9}M(?:\\d{1,9}S)?|\\d{1,9}S))?"
        "|T(?:\\d{1,9}H(?:\\d{1,9}M(?:\\d{1,9}S)?)?|\\d{1,9}M(?:\\d{1,9}S)?|\\d{1,9}S))");
  }
  if (format == "uuid") {
    return whole("[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}");
  }
  if (format == "email") {
    const std::string atom = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,64}";
    return whole(fmt::format("{}(?:\\.{})*@{}(?:\\.{})+", atom, atom, kLabel, kLabel));
  }
  if (format == "hostname") return whole(fmt::format("{}(?:\\.{})*", kLabel, kLabel));
  if (format == "ipv4") return whole(kIpv4);
  if (format == "ipv6") return whole(ipv6());
  if (format == "uri") {
    return whole(
        "[a-zA-Z][a-zA-Z0-9+.-]{0,30}:(?://)?(?:[a-zA-Z0-9._~:/?@!$&'()*+,;=-]|%[0-9a-fA-F]{2})+"
        "(?:#(?:[a-zA-Z0-9._~:/?@!$&'()*+,;=-]|%[0-9a-fA-F]{2})*)?");
  }
  return unsupported(
      "format \"{}\" is not supported; date, time, date-time, duration, uuid, email, hostname, ipv4, ipv6 "
      "and uri "
      "are",
      format.substr(0, 64));
}

}  // namespace sluice::text::grammar
