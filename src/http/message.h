// What goes over the wire, without the wire: requests, responses, and replies that come over time.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::serve {

using Clock = std::chrono::steady_clock;
class Mailbox;

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // decoded and normalised: what routing and authorisation both see
  std::string query;   // as sent, without '?'
  std::string body;
  std::string id;            // the client's x-request-id, or ours
  std::string content_type;  // lower case, without parameters
  std::string content_encoding;
  std::vector<std::string> api_keys;  // presented: Authorization: Bearer and x-api-key
  std::string client;                 // address and port
  bool keep_alive = true;
  bool chunked_reply = true;  // HTTP/1.1: a reply of unknown length can be chunked
  bool expects_continue = false;
  bool has_body = false;
  Clock::time_point arrival;
};

struct HttpResponse {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  bool close = false;
};

/// A reply that comes over time. Used on the connection's thread alone; destroying it ends what still runs.
class Source {
 public:
  virtual ~Source() = default;

  struct Pulled {
    std::optional<HttpResponse> whole;  // instead of a stream; only before the first bytes of one
    bool done = false;                  // nothing more will come
  };
  /// Appends to `out` the bytes that can be sent now: server-sent events.
  virtual Pulled pull(std::string& out) = 0;
  /// Instead of what a pull() could not give for want of memory: ends the reply, as well as it can be.
  virtual Pulled give_up(std::string& out) = 0;
  /// The client does not read fast enough: what was pulled cannot be written yet. Or now it is.
  virtual void blocked(bool) {}
  /// For the access log.
  virtual std::string summary() const { return {}; }
};

/// What an endpoint gives: a response, or whatever makes a source once it is told whom to wake.
struct Reply {
  HttpResponse response;
  /// Called once on the connection's thread. The source calls `wake`, on that thread, when pull() has more;
  /// what other threads tell it comes through the mailbox.
  std::function<std::unique_ptr<Source>(const std::shared_ptr<Mailbox>& mailbox, std::function<void()> wake)>
      start;

  Reply() = default;
  Reply(HttpResponse whole) : response(std::move(whole)) {}  // NOLINT(implicit)
};

/// "Not Found"
std::string_view reason_phrase(int status);

}  // namespace sluice::serve
