/* Pairs of sorted runs merged, stably: key, at [OUTER, INNER] in runs of RUN elements (the last may be shorter) -> the first
 * KEEP of each pair, key and at [OUTER, ..] in runs of KEEP.
 *
 * An invocation makes EACH neighbouring elements of a merged run. A bisection along the diagonal finds how many of the
 * elements before them come from the left run; equal keys come from the left first.
 * RUN, KEEP, PAIRS (pairs of runs in a row) and PART_BITS (2^PART_BITS * EACH >= KEEP) are parameters: one kernel for all merges
 * WANT_KEY  store keys too */

void main()
{
    LEAVE_SPARE_GROUPS
    const uint me = GROUP * WGSIZE + LID;
    const uint whole = me >> PART_BITS, first = (me - (whole << PART_BITS)) * EACH;
    const uint o = uint(OUTER) == 1 ? 0 : whole / PAIRS, pair = whole - o * PAIRS;
    if (o >= uint(OUTER) || pair >= PAIRS)
        return;
    const uint a0 = pair * 2 * RUN, b0 = min(a0 + RUN, uint(INNER));
    const uint na = b0 - a0, nb = min(b0 + RUN, uint(INNER)) - b0;
    const uint end = min(min(first + EACH, KEEP), na + nb);
    if (first >= end)
        return;
    uint lo = first > nb ? first - nb : 0, hi = min(first, na);
    while (lo < hi) {
        const uint mid = (lo + hi) / 2;
        if (ka_at(o, a0 + mid) <= ka_at(o, b0 + first - 1 - mid))
            lo = mid + 1;
        else
            hi = mid;
    }
    uint a = lo, b = first - lo;
    uint ka = ka_at(o, a0 + min(a, na - 1)), kb = ka_at(o, min(b0 + b, uint(INNER) - 1));
    for (uint i = first; i < end; i++) {
        const bool left = b >= nb || (a < na && ka <= kb);
        const uint to = pair * KEEP + i;
#if WANT_KEY
        key_put(o, to, left ? ka : kb);
#endif
        at_put(o, to, ia_at(o, left ? a0 + a : b0 + b));
        a += left ? 1 : 0;
        b += left ? 0 : 1;
        const uint next = ka_at(o, left ? a0 + min(a, na - 1) : min(b0 + b, uint(INNER) - 1));
        ka = left ? next : ka;
        kb = left ? kb : next;
    }
}
