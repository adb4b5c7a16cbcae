# cmake -DTUFF=... -DPAGE=... -P docs.cmake: docs/ops.md is what the op table says today.
execute_process(COMMAND ${TUFF} ops --markdown OUTPUT_VARIABLE now RESULT_VARIABLE rc)
file(READ ${PAGE} page)
if(NOT rc EQUAL 0 OR NOT now STREQUAL page)
  message(FATAL_ERROR "${PAGE} is out of date: run `tuff ops --markdown > docs/ops.md`")
endif()
