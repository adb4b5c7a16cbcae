/* Where each number starts in sorted keys[COUNT]: start[r], r <= ROWS, is the number of keys below r. One bisection per
 * invocation. */
void main()
{
    LEAVE_SPARE_GROUPS
    const uint r = GROUP * WGSIZE + LID;
    if (r > uint(ROWS))
        return;
    uint lo = 0, hi = uint(COUNT);
    while (lo < hi) {
        const uint mid = (lo + hi) / 2;
        if (key_at(mid) < int(r))
            lo = mid + 1;
        else
            hi = mid;
    }
    y_put(r, int(lo));
}
