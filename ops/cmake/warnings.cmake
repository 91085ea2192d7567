# warnings.cmake - the warnings every target is built with, as errors.
add_compile_options(
    -Wall -Wextra -Werror
    -Wpedantic
    -Wconversion          # narrowing changes values
    -Wsign-conversion
    -Wshadow
    -Wvla                 # stack size must not depend on input
    -Wmissing-prototypes  # a function is declared in its header or static
    -Wstrict-prototypes
    -Wold-style-definition
    -Wswitch-enum         # a new enumerator is handled everywhere
    -Wundef
    -Wcast-qual
    -Wpointer-arith
    -Wformat=2
    -Wwrite-strings
    -Wnull-dereference
)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-pedantic -Wno-null-dereference -Wno-psabi -Wno-format-truncation)
endif()
if(CMAKE_C_COMPILER_ID STREQUAL "Clang")
    add_compile_options(-Wno-pedantic -Wno-gnu-zero-variadic-macro-arguments -Wno-implicit-const-int-float-conversion -Wno-psabi)
endif()
