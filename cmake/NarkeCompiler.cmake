# Language level, warnings, sanitizers, and the tools that make builds fast.

if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang" OR CMAKE_CXX_COMPILER_VERSION VERSION_LESS 19)
  message(FATAL_ERROR
    "Narke needs clang 19 or later, but CMAKE_CXX_COMPILER is ${CMAKE_CXX_COMPILER} "
    "(${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}). "
    "Install clang-19 and configure again with -DCMAKE_CXX_COMPILER=clang++-19.")
endif()

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_SCAN_FOR_MODULES OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# -g1 keeps line tables, so that a crash in a release build still names its lines; NDEBUG stays unset.
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -g1")
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1 -fno-omit-frame-pointer")

add_compile_options(-Wall -Wextra -Werror -fcolor-diagnostics)

if(NARKE_SANITIZE)
  add_compile_options(-fsanitize=${NARKE_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${NARKE_SANITIZE})
  if(NARKE_SANITIZE MATCHES address AND NOT NARKE_FUZZ)
    add_compile_options(-O0)  # its checks make optimising take longer than the tests gain by it
  endif()
endif()

if(NARKE_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

find_program(NARKE_CCACHE ccache)
if(NARKE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # What ccache asks for where headers are precompiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER
    ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${NARKE_CCACHE})
endif()

find_program(NARKE_MOLD mold)
if(NARKE_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
