/* ssm.h - scans, state-space models. Included by tuff.h; the conventions are those of ops.h. */
#ifndef TUFF_SSM_H
#define TUFF_SSM_H

#ifndef TUFF_TUFF_H
#  include "tuff.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- scans: running combinations along an axis; tuff_scan_desc and sums are in ops.h ---------------- */

/* Running maximum or minimum; float, int; NaN stays. Exclusive scans start with -inf or +inf, the least or largest integer. */
TUFF_API tuff_tensor tuff_cummax(tuff_tensor x, int32_t axis, const tuff_scan_desc *desc);
TUFF_API tuff_tensor tuff_cummin(tuff_tensor x, int32_t axis, const tuff_scan_desc *desc);
/* log of the running sum of e^x, by maxima; float. */
TUFF_API tuff_tensor tuff_logcumsumexp(tuff_tensor x, int32_t axis, const tuff_scan_desc *desc);
/* h[t] = a[t] * h[t-1] + b[t] along axis; a and b broadcast; float, complex. initial: h before the first element; absent: 0.
 * |a| may exceed 1. */
TUFF_API tuff_tensor tuff_linear_scan(tuff_tensor a, tuff_tensor b, int32_t axis, const tuff_scan_desc *desc);
/* A scan of up to 4 named fields by an associative expression of their values before (a.*) and after (b.*):
 *   tuff_scan(g, "x = a.x * b.x; y = b.x * a.y + b.y", 1, 2, (tuff_named[]){{"x", x}, {"y", y}}, NULL)
 * Fields broadcast. One result per field. An input start.NAME, shaped without the axis, is what precedes the first element of field NAME;
 * all fields have one or none has. exclusive needs it and excludes seg_start; desc->initial is not used. Any field dtype but f64.
 * E_PARSE gives line and column of a bad expression. */
TUFF_API tuff_tensor tuff_scan(tuff_graph *g, const char *combine, int32_t axis, uint32_t n, const tuff_named *inputs, const tuff_scan_desc *desc);

#ifdef __cplusplus
}
#endif

#endif
