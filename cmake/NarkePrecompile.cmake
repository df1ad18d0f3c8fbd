# Headers that most units include are parsed once per preset: for the unit tests, and with sanitizers for all code.
# Other builds compile the libraries without: a file that forgets one of its own includes fails there.

set(narke_common_headers
  <algorithm> <array> <atomic> <chrono> <deque> <filesystem> <fstream> <functional> <map> <memory> <mutex>
  <optional> <random> <set> <span> <string> <string_view> <thread> <unordered_map> <unordered_set> <utility>
  <variant> <vector> <flatbuffers/flatbuffers.h> <flatbuffers/flexbuffers.h> <schema/narke_generated.h>)

# narke_precompiled(<target>): a target of nothing but the headers, with the options that its users have.
function(_narke_precompiled target)
  set(unit ${CMAKE_BINARY_DIR}/${target}.cc)
  file(CONFIGURE OUTPUT ${unit} CONTENT "")
  add_library(${target} OBJECT ${unit})
  target_link_libraries(${target} PRIVATE narke_schema Threads::Threads)
  target_compile_definitions(${target} PRIVATE NARKE_VERSION="${PROJECT_VERSION}")
  # Without the time of the headers in it, equal headers give an equal file, and ccache finds its users.
  target_compile_options(${target} PUBLIC "SHELL:-Xclang -fno-pch-timestamp")
  target_precompile_headers(${target} PRIVATE ${narke_common_headers} ${ARGN})
endfunction()

if(NARKE_SANITIZE)
  _narke_precompiled(narke_precompiled)
endif()
if(NARKE_TESTS)
  _narke_precompiled(narke_test_precompiled <gmock/gmock.h> <gtest/gtest.h>)
  target_link_libraries(narke_test_precompiled PRIVATE GTest::gmock)
  target_compile_options(narke_test_precompiled PRIVATE -O0 -fPIE)
endif()

# narke_precompile(<target> [narke_test_precompiled]): the target's units begin with those headers.
function(narke_precompile target)
  set(from ${ARGN})
  if(NOT from)
    set(from narke_precompiled)
  endif()
  if(TARGET ${from})
    target_compile_options(${target} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
    target_precompile_headers(${target} REUSE_FROM ${from})
  endif()
endfunction()
