// A server over a tiny model in this process, for tests.
#pragma once

#include <memory>
#include <string>

#include "serve/app.h"
#include "serve/testing/client.h"

namespace sluice::serve::testing {

struct TinyServerOptions {
  bool null = true;  // the engine computes nothing
  int64_t max_num_seqs = 8;
  int64_t max_seq_len = 1 << 16;  // of a null engine; a computing one has 1024
  std::string chat_template;      // empty: one that shows tools, and calls in Hermes' dialect
  std::string model;              // another checkpoint of the tiny size; empty: tiny_model()
  engine::CoreOptions core;
  ServeOptions serve;
};

class TinyServer {
 public:
  explicit TinyServer(TinyServerOptions options = {});

  App& app() { return *app_; }
  int port() const { return app_->port(); }
  Client client() const { return Client(port()); }
  Response post(const std::string& path, const std::string& body, const std::string& headers = "") const {
    return client().post(path, body, headers);
  }
  Response get(const std::string& path, const std::string& headers = "") const {
    return client().get(path, headers);
  }
  /// Waits until the engine has nothing to do and holds no page; false if that takes a minute.
  bool becomes_idle() const;

 private:
  std::unique_ptr<App> app_;
};

/// One character is one token: its tokenizer has the printable ones and the space; a chat template is there.
const std::string& tiny_model(int64_t max_positions, const std::string& chat_template = "");

}  // namespace sluice::serve::testing
