# options.cmake - language, build types and the switches that presets set.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
set(CMAKE_C_FLAGS_DEBUG "-O1 -g")

set(QF_SANITIZE "" CACHE STRING "sanitizers, as -fsanitize= takes them (address,undefined or thread)")
option(QF_FUZZ "build the libFuzzer targets (needs clang)" OFF)
option(QF_COVERAGE "instrument for gcov" OFF)

# The numerics contract: every rounding is written in the source. No contraction, no fast-math.
add_compile_options(-ffp-contract=off -fno-fast-math -fno-math-errno -fno-trapping-math)
add_compile_options(-fno-strict-aliasing -fstack-protector-strong)
add_compile_definitions(_POSIX_C_SOURCE=200809L _DEFAULT_SOURCE)
add_compile_options(-I${CMAKE_SOURCE_DIR})

# Under a sanitizer only what a report needs of debugging symbols, lines: a quarter of the build's time.
if(QF_SANITIZE)
    add_compile_options(-fsanitize=${QF_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g1)
    add_link_options(-fsanitize=${QF_SANITIZE})
endif()
# Libraries that are not instrumented speak to each other through memory that the sanitizers cannot see.
set(QF_SANITIZER_ENVIRONMENT
    "TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/ops/config/tsan.supp:halt_on_error=1"
    "LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/ops/config/lsan.supp:print_suppressions=0")

if(QF_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(QF_COVERAGE)
    add_compile_options(--coverage)
    add_link_options(--coverage)
endif()
