// Finding a server, and asking it one thing.
#pragma once

#include "load/client.h"
#include "load/target.h"

namespace sluice::load {

/// The first address of the host that accepts a connection.
Result<tcp::endpoint> find_server(asio::io_context& context, const Target& target);

/// Request line and header fields, without the empty line that ends them.
std::string request_head(const Target& target, std::string_view method, std::string_view path,
                         const Headers& headers);

/// The body of what a GET request gives, whatever its status; waits for it for at most ten seconds.
Result<std::string> fetch(const Target& target, std::string_view path, const Headers& headers);

}  // namespace sluice::load
