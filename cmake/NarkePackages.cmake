# The external libraries, all from the distribution's packages. Modules name these targets under LIBS.

find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(SQLite3 REQUIRED)

find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)
find_library(XXHASH_LIBRARY xxhash REQUIRED)
add_library(xxhash UNKNOWN IMPORTED)
set_target_properties(xxhash PROPERTIES
  IMPORTED_LOCATION ${XXHASH_LIBRARY}
  INTERFACE_INCLUDE_DIRECTORIES ${XXHASH_INCLUDE_DIR})

if(NARKE_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()
if(NARKE_BENCH)
  find_package(benchmark REQUIRED)
endif()
