# libraries.cmake - the third-party libraries, one imported name each; ops/deps installs them.
find_package(PkgConfig REQUIRED)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

foreach(pair
    zmq:libzmq czmq:libczmq msgpack:msgpack uv:libuv openblas:openblas yaml:yaml-0.1 jansson:jansson
    pcre2:libpcre2-8 utf8proc:libutf8proc sodium:libsodium zstd:libzstd
    microhttpd:libmicrohttpd ncurses:ncursesw)
    string(REPLACE ":" ";" pair ${pair})
    list(GET pair 0 name)
    list(GET pair 1 package)
    pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${package})
    add_library(lib::${name} ALIAS PkgConfig::${name})
endforeach()

# LMDB ships no pkg-config file on every distribution.
find_library(LMDB_LIBRARY lmdb REQUIRED)
find_path(LMDB_INCLUDE lmdb.h REQUIRED)
add_library(lmdb_imported INTERFACE)
target_link_libraries(lmdb_imported INTERFACE ${LMDB_LIBRARY})
target_include_directories(lmdb_imported SYSTEM INTERFACE ${LMDB_INCLUDE})
add_library(lib::lmdb ALIAS lmdb_imported)

# Tests are built where their library is; a machine that only builds and runs has no need of it.
pkg_check_modules(cmocka IMPORTED_TARGET cmocka)
if(cmocka_FOUND)
    add_library(lib::cmocka ALIAS PkgConfig::cmocka)
else()
    message(STATUS "cmocka is not installed: tests are left out (ops/deps installs it)")
endif()
