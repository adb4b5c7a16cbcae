// The public header from C++17: shapes, descriptors and handles are plain values there too.
#include <tuff/tuff.h>

static_assert(TUFF_SHAPE(1, 256, 8, 64).rank == 4, "TUFF_SHAPE counts its arguments");
static_assert(TUFF_INTS(-1).v[0] == -1, "TUFF_INTS keeps its arguments");

tuff_tensor header_cpp_build(tuff_graph *g);
tuff_tensor header_cpp_build(tuff_graph *g)
{
    tuff_const_desc desc = {};
    desc.name = "one";
    const float one = 1.0f;
    return tuff_const(g, TUFF_F32, TUFF_SHAPE(1), &one, &desc);
}
