# The external libraries, all from the distribution's packages. Modules name these targets under LIBS.

find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(SQLite3 REQUIRED)

find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)
add_library(xxhash INTERFACE IMPORTED)  # its header is all that is used
target_include_directories(xxhash INTERFACE ${XXHASH_INCLUDE_DIR})
target_compile_definitions(xxhash INTERFACE XXH_INLINE_ALL)

if(NARKE_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()
if(NARKE_BENCH)
  find_package(benchmark REQUIRED)
endif()
