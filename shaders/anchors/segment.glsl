/* Folded segments: y[o, r, c] folds u[o, order[j], c] over start[r] <= j < start[r + 1], in ascending j.
 *
 * FOLD   0 sum, 1 largest, 2 smallest; NaN is neither
 * EMPTY  what a segment without elements gives
 * One lane makes WIDTH (4 or 1) neighbouring columns of one row. */
#if WIDTH == 4
#define V T4
#else
#define V T
#endif

void main()
{
    LEAVE_SPARE_GROUPS
    const uint at = GROUP * WGSIZE + LID;
    const uint c = at % uint(VECTORS) * WIDTH, r = at / uint(VECTORS) % uint(ROWS), o = at / uint(VECTORS) / uint(ROWS);
    if (o >= uint(OUTER))
        return;
    const uint end = min(uint(start_at(r + 1)), uint(COUNT));
    V fold = V(EMPTY);
    uint j = uint(start_at(r));
    while (j < end) { /* in two loops: some drivers end a loop early */
        const uint stop = min(j + 32768, end);
        for (; j < stop; j++) {
            const uint i = min(uint(order_at(j)), uint(COUNT) - 1);
#if WIDTH == 4
            const V u = u_at4(o, i, c);
#else
            const V u = u_at(o, i, c);
#endif
#if FOLD == 0
            fold += u;
#elif WIDTH == 4 && FOLD == 1
            fold = mix(fold, u, greaterThan(u, fold));
#elif WIDTH == 4
            fold = mix(fold, u, lessThan(u, fold));
#elif FOLD == 1
            fold = u > fold ? u : fold;
#else
            fold = u < fold ? u : fold;
#endif
        }
    }
#if WIDTH == 4
    y_put4(o, r, c, fold);
#else
    y_put(o, r, c, fold);
#endif
}
