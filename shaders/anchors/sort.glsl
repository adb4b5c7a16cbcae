/* Blocks of a row sorted by counting, stably: x[OUTER, INNER] (unsigned keys) -> the first KEEP of each block of BLOCK
 * elements, in order; key and at, which is the place in the row, [OUTER, blocks * KEEP].
 *
 * The place of an element in its block is the number of elements that go before it: smaller ones, and equal ones to its left.
 * OWN       a block per invocation, in registers: every pair is compared once. BLOCK is 16
 * otherwise a block per workgroup of WGSIZE <= BLOCK / 4: its keys wait in shared memory
 * WANT_KEY  store keys too
 * Shared bytes: 4 * BLOCK unless OWN. */
#define BLOCKS ((uint(INNER) + BLOCK - 1) / BLOCK)

void put(uint o, uint block, uint i, uint place, uint key)
{
    if (place >= KEEP || block * BLOCK + i >= uint(INNER))
        return;
#if WANT_KEY
    key_put(o, block * KEEP + place, key);
#endif
    at_put(o, block * KEEP + place, int(block * BLOCK + i));
}

#if OWN
void main()
{
    LEAVE_SPARE_GROUPS
    const uint me = GROUP * WGSIZE + LID, o = me / BLOCKS, block = me % BLOCKS;
    if (o >= uint(OUTER))
        return;
    uint key[BLOCK], place[BLOCK];
    [[unroll]] for (uint i = 0; i < BLOCK; i += 4) {
        const uint from = block * BLOCK + i;
        const uvec4 v = x_at4(o, min(from, (uint(INNER) - 1) & ~3u));
        [[unroll]] for (uint e = 0; e < 4; e++) {
            key[i + e] = from + e < uint(INNER) ? v[e] : 0xFFFFFFFFu;
            place[i + e] = i + e;
        }
    }
    /* Each element starts where it stands; a larger one to its left lets it pass. */
    [[unroll]] for (uint i = 0; i < BLOCK; i++)
        [[unroll]] for (uint j = i + 1; j < BLOCK; j++) {
            const uint passes = key[i] > key[j] ? 1 : 0;
            place[i] += passes;
            place[j] -= passes;
        }
    [[unroll]] for (uint i = 0; i < BLOCK; i++)
        put(o, block, i, place[i], key[i]);
}
#else
shared uvec4 keys[BLOCK / 4];
#define EACH (BLOCK / WGSIZE)

void main()
{
    LEAVE_SPARE_GROUPS
    const uint o = GROUP / BLOCKS, block = GROUP % BLOCKS;
    for (uint i = LID; i < BLOCK / 4; i += WGSIZE) {
        const uint from = block * BLOCK + 4 * i;
        const uvec4 v = x_at4(o, min(from, (uint(INNER) - 1) & ~3u));
        keys[i] = mix(uvec4(0xFFFFFFFFu), v, lessThan(from + uvec4(0, 1, 2, 3), uvec4(uint(INNER))));
    }
    barrier();
    uint own[EACH], place[EACH];
    [[unroll]] for (uint e = 0; e < EACH; e++) {
        const uint i = LID + e * WGSIZE;
        own[e] = keys[i / 4][i % 4];
        place[e] = 0;
    }
    for (uint j = 0; j < BLOCK; j += 4) {
        const uvec4 v = keys[j / 4];
        [[unroll]] for (uint e = 0; e < EACH; e++) {
            const uint i = LID + e * WGSIZE;
            [[unroll]] for (uint c = 0; c < 4; c++)
                place[e] += v[c] < own[e] || (v[c] == own[e] && j + c < i) ? 1 : 0;
        }
    }
    [[unroll]] for (uint e = 0; e < EACH; e++)
        put(o, block, LID + e * WGSIZE, place[e], own[e]);
}
#endif
