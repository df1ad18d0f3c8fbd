# schema/<name>.fbs -> generated/schema/<name>_generated.h, included as "schema/<name>_generated.h".
# Target narke_schema carries the include path; every module depends on it.

find_program(NARKE_FLATC flatc REQUIRED)
find_path(FLATBUFFERS_INCLUDE_DIR flatbuffers/flatbuffers.h REQUIRED)

set(NARKE_GENERATED_DIR ${CMAKE_BINARY_DIR}/generated)
file(GLOB schemas CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/schema/*.fbs)
set(schema_headers "")

foreach(schema IN LISTS schemas)
  get_filename_component(name ${schema} NAME_WE)
  set(header ${NARKE_GENERATED_DIR}/schema/${name}_generated.h)
  # A schema may include any other, so each header depends on all of them.
  add_custom_command(
    OUTPUT ${header}
    COMMAND ${NARKE_FLATC} --cpp --scoped-enums -I ${CMAKE_CURRENT_SOURCE_DIR}/schema
            -o ${NARKE_GENERATED_DIR}/schema ${schema}
    DEPENDS ${schemas}
    COMMENT "flatc schema/${name}.fbs"
    VERBATIM)
  list(APPEND schema_headers ${header})
endforeach()

add_custom_target(narke_schema_headers DEPENDS ${schema_headers})
add_library(narke_schema INTERFACE)
target_include_directories(narke_schema SYSTEM INTERFACE
  ${NARKE_GENERATED_DIR} ${FLATBUFFERS_INCLUDE_DIR})
add_dependencies(narke_schema narke_schema_headers)

# Debian's libflatbuffers.a is not position independent; without its locale object the headers suffice.
target_compile_definitions(narke_schema INTERFACE FLATBUFFERS_LOCALE_INDEPENDENT=0)
