# Language level, warnings, sanitizers and the third-party libraries that are linked statically where a static
# library exists: the release is one small binary.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

option(SLUICE_TESTS "Build the unit tests" ON)
option(SLUICE_FUZZ "Build the libFuzzer targets (needs clang)" OFF)
option(SLUICE_SANITIZE "Build with AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
option(SLUICE_WERROR "Treat compiler warnings as errors" ON)

add_library(sluice_flags INTERFACE)
target_include_directories(sluice_flags INTERFACE
  $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include> $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/src>)
target_compile_options(sluice_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers)
# GCC 12 reports overlaps in std::string (GCC bug 105651) and members of a moved Result used uninitialised, neither of
# which can happen.
target_compile_options(sluice_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict -Wno-maybe-uninitialized>)
if(SLUICE_WERROR)
  target_compile_options(sluice_flags INTERFACE -Werror)
endif()
if(SLUICE_SANITIZE)
  target_compile_options(sluice_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(sluice_flags INTERFACE -fsanitize=address,undefined)
endif()

# sluice_library(NAME HEADER LIB): an imported library by header and archive, the static one if there is one.
function(sluice_library name header lib)
  find_path(${name}_INCLUDE_DIR ${header} REQUIRED)
  find_library(${name}_LIBRARY NAMES lib${lib}.a ${lib} REQUIRED)
  add_library(${name} INTERFACE)
  target_include_directories(${name} SYSTEM INTERFACE $<BUILD_INTERFACE:${${name}_INCLUDE_DIR}>)
  target_link_libraries(${name} INTERFACE $<BUILD_INTERFACE:${${name}_LIBRARY}>)
endfunction()
sluice_library(sluice_pcre2 pcre2.h pcre2-8)
target_compile_definitions(sluice_pcre2 INTERFACE PCRE2_CODE_UNIT_WIDTH=8)
sluice_library(sluice_utf8proc utf8proc.h utf8proc)
sluice_library(sluice_xxhash xxhash.h xxhash)

# Boost.Asio and Boost.Beast, by their headers alone.
find_path(SLUICE_BOOST_INCLUDE_DIR boost/beast/http/parser.hpp REQUIRED)
add_library(sluice_boost INTERFACE)
target_include_directories(sluice_boost SYSTEM INTERFACE $<BUILD_INTERFACE:${SLUICE_BOOST_INCLUDE_DIR}>)

# Coverage guidance needs every room instrumented, not only the fuzz targets themselves.
if(SLUICE_FUZZ)
  target_compile_options(sluice_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
