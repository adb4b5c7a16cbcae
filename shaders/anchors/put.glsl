/* Rows of a tensor replaced where it lies: y[.., keys[i], ..] = u[.., i, ..]; keys are distinct, those outside are skipped.
 * One lane moves WIDTH (8, 4 or 1) neighbouring elements. AT(row) lists the coordinates of (o, row, c) in y, FROM(row) those in u. */

void main()
{
    LEAVE_SPARE_GROUPS
    const uint at = GROUP * WGSIZE + LID;
    const uint c = at % uint(VECTORS) * WIDTH, i = at / uint(VECTORS) % uint(COUNT), o = at / uint(VECTORS) / uint(COUNT);
    if (o >= uint(OUTER))
        return;
    const int row = keys_at(i);
    if (row < 0 || row >= ROWS)
        return;
#if WIDTH == 8
    T4 a, b;
    u_at8(FROM(i), a, b);
    y_put8(AT(uint(row)), a, b);
#elif WIDTH == 4
    y_put4(AT(uint(row)), u_at4(FROM(i)));
#else
    y_put(AT(uint(row)), u_at(FROM(i)));
#endif
}
