/* Sums of segments: y[o, r, c] = sum of u[o, order[j], c] for start[r] <= j < start[r + 1], in ascending j.
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
    V sum = V(0);
    for (uint j = uint(start_at(r)); j < end; j++) {
        const uint i = min(uint(order_at(j)), uint(COUNT) - 1);
#if WIDTH == 4
        sum += u_at4(o, i, c);
#else
        sum += u_at(o, i, c);
#endif
    }
#if WIDTH == 4
    y_put4(o, r, c, sum);
#else
    y_put(o, r, c, sum);
#endif
}
