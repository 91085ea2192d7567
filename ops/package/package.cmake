# package.cmake - Debian packages: qfleet-client, qfleet-coordinator, qfleet-worker, and qfleet-common
# with the user that the services run as.
#
#   cmake --build build/release --target packages      writes build/release/packages/*.deb
#
# Instrumented builds have none: what packages hold is printed by the programs themselves.
if(QF_SANITIZE OR QF_FUZZ OR QF_COVERAGE)
    return()
endif()

set(made ${CMAKE_BINARY_DIR}/package)
set(package_files qctl.1.gz qfleet-recipe.5.gz qfleet-providers.5.gz qfleet-coordinator.1.gz qfleet-worker.1.gz qctl _qctl qctl.fish
    changelog.gz)
list(TRANSFORM package_files PREPEND ${made}/)
add_custom_command(
    OUTPUT ${package_files}
    COMMAND ${CMAKE_SOURCE_DIR}/ops/package/make-files $<TARGET_FILE_DIR:qctl> ${made} ${PROJECT_VERSION}
    DEPENDS qctl qfleet-coordinator qfleet-worker ops/package/make-files ops/package/usage-man
            ops/package/deb/changelog
    VERBATIM)
add_custom_target(package_files ALL DEPENDS ${package_files})

function(qf_package_doc component)
    install(FILES ${CMAKE_SOURCE_DIR}/ops/package/deb/copyright DESTINATION share/doc/qfleet-${component}
            COMPONENT ${component})
    install(FILES ${made}/changelog.gz DESTINATION share/doc/qfleet-${component} COMPONENT ${component})
endfunction()

foreach(component common client coordinator worker)
    qf_package_doc(${component})
endforeach()
install(DIRECTORY DESTINATION /etc/qfleet COMPONENT common)
install(FILES ${made}/qctl.1.gz DESTINATION share/man/man1 COMPONENT client)
install(FILES ${made}/qfleet-recipe.5.gz ${made}/qfleet-providers.5.gz DESTINATION share/man/man5 COMPONENT client)
install(FILES ${made}/qctl DESTINATION share/bash-completion/completions COMPONENT client)
install(FILES ${made}/_qctl DESTINATION share/zsh/vendor-completions COMPONENT client)
install(FILES ${made}/qctl.fish DESTINATION share/fish/vendor_completions.d COMPONENT client)
foreach(component coordinator worker)
    install(FILES ${made}/qfleet-${component}.1.gz DESTINATION share/man/man1 COMPONENT ${component})
    install(FILES ops/systemd/qfleet-${component}.service DESTINATION lib/systemd/system COMPONENT ${component})
endforeach()

set(CPACK_GENERATOR DEB)
set(CPACK_COMPONENTS_ALL common client coordinator worker)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_SET_DESTDIR ON) # /etc/qfleet is not below the prefix
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/packages)
set(CPACK_PACKAGE_VENDOR qfleet)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "") # each package has its own
set(CPACK_PACKAGE_CONTACT "The qfleet authors <authors@qfleet.invalid>")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(scripts ${CMAKE_SOURCE_DIR}/ops/package/deb)
set(CPACK_DEBIAN_COMMON_PACKAGE_NAME qfleet-common)
set(CPACK_DEBIAN_COMMON_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_COMMON_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_COMMON_PACKAGE_DEPENDS adduser)
set(CPACK_DEBIAN_COMMON_PACKAGE_CONTROL_EXTRA "${scripts}/common/postinst;${scripts}/common/postrm")
set(CPACK_COMPONENT_COMMON_DESCRIPTION "user and folder of the qfleet services
The coordinator and the worker of qfleet run as the user that this package
makes, and read what they start with from the folder that it holds.")
set(CPACK_DEBIAN_CLIENT_PACKAGE_NAME qfleet-client)
set(CPACK_DEBIAN_CLIENT_PACKAGE_SUGGESTS "qfleet-coordinator, qfleet-worker")
set(CPACK_COMPONENT_CLIENT_DESCRIPTION "command line of a fleet that fine-tunes language models
qctl submits recipes to a coordinator, watches and controls jobs, fetches
their results. With qfleet-coordinator and qfleet-worker installed beside it,
`qctl run` needs no fleet.")
foreach(component COORDINATOR WORKER)
    string(TOLOWER ${component} name)
    set(CPACK_DEBIAN_${component}_PACKAGE_NAME qfleet-${name})
    set(CPACK_DEBIAN_${component}_PACKAGE_DEPENDS "qfleet-common (= ${PROJECT_VERSION})")
    set(CPACK_DEBIAN_${component}_PACKAGE_CONTROL_EXTRA
        "${scripts}/${name}/postinst;${scripts}/${name}/prerm;${scripts}/${name}/postrm")
endforeach()
set(CPACK_DEBIAN_COORDINATOR_PACKAGE_SUGGESTS qfleet-client)
set(CPACK_COMPONENT_COORDINATOR_DESCRIPTION "coordinator of a fleet that fine-tunes language models
Takes jobs from clients, gives tasks to workers and keeps what came of them,
durably. `qctl init` (qfleet-client) makes the keys that it starts with.")
set(CPACK_COMPONENT_WORKER_DESCRIPTION "worker of a fleet that fine-tunes language models
Computes tasks of a coordinator with all of this machine. It holds nothing
that matters: it may come, leave and be killed at any time, and results stay
the same in every bit.")
include(CPack)

add_custom_target(packages
    COMMAND ${CMAKE_CPACK_COMMAND} --config ${CMAKE_BINARY_DIR}/CPackConfig.cmake
    WORKING_DIRECTORY ${CMAKE_BINARY_DIR}
    DEPENDS package_files
    VERBATIM USES_TERMINAL)
