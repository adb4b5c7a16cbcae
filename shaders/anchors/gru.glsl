/* Gated recurrent units over time: gi[T, NB, 3 H] (inputs times their weights), wh[3 H, H], bh[3 H], h0[NB, H] -> y[T, NB, H].
 * A workgroup takes one batch entry; its lanes share the units, and the state lies in shared memory, once for the step before and
 * once for this one. HP: H rounded up to 4. Shared bytes: 8 HP. */
shared float state[2 * HP];

float dot_row(uint r, uint from)
{
    float sum = 0.0;
    [[dont_unroll]] for (uint k = 0; k < HP; k += 4)
        sum += dot(wh_at4(r, k), vec4(state[from + k], state[from + k + 1], state[from + k + 2], state[from + k + 3]));
    return sum;
}

void main()
{
    LEAVE_SPARE_GROUPS
    const uint nb = GROUP;
    for (uint j = LID; j < HP; j += WGSIZE) {
        state[j] = 0.0;
        state[HP + j] = 0.0;
#if START
        if (j < H) state[j] = h0_at(nb, j);
#endif
    }
    barrier();
    [[dont_unroll]] for (uint t = 0; t < uint(STEPS); t++) {
        const uint from = (t & 1u) * HP, to = HP - from;
        [[dont_unroll]] for (uint j = LID; j < H; j += WGSIZE) {
            const float r = tf_sigmoid(gi_at(t, nb, GATE_R * H + j) + dot_row(GATE_R * H + j, from) + bh_at(GATE_R * H + j));
            const float z = tf_sigmoid(gi_at(t, nb, GATE_Z * H + j) + dot_row(GATE_Z * H + j, from) + bh_at(GATE_Z * H + j));
            const float n = tf_tanh(gi_at(t, nb, 2 * H + j) + r * (dot_row(2 * H + j, from) + bh_at(2 * H + j)));
            const float h = n + z * (state[from + j] - n);
            state[to + j] = h;
            y_put(t, nb, j, h);
        }
        barrier();
    }
}
