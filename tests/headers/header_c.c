/* The public header is the first line here: it must bring everything it needs. */
#include <tuff/tuff.h>

#if defined(__STDC_VERSION__) && __STDC_VERSION__ < 201710L
#  error "compile this as C17"
#endif

tuff_shape header_c_shape(void);
tuff_shape header_c_shape(void)
{
    return TUFF_SHAPE(1, 256, 8, 64);
}
