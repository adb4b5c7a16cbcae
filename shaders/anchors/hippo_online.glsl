/* HiPPO-LegS coefficients of u[ROWS, STEPS] as it arrives: step k solves
 *   (I - A / 2k) c' = (I + A / 2k) c + B u / k,  A = -(diag(n + 1) + strictly lower r_n r_m),  B = r,  r_n = sqrt(2 n + 1),
 * by one pass over n, since row n of A only needs the sum of r_m c_m over m < n. One row per invocation.
 *
 * N      coefficients, kept in registers or the invocation's memory
 * EVERY  y[ROWS, STEPS / EVERY, N] takes the coefficients after each EVERY steps
 * BEFORE steps that went before, besides start[0] (START)
 * STATE  state[ROWS, N] is what to start from; otherwise 0 */
void main()
{
    LEAVE_SPARE_GROUPS
    const uint row = GROUP * WGSIZE + LID;
    if (row >= uint(ROWS))
        return;
    float c[N];
    uint k = uint(BEFORE);
#if START
    k += uint(start_at(0));
#endif
    for (uint n = 0; n < N; n++) {
#if STATE
        c[n] = state_at(row, n);
#else
        c[n] = 0.0;
#endif
    }
    [[dont_unroll]] for (uint t = 0; t < uint(STEPS) / EVERY; t++) {
        [[dont_unroll]] for (uint s = 0; s < EVERY; s++) {
            k++;
            const float twice = float(2 * k);
            float rest = 2.0 * u_at(row, t * EVERY + s); /* 2 u - sum of r_m (c_m + c'_m), m < n */
            [[dont_unroll]] for (uint n = 0; n < N; n++) {
                const float r = sqrt(float(2 * n + 1)), d = float(n + 1), old = c[n];
                const float now = ((twice - d) * old + r * rest) / (twice + d);
                c[n] = now;
                rest -= r * (old + now);
            }
        }
        [[dont_unroll]] for (uint n = 0; n < N; n++)
            y_put(row, t, n, c[n]);
    }
}
