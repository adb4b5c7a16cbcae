/* A line per LANES invocations of a subgroup, without shared memory or barriers; each invocation takes LOOP lines, or fours of neighbours (BESIDE). `prepare` and
 * `transform` are printed for the length. Lanes of lines beyond the last repeat it and store nothing, since all lanes of a
 * subgroup take part in exchanges. */
void main()
{
    LEAVE_SPARE_GROUPS
    const uint lines = uint(UNITS) * (uint(INNER) / uint(BESIDE)), slot = LID / LANES;
    prepare();
    [[dont_unroll]] for (uint u = 0u; u < LOOP; u++) {
        const uint at = (GROUP * (WG / LANES) + slot) * LOOP + u, line = min(at, lines - 1u);
        line_b = line / (uint(INNER) / uint(BESIDE));
        line_i = line % (uint(INNER) / uint(BESIDE)) * uint(BESIDE);
        transform(at < lines);
    }
}
