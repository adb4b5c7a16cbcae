/* sphere.c - Legendre functions, spherical harmonics and quadrature on the host. Recurrences run on normalised functions, so nothing
 * overflows; powers of sin(theta) that underflow belong to values far below the rounding of what they add to. */
#include "sphere.h"

#include <math.h>

int32_t tf_sh_degree(int64_t size)
{
    for (int32_t l = 0; l <= TF_SH_MAX; l++)
        if (tf_sh_size(l) == size) return l;
    return -1;
}

double tf_sh_scale(int32_t normalization, int32_t l)
{
    return normalization == 0 ? 1 : normalization == 1 ? sqrt(4 * TF_PI) : sqrt(4 * TF_PI / (2 * l + 1));
}

/* P_n and its derivative. */
static double legendre_polynomial(int32_t n, double x, double *slope)
{
    double p0 = 1, p1 = x;
    if (n == 0) { *slope = 0; return 1; }
    for (int32_t k = 2; k <= n; k++) {
        const double p = ((2 * k - 1) * x * p1 - (k - 1) * p0) / k;
        p0 = p1;
        p1 = p;
    }
    *slope = n * (p0 - x * p1) / (1 - x * x);
    return p1;
}

void tf_gauss_legendre(int32_t n, double *x, double *w)
{
    for (int32_t i = 0; i < (n + 1) / 2; i++) {
        double t = cos(TF_PI * (i + 0.75) / (n + 0.5)), slope = 1;
        for (int step = 0; step < 8; step++) t -= legendre_polynomial(n, t, &slope) / slope;
        if (2 * i + 1 == n) t = 0;
        (void)legendre_polynomial(n, t, &slope);
        x[i] = t;
        x[n - 1 - i] = -t;
        w[i] = w[n - 1 - i] = 2 / ((1 - t * t) * slope * slope);
    }
}

void tf_regular_nodes(int32_t n, double *x, double *w)
{
    for (int32_t i = 0; i < n; i++) {
        const double t = TF_PI * (i + 0.5) / n;
        double sum = 1;
        for (int32_t k = 1; k <= n / 2; k++) sum -= 2 * cos(2 * k * t) / (4.0 * k * k - 1);
        x[i] = 2 * i + 1 == n ? 0 : i < n / 2 ? cos(t) : -x[n - 1 - i];
        w[i] = 2 * sum / n;
    }
}

static double recurrence_a(int32_t l, int32_t m) { return sqrt((4.0 * l * l - 1) / ((double)l * l - (double)m * m)); }
static double recurrence_b(int32_t l, int32_t m)
{
    const double k = l - 1;
    return sqrt((k * k - (double)m * m) / (4 * k * k - 1));
}

void tf_legendre(int32_t lmax, double cosine, double sine, double *lam)
{
    double top = 1 / sqrt(4 * TF_PI);
    for (int32_t m = 0; m <= lmax; m++) {
        if (m) top *= sqrt((2.0 * m + 1) / (2.0 * m)) * (m == 1 ? sqrt(2.0) : 1.0) * sine;
        lam[tf_lm(m, m)] = top;
        if (m < lmax) lam[tf_lm(m + 1, m)] = sqrt(2.0 * m + 3) * cosine * top;
        for (int32_t l = m + 2; l <= lmax; l++)
            lam[tf_lm(l, m)] = recurrence_a(l, m) * (cosine * lam[tf_lm(l - 1, m)] - recurrence_b(l, m) * lam[tf_lm(l - 2, m)]);
    }
}

void tf_legendre_slope(int32_t lmax, double cosine, double sine, const double *lam, double *slope)
{
    for (int32_t l = 0; l <= lmax; l++)
        for (int32_t m = 0; m <= l; m++) {
            const double below = l > m ? sqrt(((double)l * l - (double)m * m) * (2.0 * l + 1) / (2.0 * l - 1)) * lam[tf_lm(l - 1, m)] : 0;
            slope[tf_lm(l, m)] = (l * cosine * lam[tf_lm(l, m)] - below) / sine;
        }
}

void tf_sh_eval(int32_t lmax, double x, double y, double z, double *out)
{
    const double r2 = x * x + y * y + z * z;
    double c = 1, s = 0, top = 1 / sqrt(4 * TF_PI);
    for (int32_t m = 0; m <= lmax; m++) {
        if (m) {
            const double next = z * c - x * s;
            s = z * s + x * c;
            c = next;
            top *= sqrt((2.0 * m + 1) / (2.0 * m)) * (m == 1 ? sqrt(2.0) : 1.0);
        }
        double before = 0, q = top;
        for (int32_t l = m; l <= lmax; l++) {
            out[tf_sh_at(l, -m)] = q * s;
            out[tf_sh_at(l, m)] = q * c;
            const double next = recurrence_a(l + 1, m) * (y * q - (l > m ? recurrence_b(l + 1, m) * r2 * before : 0));
            before = q;
            q = next;
        }
    }
}

void tf_sh_eval_unit(int32_t lmax, double x, double y, double z, double *out)
{
    const double scale = fmax(fabs(x), fmax(fabs(y), fabs(z)));
    double r = 0;
    if (scale > 0) {
        x /= scale;
        y /= scale;
        z /= scale;
        r = sqrt(x * x + y * y + z * z);
    }
    if (scale * r <= 1e-12) tf_sh_eval(lmax, 0, 0, 0, out);
    else tf_sh_eval(lmax, x / r, y / r, z / r, out);
}

/* ---- grids ------------------------------------------------------------------------------------------------ */

bool tf_sphere_grid_make(tf_arena *a, int32_t degree, int32_t spare, tf_sphere_grid *out)
{
    out->nt = degree / 2 + 1 + spare;
    out->np = degree + 1;
    out->x = tf_arena_array(a, double, (size_t)out->nt);
    out->w = tf_arena_array(a, double, (size_t)out->nt);
    if (!out->x || !out->w) return false;
    tf_gauss_legendre(out->nt, out->x, out->w);
    return true;
}

/* out[point, lm] = lam[lm] t_m(phi), or with `turn` dt_m/dphi. */
static void spread(int32_t lmax, int32_t np, const double *lam, bool turn, double *out)
{
    const int32_t size = tf_sh_size(lmax);
    for (int32_t k = 0; k < np; k++)
        for (int32_t m = 0; m <= lmax; m++) {
            const double phi = 2 * TF_PI * (((int64_t)m * k) % np) / np, c = cos(phi), s = sin(phi);
            for (int32_t l = m; l <= lmax; l++) {
                const double v = lam[tf_lm(l, m)];
                if (m) out[(int64_t)k * size + tf_sh_at(l, -m)] = turn ? m * c * v : s * v;
                out[(int64_t)k * size + tf_sh_at(l, m)] = turn ? -m * s * v : c * v;
            }
        }
}

double *tf_sphere_values(tf_arena *a, const tf_sphere_grid *grid, int32_t lmax)
{
    const size_t line = (size_t)grid->np * (size_t)tf_sh_size(lmax);
    double *lam = tf_arena_array(a, double, (size_t)tf_lm(lmax + 1, 0)), *out = tf_arena_array(a, double, (size_t)grid->nt * line);
    for (int32_t j = 0; lam && out && j < grid->nt; j++) {
        tf_legendre(lmax, grid->x[j], sqrt(1 - grid->x[j] * grid->x[j]), lam);
        spread(lmax, grid->np, lam, false, out + (size_t)j * line);
    }
    return lam ? out : NULL;
}

bool tf_sphere_slopes(tf_arena *a, const tf_sphere_grid *grid, int32_t lmax, double **theta, double **phi)
{
    const size_t line = (size_t)grid->np * (size_t)tf_sh_size(lmax), n = (size_t)tf_lm(lmax + 1, 0);
    double *lam = tf_arena_array(a, double, n), *slope = tf_arena_array(a, double, n);
    *theta = tf_arena_array(a, double, (size_t)grid->nt * line);
    *phi = tf_arena_array(a, double, (size_t)grid->nt * line);
    if (!lam || !slope || !*theta || !*phi) return false;
    for (int32_t j = 0; j < grid->nt; j++) {
        const double sine = sqrt(1 - grid->x[j] * grid->x[j]);
        tf_legendre(lmax, grid->x[j], sine, lam);
        tf_legendre_slope(lmax, grid->x[j], sine, lam, slope);
        spread(lmax, grid->np, slope, false, *theta + (size_t)j * line);
        for (size_t i = 0; i < n; i++) lam[i] /= sine;
        spread(lmax, grid->np, lam, true, *phi + (size_t)j * line);
    }
    return true;
}

/* ---- theta as a Fourier series ------------------------------------------------------------------------------ */

double *tf_theta_series(tf_arena *a, int32_t lmax)
{
    const int32_t n = 2 * lmax + 2, terms = tf_lm(lmax + 1, 0);
    double *lam = tf_arena_array(a, double, (size_t)terms), *out = tf_arena_array(a, double, (size_t)terms * (size_t)(lmax + 1));
    for (int32_t k = 0; lam && out && k < n; k++) {
        const double t = 2 * TF_PI * k / n;
        tf_legendre(lmax, cos(t), sin(t), lam);
        for (int32_t l = 0; l <= lmax; l++)
            for (int32_t m = 0; m <= l; m++)
                for (int32_t u = l & 1; u <= l; u += 2) {
                    const double at = 2 * TF_PI * (((int64_t)u * k) % n) / n;
                    out[tf_lm(l, m) * (lmax + 1) + u] += lam[tf_lm(l, m)] * (m & 1 ? sin(at) : cos(at)) * (u ? 2.0 : 1.0) / n;
                }
    }
    return lam ? out : NULL;
}

double *tf_theta_integrals(tf_arena *a, int32_t lf, int32_t lout)
{
    const int32_t nodes = (lf + lout + 1) / 2 + 2, terms = tf_lm(lout + 1, 0);
    double *lam = tf_arena_array(a, double, (size_t)terms), *x = tf_arena_array(a, double, (size_t)nodes), *w = tf_arena_array(a, double, (size_t)nodes);
    double *out = tf_arena_array(a, double, (size_t)terms * (size_t)(lf + 1));
    if (!lam || !x || !w || !out) return NULL;
    tf_gauss_legendre(nodes, x, w);
    for (int32_t j = 0; j < nodes; j++) {
        tf_legendre(lout, x[j], sqrt(1 - x[j] * x[j]), lam);
        for (int32_t l = 0; l <= lout; l++)
            for (int32_t m = 0; m <= l; m++)
                for (int32_t u = 0; u <= lf; u++) {
                    if ((u + l) & 1) continue;
                    const double t = u * acos(x[j]);
                    out[tf_lm(l, m) * (lf + 1) + u] += w[j] * lam[tf_lm(l, m)] * (m & 1 ? sin(t) : cos(t));
                }
    }
    return out;
}
