/* A line per THREADS invocations, LINES lines per workgroup; points travel between passes through shared memory.
 *
 * Stockham's order: pass p reads elements j + q * POINTS / r and writes runs of the product of the radices so far, so that
 * the first pass reads and the last one writes memory in natural order. `passes` and `passes_back` are printed for the
 * length. ACROSS: neighbouring lanes hold neighbouring lines.
 * w: the LENGTH roots e^(-2 pi i j / LENGTH). UNITS: lines, or pairs of lines, per place of the inner axis. Shared bytes: 8 * LINES * POINTS. */
void main()
{
    LEAVE_SPARE_GROUPS
#if ACROSS
    const uint slot = LID % LINES, t = LID / LINES;
#else
    const uint slot = LID / THREADS, t = LID % THREADS;
#endif
    const uint line = min(GROUP * LINES + slot, uint(UNITS) * uint(INNER) - 1u);
    const bool live = GROUP * LINES + slot < uint(UNITS) * uint(INNER) && slot < LINES;
    line_b = line / uint(INNER);
    line_i = line % uint(INNER);
    passes(slot, t, live);
#if FILTER
    passes_back(slot, t, live);
#elif REAL == 1 && PACKED
    barrier();
    for (uint k = t; k < POINTS + 1u; k += THREADS)
        if (live && k < KEEP) store(k, unpacked_by(w_at(k), s[AT(k % POINTS)], s[AT((POINTS - k) % POINTS)]));
#endif
}
