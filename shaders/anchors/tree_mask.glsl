/* Ancestors in a tree: parent[BATCH, N] -> bits[BATCH, N, WORDS], depth[BATCH, N]. One invocation walks up from a node and keeps the
 * bits of one word. */
void main()
{
    LEAVE_SPARE_GROUPS
    const uint at = GROUP * WG + LID;
    const uint word = at % uint(WORDS), i = at / uint(WORDS) % uint(N), b = at / uint(WORDS) / uint(N);
    if (b >= uint(BATCH)) return;
    uint bits = 0u;
    int node = int(i), depth = 0;
    for (; depth <= int(N); depth++) {
        if (uint(node) / 32u == word) bits |= 1u << (uint(node) % 32u);
        node = parent_at(b, uint(node));
        if (node < 0 || node >= int(N)) break;
    }
#if WANT_BITS
    bits_put(b, i, word, bits);
#endif
#if WANT_DEPTH
    if (word == 0u) depth_put(b, i, min(depth, int(N)));
#endif
}
