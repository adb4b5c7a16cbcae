/* test_ssm.c - state-space models: the host's linear algebra and constructions against identities, and on the device what the
 * mathematics promises of kernels, convolutions and steps. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/hippo.h"
#include "support/support.h"

/* ---- linear algebra ---------------------------------------------------------------------------------- */

static double residual(const double *a, const tf_scalar *w, const tf_scalar *v, uint32_t n)
{
    double worst = 0, size = 0;
    for (uint32_t i = 0; i < n * n; i++) size = fmax(size, fabs(a[i]));
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t i = 0; i < n; i++) {
            tf_scalar s = tf_cx_scale(tf_cx_mul(w[k], v[i * n + k]), -1);
            for (uint32_t j = 0; j < n; j++) s = tf_cx_add(s, tf_cx_scale(v[j * n + k], a[i * n + j]));
            worst = fmax(worst, tf_cx_abs(s));
        }
    return worst / (size * n);
}

Test(ssm_host, real_eigenvalues)
{
    static const uint32_t sizes[] = { 1, 2, 3, 5, 16, 33, 64 };
    rng numbers = { 5 };
    for (size_t t = 0; t < COUNT(sizes); t++)
        for (int kind = 0; kind < 3; kind++) {
            const uint32_t n = sizes[t];
            tf_arena a;
            tf_arena_init(&a, NULL);
            double *m = tf_arena_array(&a, double, n * n), *copy = tf_arena_array(&a, double, n * n), *b = tf_arena_array(&a, double, 3 * n);
            tf_scalar *w = tf_arena_array(&a, tf_scalar, n), *v = tf_arena_array(&a, tf_scalar, n * n);
            if (kind == 2) tf_hippo(TUFF_HIPPO_LEGS, n, 1, m, b, b + n);
            for (uint32_t i = 0; i < n * n; i++) m[i] += kind == 2 ? 1e-2 * rng_normal(&numbers) : rng_normal(&numbers);
            for (uint32_t i = 0; i < n && kind == 1; i++)
                for (uint32_t j = 0; j < i; j++) m[i * n + j] = m[j * n + i]; /* symmetric: real eigenvalues only */
            memcpy(copy, m, n * n * sizeof *m);
            cr_assert(tf_eigen_real(copy, n, w, v, &a), "n = %u, kind %d does not converge", n, kind);
            cr_expect(residual(m, w, v, n) < 1e-14, "n = %u, kind %d: |A V - V L| = %g", n, kind, residual(m, w, v, n));
            double trace = 0, imaginary = 0;
            for (uint32_t i = 0; i < n; i++) {
                trace += m[i * n + i] - w[i].re;
                imaginary = fmax(imaginary, fabs(w[i].im));
            }
            cr_expect(fabs(trace) < 1e-10 * n, "n = %u: the eigenvalues' sum is off by %g", n, trace);
            cr_expect(kind != 1 || imaginary == 0, "n = %u: a symmetric matrix has real eigenvalues, not %g i", n, imaginary);
            tf_arena_release(&a);
        }
}

Test(ssm_host, hermitian_eigenvalues)
{
    enum { N = 24 };
    tf_arena a;
    tf_arena_init(&a, NULL);
    rng numbers = { 7 };
    tf_scalar h[N * N], copy[N * N], v[N * N];
    double w[N], worst = 0;
    for (uint32_t i = 0; i < N; i++)
        for (uint32_t j = 0; j <= i; j++) {
            h[i * N + j] = tf_cx(rng_normal(&numbers), i == j ? 0 : rng_normal(&numbers));
            h[j * N + i] = tf_cx_conj(h[i * N + j]);
        }
    memcpy(copy, h, sizeof h);
    cr_assert(tf_eigen_hermitian(copy, N, w, v, &a));
    for (uint32_t k = 0; k < N; k++) {
        cr_expect(!k || w[k] >= w[k - 1]);
        for (uint32_t i = 0; i < N; i++) {
            tf_scalar s = tf_cx_scale(v[i * N + k], -w[k]), dot = { 0, 0 };
            for (uint32_t j = 0; j < N; j++) {
                s = tf_cx_add(s, tf_cx_mul(h[i * N + j], v[j * N + k]));
                dot = tf_cx_add(dot, tf_cx_mul(tf_cx_conj(v[j * N + i]), v[j * N + k]));
            }
            worst = fmax(worst, fmax(tf_cx_abs(s), tf_cx_abs(tf_cx_sub(dot, tf_cx(i == k, 0)))));
        }
    }
    cr_expect(worst < 1e-13, "off by %g", worst);
    tf_arena_release(&a);
}

/* V = diag(1, 10, 100) times a unitary matrix. */
Test(ssm_host, condition)
{
    const double c = sqrt(0.5);
    tf_scalar v[9] = { { c, 0 }, { 0, c }, { 0, 0 }, { 0, 10 * c }, { 10 * c, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 }, { 60, 80 } };
    cr_expect(fabs(tf_condition(v, 3) - 100) < 1e-11);
    tf_scalar dependent[4] = { { 1, 0 }, { 2, 0 }, { 2, 0 }, { 4, 0 } };
    cr_expect(tf_condition(dependent, 2) > 1e14);
}

/* e^{sA} e^{tA} = e^{(s+t)A}, and e^{tA} b of LegS in closed form: r_n e^{-t} P_n(2 e^{-t} - 1). */
Test(ssm_host, exponential)
{
    enum { N = 12 };
    tf_arena arena;
    tf_arena_init(&arena, NULL);
    double a[N * N], b[N], p[N], x[N * N], y[N * N], e[3][N * N], worst = 0;
    static const double times[3] = { 0.3, 1.1, 1.4 };
    tf_hippo(TUFF_HIPPO_LEGS, N, 1, a, b, p);
    for (int t = 0; t < 3; t++) {
        for (int i = 0; i < N * N; i++) x[i] = a[i] * times[t];
        cr_assert(tf_expm(x, N, e[t], &arena));
        const double s = 2 * exp(-times[t]) - 1;
        double p0 = 1, p1 = s;
        for (int n = 0; n < N; n++) {
            double got = 0;
            for (int k = 0; k < N; k++) got += e[t][n * N + k] * b[k];
            worst = fmax(worst, fabs(got - sqrt(2 * n + 1) * exp(-times[t]) * p0));
            const double next = ((2 * n + 3) * s * p1 - (n + 1) * p0) / (n + 2);
            p0 = p1;
            p1 = next;
        }
    }
    cr_expect(worst < 1e-12, "e^(tA) b is off by %g", worst);
    tf_multiply(e[0], e[1], y, N);
    worst = 0;
    for (int i = 0; i < N * N; i++) worst = fmax(worst, fabs(y[i] - e[2][i]));
    cr_expect(worst < 1e-11, "the exponentials' product is off by %g", worst);
    tf_arena_release(&arena);
}

/* V (diag(lam) - p'conj(p)) V* over both halves is the matrix, V* b gives b back. */
Test(ssm_host, normal_plus_low_rank)
{
    static const uint32_t sizes[] = { 2, 8, 32 };
    for (int basis = TUFF_HIPPO_LEGS; basis <= TUFF_HIPPO_FOUT; basis++)
        for (size_t t = 0; t < COUNT(sizes); t++) {
            const uint32_t n = sizes[t], half = n / 2, rank = tf_hippo_rank((tuff_hippo)basis);
            tf_arena arena;
            tf_nplr x;
            double a[32 * 32], b[32], p[64], worst = 0;
            tf_arena_init(&arena, NULL);
            tf_hippo((tuff_hippo)basis, n, 2, a, b, p);
            cr_assert(tf_hippo_normal((tuff_hippo)basis, n, 2, &x, &arena));
            for (uint32_t i = 0; i < n; i++) {
                double back = 0;
                for (uint32_t m = 0; m < half; m++) back += 2 * tf_cx_mul(x.v[i * half + m], x.b[m]).re;
                worst = fmax(worst, fabs(back - b[i]));
                for (uint32_t k = 0; k < n; k++) {
                    double s = 0;
                    for (uint32_t m = 0; m < half; m++)
                        s += 2 * tf_cx_mul(tf_cx_mul(x.v[i * half + m], x.lam[m]), tf_cx_conj(x.v[k * half + m])).re;
                    for (uint32_t r = 0; r < rank; r++) {
                        double left = 0, right = 0;
                        for (uint32_t m = 0; m < half; m++) {
                            left += 2 * tf_cx_mul(x.v[i * half + m], x.p[r * half + m]).re;
                            right += 2 * tf_cx_mul(x.v[k * half + m], x.p[r * half + m]).re;
                        }
                        s -= left * right;
                    }
                    worst = fmax(worst, fabs(s - a[i * n + k]));
                }
            }
            cr_expect(worst < 1e-11 * n, "basis %d, n = %u: off by %g", basis, n, worst);
            tf_arena_release(&arena);
        }
}

/* Two steps of zoh are one of twice the length; steps from 1e-7 to 100, eigenvalues to -1e5. */
Test(ssm_host, steps)
{
    static const tf_scalar spectrum[] = { { -0.5, 1303 }, { -1e5, 3 }, { -1e-9, 0.3 }, { 0, 0 }, { -3, 0 } };
    static const double steps[] = { 1e-7, 1e-5, 1e-3, 0.1, 100 };
    for (size_t i = 0; i < COUNT(spectrum); i++)
        for (size_t j = 0; j < COUNT(steps); j++) {
            tf_scalar a, b, a2, b2;
            tf_discretize(TUFF_DISC_ZOH, spectrum[i], steps[j], &a, &b);
            tf_discretize(TUFF_DISC_ZOH, spectrum[i], 2 * steps[j], &a2, &b2);
            const double da = tf_cx_abs(tf_cx_sub(tf_cx_mul(a, a), a2)), db = tf_cx_abs(tf_cx_sub(tf_cx_add(tf_cx_mul(a, b), b), b2));
            cr_expect(da < 1e-11 && db <= 1e-11 * tf_cx_abs(b2), "lambda %g%+gi, dt %g: %g, %g", spectrum[i].re, spectrum[i].im, steps[j], da, db);
            for (int method = TUFF_DISC_BILINEAR; method <= TUFF_DISC_BACKWARD; method++) {
                tf_discretize((tuff_discretization)method, spectrum[i], 1e-7, &a2, &b2);
                tf_discretize(TUFF_DISC_ZOH, spectrum[i], 1e-7, &a, &b);
                cr_expect(tf_cx_abs(tf_cx_sub(a, a2)) < 1e-4, "method %d differs from zoh at a tiny step", method);
            }
        }
}

/* ---- host rows in graphs ------------------------------------------------------------------------------ */

static tuff_program *compile(tuff_device *dev, tuff_graph *g)
{
    tuff_program *p = NULL;
    cr_assert(!tuff_compile(dev, g, NULL, &p), "%s", tuff_graph_error(g));
    return p;
}

static const char *compile_error(tuff_device *dev, tuff_graph *g)
{
    tuff_program *p = NULL;
    cr_expect(tuff_compile(dev, g, NULL, &p) == TUFF_E_ARGUMENT && !p);
    return tuff_graph_error(g);
}

/* A large perturbation makes the model unstable; it is reported, and refused on demand. */
Test(ssm, perturbation_reports_stability)
{
    enum { N = 16 };
    float e[N * N], c[N], lam[2 * N], stability = 0, condition = 0, worst = -1e9f;
    rng numbers = { 3 };
    tuff_device *dev = open_device(NULL);
    for (int i = 0; i < N * N; i++) e[i] = 4.0f * (float)rng_normal(&numbers);
    for (int i = 0; i < N; i++) c[i] = 1;
    for (int strict = 0; strict < 2; strict++) {
        tuff_graph *g = tuff_graph_create(NULL);
        const tuff_tensor te = tuff_const(g, TUFF_F32, TUFF_SHAPE(N, N), e, NULL), tc = tuff_const(g, TUFF_F32, TUFF_SHAPE(N), c, NULL);
        const tuff_tensor t = tuff_hippo_ptd(te, tc, TUFF_HIPPO_LEGS, 0.01, 8, &(tuff_ptd_desc){ .require_stable = strict });
        tuff_output(g, "lam", t);
        tuff_output(g, "condition", tuff_result(t, 3));
        tuff_output(g, "stability", tuff_result(t, 4));
        if (strict) {
            const char *text = compile_error(dev, g);
            cr_expect(strstr(text, "unstable") && strstr(text, "hippo_ptd"), "%s", text);
        } else {
            tuff_program *p = compile(dev, g);
            cr_assert(!tuff_run(p) && !tuff_read(p, "lam", lam, sizeof lam) && !tuff_read(p, "stability", &stability, sizeof stability) &&
                      !tuff_read(p, "condition", &condition, sizeof condition), "%s", tuff_program_error(p));
            for (int i = 0; i < N; i++) worst = fmaxf(worst, lam[2 * i]);
            cr_expect(stability == worst && stability > 0, "stability %g, largest real part %g", (double)stability, (double)worst);
            cr_expect(condition > 1);
            tuff_program_destroy(p);
        }
        tuff_graph_destroy(g);
    }
    tuff_device_close(dev);
}

/* What runs on the host needs constants: the message names the operand, and tuff_make_const helps. */
Test(ssm, inputs_become_constants)
{
    static const char text[] = "a = input f32[3,3]\nb = input f32[3]\ndt = input f32[2]\nx, y = discretize(a, b, dt) {kind=dense}\noutput y\n";
    static const float a[9] = { -1, 0, 0, 0, -2, 0, 0, 0, -3 }, b[3] = { 1, 1, 1 }, dt[2] = { 0.5f, 2 };
    tuff_device *dev = open_device(NULL);
    tuff_graph *g = NULL;
    char message[256];
    float y[6];
    cr_assert(!tuff_graph_parse(text, sizeof text - 1, NULL, &g, message, sizeof message), "%s", message);
    cr_expect(strstr(compile_error(dev, g), "constants"), "%s", tuff_graph_error(g));
    cr_assert(!tuff_make_const(g, "a", a, sizeof a) && !tuff_make_const(g, "b", b, sizeof b) && !tuff_make_const(g, "dt", dt, sizeof dt));
    tuff_program *p = compile(dev, g);
    cr_assert(!tuff_run(p) && !tuff_read(p, "y", y, sizeof y), "%s", tuff_program_error(p));
    for (int i = 0; i < 6; i++) {
        const double k = i % 3 + 1, want = (1 - exp(-k * (double)dt[i / 3])) / k;
        cr_expect(fabs((double)y[i] - want) < 1e-7, "element %d is %g, not %g", i, (double)y[i], want);
    }
    tuff_program_destroy(p);
    cr_expect(tuff_make_const(g, "nothing", a, sizeof a) == TUFF_E_NAME);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* ---- kernels ---------------------------------------------------------------------------------------------- */

static double distance(const float *got, const double *want, size_t n)
{
    double error = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += want[i] * want[i];
        if (!isfinite(got[i])) return INFINITY;
    }
    return norm > 0 ? sqrt(error / norm) : sqrt(error);
}

typedef struct modes { float lam[2 * 64], b[2 * 64], c[2 * 64], dt[8]; } modes;

/* One model as constants or as inputs. */
static void add_modes(tuff_graph *g, const modes *m, int h, int n, bool constant, tuff_tensor t[4])
{
    static const char *const names[] = { "lam", "b", "c", "dt" };
    const void *const data[] = { m->lam, m->b, m->c, m->dt };
    for (int i = 0; i < 4; i++) {
        const tuff_shape shape = i < 3 ? TUFF_SHAPE(h, n) : TUFF_SHAPE(h);
        const tuff_dtype dtype = i < 3 ? TUFF_C64 : TUFF_F32;
        t[i] = constant ? tuff_const(g, dtype, shape, data[i], NULL) : tuff_input(g, names[i], dtype, shape);
    }
}

static void write_modes(tuff_program *p, const modes *m, int h, int n)
{
    const size_t bytes = (size_t)(h * n) * 2 * sizeof(float);
    cr_assert(!tuff_write(p, "lam", m->lam, bytes) && !tuff_write(p, "b", m->b, bytes) && !tuff_write(p, "c", m->c, bytes) &&
              !tuff_write(p, "dt", m->dt, (size_t)h * sizeof(float)), "%s", tuff_program_error(p));
}

/* Kernels of 65536 elements with modes that hardly decay, by both routes. */
Test(ssm, long_kernels)
{
    enum { N = 8, LENGTH = 65536 };
    static const float re[N] = { -1e-3f, -1e-4f, -0.5f, -1e-3f, 0, -1e-2f, -1e-3f, -2e-3f };
    static const float im[N] = { 1000, 0.26f, 20860, 77.7f, 3.14159f, 0, 4096, 1 };
    modes m = { .dt = { 0.05f } };
    tuff_device *dev = open_device(NULL);
    float *got = malloc(LENGTH * sizeof *got);
    double *want = malloc(LENGTH * sizeof *want);
    cr_assert(got && want);
    for (int i = 0; i < N; i++) {
        m.lam[2 * i] = re[i];
        m.lam[2 * i + 1] = im[i];
        m.b[2 * i] = m.c[2 * i + 1] = 1;
        m.c[2 * i] = 0.1f * (float)i;
    }
    for (int l = 0; l < LENGTH; l++) {
        want[l] = 0;
        for (int i = 0; i < N; i++) {
            tf_scalar ab, bb;
            const tf_scalar lam = tf_cx((double)re[i], (double)im[i]), x = tf_cx_exp(tf_cx_scale(lam, (double)m.dt[0] * l));
            tf_discretize(TUFF_DISC_ZOH, lam, (double)m.dt[0], &ab, &bb);
            want[l] += 2 * tf_cx_mul(tf_cx_mul(bb, x), tf_cx((double)m.c[2 * i], (double)m.c[2 * i + 1])).re;
        }
    }
    for (int constant = 0; constant < 2; constant++) {
        tuff_graph *g = tuff_graph_create(NULL);
        tuff_tensor t[4];
        add_modes(g, &m, 1, N, constant, t);
        tuff_output(g, "k", tuff_s4d_kernel(t[0], t[1], t[2], t[3], LENGTH, NULL));
        tuff_program *p = compile(dev, g);
        if (!constant) write_modes(p, &m, 1, N);
        cr_assert(!tuff_run(p) && !tuff_read(p, "k", got, LENGTH * sizeof *got), "%s", tuff_program_error(p));
        const double d = distance(got, want, LENGTH);
        cr_log_info("%s: relative L2 %.2g", constant ? "tables from the host" : "tables from the device", d);
        cr_expect(d < 1e-6, "%s: %g", constant ? "host" : "device", d);
        tuff_program_destroy(p);
        tuff_graph_destroy(g);
    }
    free(got);
    free(want);
    tuff_device_close(dev);
}

/* Steps from 1e-7 to 100, eigenvalues to -1e5: finite, and right. */
Test(ssm, extreme_steps)
{
    enum { H = 5, N = 4, LENGTH = 300 };
    static const float steps[H] = { 1e-7f, 1e-5f, 1e-2f, 1, 100 }, re[N] = { -1e5f, -1, -1e-6f, -300 }, im[N] = { 0, 3, 0.01f, 2e4f };
    modes m;
    double want[LENGTH];
    float got[H * LENGTH];
    tuff_device *dev = open_device(NULL);
    for (int i = 0; i < H * N; i++) {
        m.lam[2 * i] = re[i % N];
        m.lam[2 * i + 1] = im[i % N];
        m.b[2 * i] = m.c[2 * i] = 1;
        m.b[2 * i + 1] = m.c[2 * i + 1] = 0;
        m.dt[i / N] = steps[i / N];
    }
    for (int disc = TUFF_DISC_ZOH; disc <= TUFF_DISC_BILINEAR; disc++)
        for (int constant = disc == TUFF_DISC_BILINEAR; constant < 2; constant++) {
            tuff_graph *g = tuff_graph_create(NULL);
            tuff_tensor t[4];
            add_modes(g, &m, H, N, constant, t);
            tuff_output(g, "k", tuff_s4d_kernel(t[0], t[1], t[2], t[3], LENGTH, &(tuff_s4d_kernel_desc){ .disc = (tuff_discretization)disc }));
            tuff_program *p = compile(dev, g);
            if (!constant) write_modes(p, &m, H, N);
            cr_assert(!tuff_run(p) && !tuff_read(p, "k", got, sizeof got), "%s", tuff_program_error(p));
            for (int h = 0; h < H; h++) {
                memset(want, 0, sizeof want);
                for (int i = 0; i < N; i++) {
                    tf_scalar ab, x;
                    tf_discretize((tuff_discretization)disc, tf_cx((double)re[i], (double)im[i]), (double)steps[h], &ab, &x);
                    for (int l = 0; l < LENGTH; l++, x = tf_cx_mul(x, ab)) want[l] += 2 * x.re;
                }
                const double d = distance(got + h * LENGTH, want, LENGTH);
                cr_expect(d < 2e-6, "dt %g, disc %d, %s: relative L2 %g", (double)steps[h], disc, constant ? "constant" : "inputs", d);
            }
            tuff_program_destroy(p);
            tuff_graph_destroy(g);
        }
    tuff_device_close(dev);
}

/* The kernel of HiPPO in its diagonal-plus-low-rank form is that of the matrix itself, stepped in double precision. */
Test(ssm, kernel_of_the_dense_system)
{
    enum { N = 16, HALF = N / 2, LENGTH = 1500 };
    static const double step = 0.01;
    tuff_device *dev = open_device(NULL);
    for (int basis = TUFF_HIPPO_LEGS; basis <= TUFF_HIPPO_FOUT; basis++) {
        const uint32_t rank = tf_hippo_rank((tuff_hippo)basis);
        double a[N * N], b[N], p[2 * N], left[N * N], right[N * (N + 1)], want[LENGTH], next[N], c[N];
        float lam[2 * HALF], bh[2 * HALF], ch[2 * HALF], ph[4 * HALF], dt = (float)step, got[LENGTH];
        tf_arena arena;
        tf_nplr x;
        tf_arena_init(&arena, NULL);
        tf_hippo((tuff_hippo)basis, N, 1, a, b, p);
        cr_assert(tf_hippo_normal((tuff_hippo)basis, N, 1, &x, &arena));
        for (int i = 0; i < N; i++) c[i] = 1.0 / (i + 1);
        for (int i = 0; i < HALF; i++) {
            tf_scalar s = { 0, 0 };
            for (int k = 0; k < N; k++) s = tf_cx_add(s, tf_cx_scale(x.v[k * HALF + i], c[k]));
            const tf_scalar all[3] = { x.lam[i], x.b[i], s };
            float *const to[3] = { lam, bh, ch };
            for (int k = 0; k < 3; k++) to[k][2 * i] = (float)all[k].re, to[k][2 * i + 1] = (float)all[k].im;
            for (uint32_t r = 0; r < rank; r++) {
                ph[2 * (r * HALF + (uint32_t)i)] = (float)x.p[r * HALF + (uint32_t)i].re;
                ph[2 * (r * HALF + (uint32_t)i) + 1] = (float)x.p[r * HALF + (uint32_t)i].im;
            }
        }
        for (int i = 0; i < N; i++) {
            for (int k = 0; k < N; k++) {
                left[i * N + k] = (i == k) - (double)dt / 2 * a[i * N + k];
                right[i * (N + 1) + k] = (i == k) + (double)dt / 2 * a[i * N + k];
            }
            right[i * (N + 1) + N] = (double)dt * b[i];
        }
        cr_assert(tf_solve(left, N, right, N + 1));
        for (int i = 0; i < N; i++) b[i] = right[i * (N + 1) + N];
        for (int l = 0; l < LENGTH; l++) {
            want[l] = 0;
            for (int i = 0; i < N; i++) {
                want[l] += c[i] * b[i];
                next[i] = 0;
                for (int k = 0; k < N; k++) next[i] += right[i * (N + 1) + k] * b[k];
            }
            memcpy(b, next, sizeof b);
        }
        tuff_graph *g = tuff_graph_create(NULL);
        const tuff_shape shape = TUFF_SHAPE(1, HALF);
        tuff_output(g, "k", tuff_s4_kernel(tuff_const(g, TUFF_C64, shape, lam, NULL), tuff_const(g, TUFF_C64, TUFF_SHAPE(rank, 1, HALF), ph, NULL),
                                           tuff_const(g, TUFF_C64, shape, bh, NULL), tuff_const(g, TUFF_C64, shape, ch, NULL),
                                           tuff_const(g, TUFF_F32, TUFF_SHAPE(1), &dt, NULL), LENGTH, NULL));
        tuff_program *program = compile(dev, g);
        cr_assert(!tuff_run(program) && !tuff_read(program, "k", got, sizeof got), "%s", tuff_program_error(program));
        /* The parameters are rounded to f32, which moves poles by 1e-7 of their size over 1500 steps. */
        const double d = distance(got, want, LENGTH);
        cr_expect(d < 2e-5, "basis %d: relative L2 %g", basis, d);
        tuff_program_destroy(program);
        tuff_graph_destroy(g);
        tf_arena_release(&arena);
    }
    tuff_device_close(dev);
}

/* ---- streams ------------------------------------------------------------------------------------------------ */

enum { FEATURES = 3, STATES = 12, BATCH = 2 };

typedef struct stream { tuff_tensor lam, p, b, c, dt, d; } stream;

static tuff_tensor per_feature(tuff_tensor x, int64_t n) { return tuff_expand(tuff_unsqueeze(x, TUFF_INTS(0)), TUFF_SHAPE(FEATURES, n)); }

static stream make_stream(tuff_graph *g, bool low_rank)
{
    static const float skip[FEATURES] = { 1, -0.5f, 0.25f };
    const tuff_tensor nplr = tuff_hippo_nplr(g, TUFF_HIPPO_LEGS, 2 * STATES, NULL), lin = tuff_s4d_init(g, TUFF_S4D_LIN, 2 * STATES);
    stream s = { .lam = per_feature(nplr, STATES), .b = per_feature(tuff_result(nplr, 1), STATES), .c = per_feature(tuff_result(lin, 1), STATES) };
    if (low_rank) s.p = tuff_expand(tuff_unsqueeze(tuff_result(nplr, 2), TUFF_INTS(1)), TUFF_SHAPE(1, FEATURES, STATES));
    s.dt = tuff_timescale_init(g, FEATURES, &(tuff_timescale_desc){ .min = 0.005, .seed = 9 });
    s.d = tuff_const(g, TUFF_F32, TUFF_SHAPE(FEATURES), skip, NULL);
    return s;
}

/* length > 0: a step program with the state in tuff_state, shared with `share`. */
static tuff_program *stream_program(tuff_device *dev, bool low_rank, int64_t length, const tuff_program *share)
{
    tuff_graph *g = tuff_graph_create(NULL);
    const stream s = make_stream(g, low_rank);
    const tuff_tensor u = tuff_input(g, "u", TUFF_F32, TUFF_SHAPE(BATCH, FEATURES, length));
    const tuff_tensor state = tuff_state(g, "state", TUFF_C64, TUFF_SHAPE(BATCH, FEATURES, STATES));
    const tuff_tensor y = tuff_s4_scan(u, s.lam, s.b, s.c, s.dt, &(tuff_s4_scan_desc){ .p = s.p, .d = s.d, .state = state });
    tuff_output(g, "y", y);
    tuff_assign(state, tuff_result(y, 1));
    tuff_program *p = NULL;
    cr_assert(!tuff_compile(dev, g, &(tuff_compile_desc){ .share = share }, &p), "%s", tuff_graph_error(g));
    tuff_graph_destroy(g);
    return p;
}

/* Feeds u[BATCH, FEATURES, total] from `at` on. */
static void feed(tuff_program *p, const float *u, float *y, int total, int at, int length)
{
    float *piece = malloc((size_t)(BATCH * FEATURES * length) * sizeof *piece);
    const size_t bytes = (size_t)(BATCH * FEATURES * length) * sizeof *piece;
    for (int row = 0; row < BATCH * FEATURES; row++) memcpy(piece + row * length, u + row * total + at, (size_t)length * sizeof *piece);
    cr_assert(!tuff_write(p, "u", piece, bytes) && !tuff_run(p) && !tuff_read(p, "y", piece, bytes), "%s", tuff_program_error(p));
    for (int row = 0; row < BATCH * FEATURES; row++) memcpy(y + row * total + at, piece + row * length, (size_t)length * sizeof *piece);
    free(piece);
}

/* The whole sequence as a convolution, as one scan of several chunks, and as a stream: a long piece first, then blocks, then samples, by programs
 * that share the state. */
Test(ssm, stream_equals_whole)
{
    enum { TOTAL = 640, FIRST = 603, BLOCK = 7, SIZE = BATCH * FEATURES * TOTAL };
    tuff_device *dev = open_device(NULL);
    float *u = malloc(3 * SIZE * sizeof *u), *whole = u + SIZE, *y = whole + SIZE;
    double *want = malloc(SIZE * sizeof *want);
    rng numbers = { 11 };
    cr_assert(u && want);
    for (int i = 0; i < SIZE; i++) u[i] = (float)rng_normal(&numbers);
    for (int low_rank = 0; low_rank < 2; low_rank++) {
        tuff_graph *g = tuff_graph_create(NULL);
        const stream s = make_stream(g, low_rank);
        const tuff_tensor in = tuff_input(g, "u", TUFF_F32, TUFF_SHAPE(BATCH, FEATURES, TOTAL));
        const tuff_tensor k = low_rank ? tuff_s4_kernel(s.lam, s.p, s.b, s.c, s.dt, TOTAL, NULL) : tuff_s4d_kernel(s.lam, s.b, s.c, s.dt, TOTAL, NULL);
        tuff_output(g, "y", tuff_causal_conv(in, k, &(tuff_causal_conv_desc){ .d = s.d }));
        tuff_program *p = compile(dev, g);
        feed(p, u, whole, TOTAL, 0, TOTAL);
        for (int i = 0; i < SIZE; i++) want[i] = (double)whole[i];
        tuff_program_destroy(p);
        tuff_graph_destroy(g);

        p = stream_program(dev, low_rank, TOTAL, NULL);
        feed(p, u, y, TOTAL, 0, TOTAL);
        cr_expect(distance(y, want, SIZE) < 2e-6, "%s: one scan differs from the convolution by %g", low_rank ? "S4" : "S4D", distance(y, want, SIZE));
        tuff_program_destroy(p);

        memset(y, 0, SIZE * sizeof *y);
        tuff_program *first = stream_program(dev, low_rank, FIRST, NULL), *block = stream_program(dev, low_rank, BLOCK, first);
        tuff_program *sample = stream_program(dev, low_rank, 1, block);
        int at = FIRST;
        feed(first, u, y, TOTAL, 0, FIRST);
        for (; at + BLOCK <= TOTAL - 12; at += BLOCK) feed(block, u, y, TOTAL, at, BLOCK);
        for (; at < TOTAL; at++) feed(sample, u, y, TOTAL, at, 1);
        cr_expect(distance(y, want, SIZE) < 2e-6, "%s: the stream differs from the convolution by %g", low_rank ? "S4" : "S4D", distance(y, want, SIZE));
        tuff_program_destroy(sample);
        tuff_program_destroy(block);
        tuff_program_destroy(first);
    }
    free(u);
    free(want);
    tuff_device_close(dev);
}

/* The kernel in a state of its own: one program makes it, another convolves with it, run after run. */
Test(ssm, cached_kernel)
{
    enum { LENGTH = 200, SIZE = BATCH * FEATURES * LENGTH };
    tuff_device *dev = open_device(NULL);
    float u[SIZE], y[2][SIZE];
    double want[SIZE];
    rng numbers = { 12 };
    for (int i = 0; i < SIZE; i++) u[i] = (float)rng_normal(&numbers);
    tuff_program *p[3] = { NULL };
    for (int kind = 0; kind < 3; kind++) { /* make it; use it; both at once */
        tuff_graph *g = tuff_graph_create(NULL);
        const stream s = make_stream(g, false);
        tuff_tensor k = tuff_s4d_kernel(s.lam, s.b, s.c, s.dt, LENGTH, NULL);
        if (kind < 2) {
            const tuff_tensor cache = tuff_state(g, "kernel", TUFF_F32, TUFF_SHAPE(FEATURES, LENGTH));
            if (kind == 0) tuff_assign(cache, k);
            k = cache;
        }
        if (kind > 0) tuff_output(g, "y", tuff_causal_conv(tuff_input(g, "u", TUFF_F32, TUFF_SHAPE(BATCH, FEATURES, LENGTH)), k, &(tuff_causal_conv_desc){ .d = s.d }));
        cr_assert(!tuff_compile(dev, g, &(tuff_compile_desc){ .share = kind == 1 ? p[0] : NULL }, &p[kind]), "%s", tuff_graph_error(g));
        tuff_graph_destroy(g);
    }
    cr_assert(!tuff_run(p[0]), "%s", tuff_program_error(p[0]));
    for (int run = 0; run < 2; run++) feed(p[1], u, y[0], LENGTH, 0, LENGTH);
    feed(p[2], u, y[1], LENGTH, 0, LENGTH);
    for (int i = 0; i < SIZE; i++) want[i] = (double)y[1][i];
    cr_expect(distance(y[0], want, SIZE) < 1e-6, "%g", distance(y[0], want, SIZE));
    for (int i = 3; i-- > 0;) tuff_program_destroy(p[i]);
    tuff_device_close(dev);
}

/* A signal in pieces of one and of many steps, with its coefficients and the number of steps handed on, is the signal as a whole. */
Test(ssm, online_coefficients_in_pieces)
{
    enum { N = 24, LENGTH = 50 };
    static const char whole[] = "u = input f32[50]\nc, last = hippo_online(u) {n=24, every=50}\noutput last\n";
    static const char pieces[] = "param steps = 1\nu = input f32[steps]\nstate c f32[24]\nstate k i32[1]\n"
                                 "y, last = hippo_online(u, state=c, start=k) {n=24, every=steps}\nnew_c = assign(c, last)\nnew_k = assign(k, add(k, steps))\n";
    static const int sizes[] = { 30, 1 };
    tuff_device *dev = open_device(NULL);
    float u[LENGTH], c[N], got[N];
    rng numbers = { 13 };
    double want[N];
    char message[256];
    for (int i = 0; i < LENGTH; i++) u[i] = (float)rng_normal(&numbers);
    tuff_graph *g = NULL;
    tuff_program *p[2] = { NULL };
    cr_assert(!tuff_graph_parse(whole, sizeof whole - 1, NULL, &g, message, sizeof message), "%s", message);
    tuff_program *all = compile(dev, g);
    cr_assert(!tuff_write(all, "u", u, sizeof u) && !tuff_run(all) && !tuff_read(all, "last", c, sizeof c), "%s", tuff_program_error(all));
    for (int i = 0; i < N; i++) want[i] = (double)c[i];
    tuff_program_destroy(all);
    tuff_graph_destroy(g);
    int at = 0;
    for (int i = 0; i < 2; i++) {
        char param[32];
        snprintf(param, sizeof param, "steps=%d", sizes[i]);
        cr_assert(!tuff_graph_parse(pieces, sizeof pieces - 1, &(tuff_parse_desc){ .params = (const char *const[]){ param }, .param_count = 1 }, &g, message, sizeof message), "%s", message);
        cr_assert(!tuff_compile(dev, g, &(tuff_compile_desc){ .share = i ? p[0] : NULL }, &p[i]), "%s", tuff_graph_error(g));
        tuff_graph_destroy(g);
        for (int end = i ? LENGTH : sizes[0]; at < end; at += sizes[i])
            cr_assert(!tuff_write(p[i], "u", u + at, (size_t)sizes[i] * sizeof *u) && !tuff_run(p[i]), "%s", tuff_program_error(p[i]));
    }
    cr_assert(!tuff_read(p[1], "c", got, sizeof got), "%s", tuff_program_error(p[1]));
    cr_expect(distance(got, want, N) < 2e-6, "%g", distance(got, want, N));
    tuff_program_destroy(p[1]);
    tuff_program_destroy(p[0]);
    tuff_device_close(dev);
}

/* From ctilde, by sums at the roots of unity: the kernel that the powers of the step give. */
Test(ssm, cauchy_kernel)
{
    static const int lengths[] = { 1, 2, 255, 1024 };
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(lengths); i++) {
        const int n = lengths[i];
        tuff_graph *g = tuff_graph_create(NULL);
        const stream s = make_stream(g, true);
        const tuff_tensor k = tuff_s4_kernel(s.lam, s.p, s.b, s.c, s.dt, n, NULL);
        tuff_output(g, "k", k);
        tuff_output(g, "c", tuff_s4_cauchy_kernel(s.lam, s.p, s.b, tuff_result(k, 1), s.dt, n, NULL));
        tuff_program *p = compile(dev, g);
        float got[FEATURES * 1024], exact[FEATURES * 1024];
        double want[FEATURES * 1024];
        const size_t count = (size_t)(FEATURES * n);
        cr_assert(!tuff_run(p) && !tuff_read(p, "k", exact, count * sizeof *exact) && !tuff_read(p, "c", got, count * sizeof *got), "%s", tuff_program_error(p));
        for (size_t j = 0; j < count; j++) want[j] = (double)exact[j];
        cr_expect(distance(got, want, count) < 1e-5, "length %d: relative L2 %g", n, distance(got, want, count));
        tuff_program_destroy(p);
        tuff_graph_destroy(g);
    }
    tuff_device_close(dev);
}

/* Constant operands stay constants through views however large they are: 600 features of 16 modes. */
Test(ssm, large_constant_operands)
{
    static const char text[] = "l, b, p, v = hippo_nplr() {basis=legs, n=32}\nlam = expand(l) {shape=[600,16]}\nc = expand(b) {shape=[600,16]}\n"
                               "q = expand(unsqueeze(p) {axes=[1]}) {shape=[1,600,16]}\ndt = timescale_init() {n=600}\nk = s4_kernel(lam, q, c, c, dt) {length=3}\noutput k\n";
    char message[256];
    tuff_graph *g = NULL;
    tuff_device *dev = open_device(NULL);
    cr_assert(!tuff_graph_parse(text, sizeof text - 1, NULL, &g, message, sizeof message), "%s", message);
    tuff_program *p = compile(dev, g);
    cr_expect(!tuff_run(p), "%s", tuff_program_error(p));
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}
