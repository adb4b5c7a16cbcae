# Headers, both libraries, the command, and what lets others find them.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tuff)
install(DIRECTORY include/tuff DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(TARGETS tuff_static tuff_shared EXPORT tuff-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(EXPORT tuff-targets NAMESPACE tuff:: DESTINATION ${package_dir})
if(TARGET tuff_command)
  install(TARGETS tuff_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

configure_package_config_file(cmake/tuff-config.cmake.in ${PROJECT_BINARY_DIR}/tuff-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tuff-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tuff-config.cmake ${PROJECT_BINARY_DIR}/tuff-config-version.cmake DESTINATION ${package_dir})

# For `pkg-config --static`: the libraries behind the static one, as linker arguments.
set(TUFF_PC_LIBS_PRIVATE "")
foreach(library IN LISTS RUNTIME_LIBRARIES)
  string(APPEND TUFF_PC_LIBS_PRIVATE "${library} ")
endforeach()
if(TUFF_COMPILER)
  string(APPEND TUFF_PC_LIBS_PRIVATE "-lstdc++ ")
endif()
string(APPEND TUFF_PC_LIBS_PRIVATE "-lpthread -ldl -lm")
file(RELATIVE_PATH TUFF_PC_PREFIX /x/${CMAKE_INSTALL_LIBDIR}/pkgconfig /x) # the prefix may be chosen at install time
configure_file(cmake/tuff.pc.in ${PROJECT_BINARY_DIR}/tuff.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/tuff.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES LICENSE README.md TYPE DOC)
