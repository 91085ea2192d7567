# module.cmake - one target a folder, one call a folder.
#
#   qf_module(DEPENDS common/base common/mem LIBRARIES lib::sodium)
#
# makes a static library of all *.c of the calling folder (main.c excepted), named after its path
# (common/mem -> common.mem). DEPENDS lists every other folder whose headers this one includes;
# tests/lint holds the includes against it, so this list is the one declaration of who may use whom.
# Third-party libraries are private to the module: their headers are its door and nobody else's.
# THREADS, before the others, says that the module starts threads. Who depends on it has them too, and
# its tests get the label `threads` beside their own: those are worth running under tsan.

# Whether a module starts threads or depends on one that does. Asked when all modules are known.
function(qf_threads out module)
    get_target_property(known ${module} QF_THREADS)
    if(known STREQUAL "known-NOTFOUND")
        set(known FALSE)
        get_target_property(depends ${module} QF_DEPENDS)
        foreach(depend ${depends})
            qf_threads(starts ${depend})
            if(starts)
                set(known TRUE)
            endif()
        endforeach()
        set_target_properties(${module} PROPERTIES QF_THREADS ${known})
    endif()
    set(${out} ${known} PARENT_SCOPE)
endfunction()

function(qf_module)
    cmake_parse_arguments(ARG "THREADS" "" "DEPENDS;LIBRARIES" ${ARGN})
    file(RELATIVE_PATH path ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
    string(REPLACE "/" "." target ${path})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
    list(FILTER sources EXCLUDE REGEX "/main\\.c$")
    list(TRANSFORM ARG_DEPENDS REPLACE "/" ".")
    if(sources)
        add_library(${target} STATIC ${sources})
        target_link_libraries(${target} PUBLIC ${ARG_DEPENDS} PRIVATE ${ARG_LIBRARIES} Threads::Threads m)
    else()
        add_library(${target} INTERFACE)
        target_link_libraries(${target} INTERFACE ${ARG_DEPENDS} ${ARG_LIBRARIES} m)
    endif()
    set_target_properties(${target} PROPERTIES QF_DEPENDS "${ARG_DEPENDS}")
    if(ARG_THREADS)
        set_target_properties(${target} PROPERTIES QF_THREADS TRUE)
    endif()
endfunction()

# The target `suite.NAME` builds what one label of tests runs; `suite.programs` all programs.
function(qf_suite name target)
    if(NOT TARGET suite.${name})
        add_custom_target(suite.${name})
    endif()
    add_dependencies(suite.${name} ${target})
endfunction()

#   qf_program(qfleet-worker DEPENDS ...)   a program of the calling folder's main.c, in the package of
#   its name (ops/package)
function(qf_program name)
    cmake_parse_arguments(ARG "" "" "DEPENDS;LIBRARIES" ${ARGN})
    list(TRANSFORM ARG_DEPENDS REPLACE "/" ".")
    add_executable(${name} ${CMAKE_CURRENT_SOURCE_DIR}/main.c)
    target_link_libraries(${name} PRIVATE ${ARG_DEPENDS} ${ARG_LIBRARIES} Threads::Threads m)
    string(REGEX REPLACE "^qfleet-" "" component ${name})
    string(REPLACE "qctl" "client" component ${component})
    install(TARGETS ${name} RUNTIME COMPONENT ${component})
    qf_suite(programs ${name})
endfunction()

#   qf_test(test_lease LABEL unit SOURCES test_lease.c DEPENDS ... [ARGS ...] [TIMEOUT s])
# makes a test program with cmocka and registers it with ctest under its name. What may take long is
# begun first, so that no processor waits for it at the end.
function(qf_test name)
    cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;DEPENDS;LIBRARIES;ARGS" ${ARGN})
    list(TRANSFORM ARG_DEPENDS REPLACE "/" ".")
    if(NOT ARG_SOURCES)
        set(ARG_SOURCES ${name}.c)
    endif()
    if(NOT ARG_LABEL)
        set(ARG_LABEL unit)
    endif()
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 300)
    endif()
    add_executable(${name} ${ARG_SOURCES})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    target_link_libraries(${name} PRIVATE ${ARG_DEPENDS} lib::cmocka ${ARG_LIBRARIES} Threads::Threads m)
    add_test(NAME ${name} COMMAND ${name} ${ARG_ARGS} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set(labels ${ARG_LABEL})
    foreach(depend ${ARG_DEPENDS})
        qf_threads(threads ${depend})
        if(threads AND ARG_LABEL STREQUAL unit)
            list(APPEND labels threads)
        endif()
    endforeach()
    list(REMOVE_DUPLICATES labels)
    foreach(label ${labels})
        qf_suite(${label} ${name})
    endforeach()
    set_tests_properties(${name} PROPERTIES LABELS "${labels}" TIMEOUT ${ARG_TIMEOUT} COST ${ARG_TIMEOUT}
                         SKIP_RETURN_CODE 77 ENVIRONMENT "${QF_SANITIZER_ENVIRONMENT}")
endfunction()
