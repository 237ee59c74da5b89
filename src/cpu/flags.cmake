# Files named *_<isa>.cpp are compiled for that instruction set; all others for the x86-64 baseline. Nothing but
# those files may hold such code, so they keep to functions of their own namespace. Sums must not depend on what a
# compiler contracts: fused multiply-adds are written out.
file(GLOB_RECURSE cpu_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cpu/*.cpp)
set_source_files_properties(${cpu_sources} PROPERTIES COMPILE_OPTIONS "-ffp-contract=off")
set(avx2_flags -mavx2 -mfma -mf16c)
set(avx512_flags ${avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
set(avx512vnni_flags ${avx512_flags} -mavx512vnni)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND avx2_flags -Wno-maybe-uninitialized -Wno-uninitialized)  # GCC 12 warns inside its own intrinsics (its bug 105593)
  list(APPEND avx512_flags -Wno-maybe-uninitialized -Wno-uninitialized)
  list(APPEND avx512vnni_flags -Wno-maybe-uninitialized -Wno-uninitialized)
endif()
set(isa_optimisation -O3)
if(SLUICE_SANITIZE)
  # Checks of undefined behaviour make these files take minutes and gigabytes to compile. Their code is checked in
  # the scalar instance of the same templates; here, memory is.
  set(isa_optimisation -O1 -fno-sanitize=undefined)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND isa_optimisation --param=asan-instrumentation-with-call-threshold=100)
  else()
    list(APPEND isa_optimisation -mllvm -asan-instrumentation-with-call-threshold=100)
  endif()
endif()
foreach(isa avx2 avx512 avx512vnni)
  set(isa_sources ${cpu_sources})
  list(FILTER isa_sources INCLUDE REGEX "_${isa}\\.cpp$")
  set_source_files_properties(${isa_sources} PROPERTIES COMPILE_OPTIONS "${isa_optimisation};-ffp-contract=off;${${isa}_flags}")
endforeach()
