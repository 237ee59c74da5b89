# sluice_room(NAME DEPS ...): src/NAME/*.cpp is a static library, its *_test.cpp files are one test program and each
# *_fuzz.cpp one libFuzzer target. src/NAME/testing/*.cpp is a library that only test programs link: this room's, and
# those of rooms that name it in TEST_DEPS as NAME_testing. A new file needs no edit of any CMake file.
#
# What tests include most is precompiled once, for the first room's. A compiler cache does better without:
# -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON.
include(GoogleTest)
if(SLUICE_TESTS)
  enable_testing()
  find_package(GTest REQUIRED)
endif()

function(sluice_room name)
  cmake_parse_arguments(ROOM "" "" "DEPS;TEST_DEPS" ${ARGN})
  set(dir ${PROJECT_SOURCE_DIR}/src/${name})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${dir}/*.cpp)
  set(tests ${sources})
  set(fuzzers ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cpp$")
  set(testing ${sources})
  list(FILTER testing INCLUDE REGEX "/testing/")
  list(FILTER sources EXCLUDE REGEX "(_test|_fuzz|/main)\\.cpp$|/testing/")

  set(deps sluice_flags)
  foreach(dep ${ROOM_DEPS})
    if(EXISTS ${PROJECT_SOURCE_DIR}/src/${dep} AND NOT dep MATCHES "::")
      list(APPEND deps sluice_${dep})
    else()
      list(APPEND deps ${dep})
    endif()
  endforeach()

  if(sources)
    add_library(sluice_${name} STATIC ${sources})
    target_link_libraries(sluice_${name} PUBLIC ${deps})
  else()
    add_library(sluice_${name} INTERFACE)
    target_link_libraries(sluice_${name} INTERFACE ${deps})
  endif()

  if(SLUICE_TESTS AND testing)
    add_library(sluice_${name}_testing STATIC ${testing})
    target_link_libraries(sluice_${name}_testing PUBLIC sluice_${name})
    foreach(dep ${ROOM_TEST_DEPS})
      target_link_libraries(sluice_${name}_testing PUBLIC sluice_${dep})
    endforeach()
    list(APPEND ROOM_TEST_DEPS ${name}_testing)
  endif()
  if(SLUICE_TESTS AND tests)
    list(TRANSFORM ROOM_TEST_DEPS PREPEND sluice_)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE sluice_${name} ${ROOM_TEST_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
    target_compile_definitions(${name}_test PRIVATE SLUICE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    target_compile_options(${name}_test PRIVATE -O1)  # half the time to compile, hardly more to run
    if(name STREQUAL "base")
      target_precompile_headers(base_test PRIVATE <gmock/gmock.h> <gtest/gtest.h> <nlohmann/json.hpp> <fmt/format.h>)
    else()
      target_precompile_headers(${name}_test REUSE_FROM base_test)
    endif()
    gtest_discover_tests(${name}_test TEST_PREFIX ${name}: DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 600)
  endif()
  if(SLUICE_FUZZ)
    foreach(fuzzer ${fuzzers})
      get_filename_component(target ${fuzzer} NAME_WE)
      add_executable(${target} ${fuzzer})
      target_compile_options(${target} PRIVATE -fsanitize=fuzzer)
      target_link_options(${target} PRIVATE -fsanitize=fuzzer)
      target_link_libraries(${target} PRIVATE sluice_${name})
    endforeach()
  endif()
endfunction()

# sluice_embed(TARGET OUTPUT NAMESPACE FUNCTION FILES...): the files become a function of the target (EmbedFiles.cmake).
function(sluice_embed target output namespace function)
  set(out ${PROJECT_BINARY_DIR}/generated/${output})
  string(REPLACE ";" " " files "${ARGN}")
  add_custom_command(OUTPUT ${out} VERBATIM
    COMMAND ${CMAKE_COMMAND} -DOUTPUT=${out} -DNAMESPACE=${namespace} -DFUNCTION=${function} "-DFILES=${files}"
            -P ${PROJECT_SOURCE_DIR}/cmake/EmbedFiles.cmake
    DEPENDS ${ARGN} ${PROJECT_SOURCE_DIR}/cmake/EmbedFiles.cmake)
  target_sources(${target} PRIVATE ${out})
endfunction()
