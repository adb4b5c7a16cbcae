# Writes OUT: one C array per text DIR/<name><SUFFIX> (bytes as numbers: no limit on literal length, no escaping) and the
# look-up FUNCTION(name).
set(body "/* generated from ${DIR} */\n#include <stddef.h>\n#include <string.h>\nconst char *${FUNCTION}(const char *name);\n")
set(rows "")
set(i 0)
foreach(name IN LISTS TEXTS)
  file(READ ${DIR}/${name}${SUFFIX} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(APPEND body "static const char text_${i}[] = {${bytes}0};\n")
  string(APPEND rows "    { \"${name}\", text_${i} },\n")
  math(EXPR i "${i} + 1")
endforeach()
string(APPEND body "static const struct { const char *name, *text; } texts[] = {\n${rows}    { NULL, NULL }\n};\n"
  "const char *${FUNCTION}(const char *name)\n{\n    for (size_t i = 0; texts[i].name; i++)\n        if (!strcmp(texts[i].name, name)) return texts[i].text;\n    return NULL;\n}\n")
file(WRITE ${OUT} "${body}")
