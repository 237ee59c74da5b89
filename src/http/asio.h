// Boost.Asio with C++20 coroutines, as the server and the load tool use it. Costly to include: only the .cpp
// files of serve/http and load do.
#pragma once

#include <utility>  // Asio 1.74's coroutines forget it

// Clang before 17 does not announce coroutines in the way that the standard library and Asio look for.
#if defined(__clang__)
#if !defined(__cpp_impl_coroutine)
#define __cpp_impl_coroutine 201902L
#endif
#if !defined(BOOST_ASIO_HAS_CO_AWAIT)
#define BOOST_ASIO_HAS_CO_AWAIT 1
#define BOOST_ASIO_HAS_STD_COROUTINE 1
#endif
#endif

// With the optimisation of sanitizer builds, GCC 12 takes the frames of Asio's coroutines for memory of another
// allocator.
#if defined(__SANITIZE_ADDRESS__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

namespace sluice::serve {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

}  // namespace sluice::serve
