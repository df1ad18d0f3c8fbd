# cmake -DSOURCE=<file> -DFOLDER=<folder> -P ReplaceFile.cmake
# Puts SOURCE into FOLDER by renaming a fresh copy over the old file: processes that still run or map the old
# one keep it, where a copy in place would crash them.

cmake_path(GET SOURCE FILENAME name)
set(target ${FOLDER}/${name})
if(EXISTS ${target})
  file(SHA256 ${SOURCE} new)
  file(SHA256 ${target} old)
  if(new STREQUAL old)
    return()
  endif()
endif()
string(RANDOM suffix)
set(fresh ${FOLDER}/.${name}.${suffix})
file(MAKE_DIRECTORY ${FOLDER})
file(COPY_FILE ${SOURCE} ${fresh})
file(RENAME ${fresh} ${target})
