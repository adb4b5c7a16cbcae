/* expr.c - hash-consed scalar expressions and their simplification.
 *
 * Index expressions are kept as flat sums of coefficient * product-of-atoms + constant, rebuilt in a canonical
 * order by every constructor. On that form three facts do the work: (a/k)*k + a%k = a, a sum divides by k term by
 * term where the rest stays in [0, k), and ranges decide comparisons. Division and modulo are only ever applied to
 * values >= 0. Everything else (predicates, values, loads) is merged but not rewritten beyond constants. */
#include "expr.h"

#include <string.h>

#define LIMIT ((int64_t)1 << 60)
#define MAX_TERMS 48

static int64_t clamp64(int64_t v) { return v < -LIMIT ? -LIMIT : v > LIMIT ? LIMIT : v; }
static int64_t add_sat(int64_t a, int64_t b) { return clamp64(a + b); }
static int64_t mul_sat(int64_t a, int64_t b)
{
    if (a == 0 || b == 0) return 0;
    const int64_t ua = a < 0 ? -a : a, ub = b < 0 ? -b : b;
    if (ua > LIMIT / ub) return (a < 0) == (b < 0) ? LIMIT : -LIMIT;
    return a * b;
}
static int64_t gcd64(int64_t a, int64_t b)
{
    a = a < 0 ? -a : a;
    b = b < 0 ? -b : b;
    while (b) { const int64_t t = a % b; a = b; b = t; }
    return a;
}

void tf_exprs_init(tf_exprs *x, tf_arena *arena, const tuff_graph *g)
{
    memset(x, 0, sizeof *x);
    x->arena = arena;
    x->g = g;
}

static uint64_t node_hash(const tf_ex_node *n)
{
    const uint64_t key[] = { (uint64_t)n->kind | (uint64_t)n->t << 8 | (uint64_t)n->a << 16, (uint64_t)n->b | (uint64_t)n->c << 32,
                             (uint64_t)n->i, (uint64_t)(uintptr_t)n->op };
    const uint64_t h = tf_hash(tf_hash(0, key, sizeof key), &n->f, sizeof n->f);
    return n->desc ? tf_hash(h, n->desc, n->op->desc_size) : h;
}

static bool same_desc(const tf_ex_node *p, const tf_ex_node *q)
{
    return p->desc == q->desc || (p->desc && q->desc && p->op->desc_size && !memcmp(p->desc, q->desc, p->op->desc_size));
}

static bool node_same(const tf_ex_node *p, const tf_ex_node *q)
{
    return p->kind == q->kind && p->t == q->t && p->a == q->a && p->b == q->b && p->c == q->c && p->i == q->i &&
           p->op == q->op && same_desc(p, q) && !memcmp(&p->f, &q->f, sizeof p->f);
}

static bool table_grow(tf_exprs *x)
{
    const uint32_t cap = x->table_cap ? x->table_cap * 2 : 256;
    uint32_t *t = tf_arena_array(x->arena, uint32_t, cap);
    if (!t) return false;
    for (uint32_t id = 1; id < x->nodes.n; id++) {
        uint64_t h = node_hash(&x->nodes.data[id]);
        while (t[h & (cap - 1)]) h++;
        t[h & (cap - 1)] = id;
    }
    x->table = t;
    x->table_cap = cap;
    return true;
}

static tf_ex intern(tf_exprs *x, tf_ex_node n)
{
    if (2 * x->nodes.n >= x->table_cap && !table_grow(x)) return 0;
    uint64_t h = node_hash(&n);
    for (; x->table[h & (x->table_cap - 1)]; h++) {
        const uint32_t id = x->table[h & (x->table_cap - 1)];
        if (node_same(&x->nodes.data[id], &n)) return id;
    }
    tf_ex_node *p = tf_push(x->arena, &x->nodes);
    if (p && x->nodes.n == 1) p = tf_push(x->arena, &x->nodes); /* ids start at 1 */
    if (!p) return 0;
    *p = n;
    x->table[h & (x->table_cap - 1)] = x->nodes.n - 1;
    return x->nodes.n - 1;
}

static bool is_int(const tf_exprs *x, tf_ex e, int64_t *v)
{
    if (tf_exn(x, e)->kind != TF_EX_INT) return false;
    *v = tf_exn(x, e)->i;
    return true;
}

tf_ex tf_ex_int(tf_exprs *x, int64_t v)
{
    return intern(x, (tf_ex_node){ .kind = TF_EX_INT, .i = v, .lo = v, .hi = v });
}

tf_ex tf_ex_dim(tf_exprs *x, int64_t dim)
{
    if (!tf_dim_is_dynamic(dim)) return tf_ex_int(x, dim);
    const tf_dim_expr *d = &x->g->dims.data[tf_dim_index(dim)];
    if (d->kind == TF_DIM_BIN && d->op != TUFF_DIM_MAX) {
        const tf_ex a = tf_ex_dim(x, d->a), b = tf_ex_dim(x, d->b);
        switch (d->op) {
        case TUFF_DIM_ADD: return tf_ex_add(x, a, b);
        case TUFF_DIM_MUL: return tf_ex_mul(x, a, b);
        default: break; /* kept whole: their value is computed once on the host */
        }
    }
    const int64_t hi = tf_dim_bound(x->g, dim);
    return intern(x, (tf_ex_node){ .kind = TF_EX_DIM, .i = dim, .lo = 0, .hi = hi });
}

tf_ex tf_ex_var(tf_exprs *x, int64_t id, int64_t dim)
{
    const int64_t bound = tf_dim_bound(x->g, dim);
    const tf_ex limit = tf_ex_dim(x, dim);
    return intern(x, (tf_ex_node){ .kind = TF_EX_VAR, .i = id, .a = limit, .lo = 0, .hi = bound > 0 ? bound - 1 : 0 });
}

/* ---- flat sums --------------------------------------------------------------------------------- */

typedef struct term { tf_ex product; int64_t k; } term; /* k * product; product is an atom or a MUL of non-constants */
typedef struct sum { term t[MAX_TERMS]; uint32_t n; int64_t c; bool overflow; } sum;

static void sum_add_term(sum *s, tf_ex product, int64_t k)
{
    if (k == 0) return;
    for (uint32_t i = 0; i < s->n; i++)
        if (s->t[i].product == product) {
            s->t[i].k += k;
            if (s->t[i].k == 0) s->t[i] = s->t[--s->n];
            return;
        }
    if (s->n == MAX_TERMS) { s->overflow = true; return; }
    s->t[s->n++] = (term){ product, k };
}

static void sum_add(const tf_exprs *x, sum *s, tf_ex e, int64_t k)
{
    const tf_ex_node *n = tf_exn(x, e);
    int64_t v;
    switch (n->kind) {
    case TF_EX_INT: s->c = add_sat(s->c, mul_sat(n->i, k)); return;
    case TF_EX_ADD: sum_add(x, s, n->a, k); sum_add(x, s, n->b, k); return;
    case TF_EX_SUB: sum_add(x, s, n->a, k); sum_add(x, s, n->b, -k); return;
    case TF_EX_MUL:
        if (is_int(x, n->b, &v)) { sum_add(x, s, n->a, mul_sat(k, v)); return; }
        break;
    default: break;
    }
    sum_add_term(s, e, k);
}

static tf_ex raw(tf_exprs *x, tf_ex_kind kind, tf_ex a, tf_ex b)
{
    const tf_ex_node *p = tf_exn(x, a), *q = tf_exn(x, b);
    tf_ex_node n = { .kind = kind, .a = a, .b = b };
    int64_t v[4];
    switch (kind) {
    case TF_EX_ADD: n.lo = add_sat(p->lo, q->lo); n.hi = add_sat(p->hi, q->hi); break;
    case TF_EX_MUL:
        v[0] = mul_sat(p->lo, q->lo); v[1] = mul_sat(p->lo, q->hi); v[2] = mul_sat(p->hi, q->lo); v[3] = mul_sat(p->hi, q->hi);
        n.lo = TF_MIN(TF_MIN(v[0], v[1]), TF_MIN(v[2], v[3]));
        n.hi = TF_MAX(TF_MAX(v[0], v[1]), TF_MAX(v[2], v[3]));
        break;
    case TF_EX_DIV: n.lo = q->hi > 0 ? TF_MAX(p->lo, 0) / q->hi : 0; n.hi = q->lo > 0 ? p->hi / q->lo : p->hi; break;
    case TF_EX_MOD: n.lo = 0; n.hi = TF_MIN(p->hi, q->hi - 1); break;
    case TF_EX_MIN: n.lo = TF_MIN(p->lo, q->lo); n.hi = TF_MIN(p->hi, q->hi); break;
    case TF_EX_MAX: n.lo = TF_MAX(p->lo, q->lo); n.hi = TF_MAX(p->hi, q->hi); break;
    default: break;
    }
    return intern(x, n);
}

/* Factors of a product of non-constants, left-leaning MUL chain in ascending id order. */
static uint32_t factors(const tf_exprs *x, tf_ex e, tf_ex *f, uint32_t max)
{
    uint32_t n = 0;
    while (tf_exn(x, e)->kind == TF_EX_MUL && n + 1 < max) { f[n++] = tf_exn(x, e)->b; e = tf_exn(x, e)->a; }
    f[n++] = e;
    return n;
}

static tf_ex product_of(tf_exprs *x, tf_ex *f, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t j = i; j > 0 && f[j] < f[j - 1]; j--) { const tf_ex t = f[j]; f[j] = f[j - 1]; f[j - 1] = t; }
    tf_ex e = f[0];
    for (uint32_t i = 1; i < n; i++) e = raw(x, TF_EX_MUL, e, f[i]);
    return e;
}

/* (a/k)*k*r + (a%k)*r = a*r, for constant and for dynamic k. Returns true if a pair was merged. */
static bool merge_div_mod(tf_exprs *x, sum *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        tf_ex f[16];
        const uint32_t nf = factors(x, s->t[i].product, f, 16);
        for (uint32_t m = 0; m < nf; m++) {
            const tf_ex_node *mod = tf_exn(x, f[m]);
            if (mod->kind != TF_EX_MOD) continue;
            const tf_ex a = mod->a, k = mod->b;
            tf_ex alt = tf_ex_mul(x, tf_ex_div(x, a, k), k), whole = a;
            for (uint32_t r = 0; r < nf; r++)
                if (r != m) { alt = tf_ex_mul(x, alt, f[r]); whole = tf_ex_mul(x, whole, f[r]); }
            sum alt_sum = { 0 };
            sum_add(x, &alt_sum, alt, s->t[i].k);
            if (alt_sum.n == 0 || alt_sum.overflow) continue;
            bool all = true; /* every term of the quotient part is present with the same coefficient */
            for (uint32_t q = 0; q < alt_sum.n && all; q++) {
                bool found = false;
                for (uint32_t j = 0; j < s->n && !found; j++)
                    found = j != i && s->t[j].product == alt_sum.t[q].product && s->t[j].k == alt_sum.t[q].k;
                all = found;
            }
            if (!all) continue;
            const int64_t c = s->t[i].k;
            sum_add_term(s, s->t[i].product, -c);
            for (uint32_t q = 0; q < alt_sum.n; q++) sum_add_term(s, alt_sum.t[q].product, -alt_sum.t[q].k);
            s->c = add_sat(s->c, -alt_sum.c);
            sum_add(x, s, whole, c);
            return true;
        }
    }
    return false;
}

static tf_ex sum_build(tf_exprs *x, sum *s)
{
    while (!s->overflow && merge_div_mod(x, s)) { }
    for (uint32_t i = 1; i < s->n; i++)
        for (uint32_t j = i; j > 0 && s->t[j].product < s->t[j - 1].product; j--) {
            const term t = s->t[j]; s->t[j] = s->t[j - 1]; s->t[j - 1] = t;
        }
    tf_ex e = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        const tf_ex p = s->t[i].k == 1 ? s->t[i].product : raw(x, TF_EX_MUL, s->t[i].product, tf_ex_int(x, s->t[i].k));
        e = e ? raw(x, TF_EX_ADD, e, p) : p;
    }
    if (!e) return tf_ex_int(x, s->c);
    return s->c ? raw(x, TF_EX_ADD, e, tf_ex_int(x, s->c)) : e;
}

tf_ex tf_ex_add(tf_exprs *x, tf_ex a, tf_ex b)
{
    sum s = { 0 };
    sum_add(x, &s, a, 1);
    sum_add(x, &s, b, 1);
    return s.overflow ? raw(x, TF_EX_ADD, a, b) : sum_build(x, &s);
}

tf_ex tf_ex_sub(tf_exprs *x, tf_ex a, tf_ex b)
{
    sum s = { 0 };
    sum_add(x, &s, a, 1);
    sum_add(x, &s, b, -1);
    return s.overflow ? raw(x, TF_EX_ADD, a, raw(x, TF_EX_MUL, b, tf_ex_int(x, -1))) : sum_build(x, &s);
}

tf_ex tf_ex_mul(tf_exprs *x, tf_ex a, tf_ex b)
{
    sum p = { 0 }, q = { 0 }, s = { 0 };
    sum_add(x, &p, a, 1);
    sum_add(x, &q, b, 1);
    if (p.overflow || q.overflow || (p.n + 1) * (q.n + 1) > MAX_TERMS) return raw(x, TF_EX_MUL, a, b);
    s.c = mul_sat(p.c, q.c);
    for (uint32_t i = 0; i < p.n; i++) sum_add_term(&s, p.t[i].product, mul_sat(p.t[i].k, q.c));
    for (uint32_t j = 0; j < q.n; j++) sum_add_term(&s, q.t[j].product, mul_sat(q.t[j].k, p.c));
    for (uint32_t i = 0; i < p.n; i++)
        for (uint32_t j = 0; j < q.n; j++) {
            tf_ex f[32];
            uint32_t n = factors(x, p.t[i].product, f, 16);
            n += factors(x, q.t[j].product, f + n, 16);
            sum_add_term(&s, product_of(x, f, n), mul_sat(p.t[i].k, q.t[j].k));
        }
    return s.overflow ? raw(x, TF_EX_MUL, a, b) : sum_build(x, &s);
}

/* term / k when k divides it exactly: constant k divides the coefficient, or k's factors are among the term's. */
static bool term_divides(tf_exprs *x, term t, tf_ex k, tf_ex *out)
{
    int64_t v;
    if (is_int(x, k, &v)) {
        if (t.k % v) return false;
        *out = tf_ex_mul(x, t.product, tf_ex_int(x, t.k / v));
        return true;
    }
    sum ks = { 0 };
    sum_add(x, &ks, k, 1);
    if (ks.n != 1 || ks.c || ks.overflow || t.k % ks.t[0].k) return false;
    tf_ex f[16], d[16];
    uint32_t n = factors(x, t.product, f, 16);
    const uint32_t m = factors(x, ks.t[0].product, d, 16);
    for (uint32_t j = 0; j < m; j++) {
        uint32_t i = 0;
        while (i < n && f[i] != d[j]) i++;
        if (i == n) return false;
        f[i] = f[--n];
    }
    const tf_ex rest = n ? product_of(x, f, n) : tf_ex_int(x, 1);
    *out = tf_ex_mul(x, rest, tf_ex_int(x, t.k / ks.t[0].k));
    return true;
}

/* Split e = k*q + r with as much as possible in q. */
static void split(tf_exprs *x, tf_ex e, tf_ex k, tf_ex *q, tf_ex *r)
{
    sum s = { 0 };
    sum_add(x, &s, e, 1);
    if (s.overflow) { *q = tf_ex_int(x, 0); *r = e; return; }
    tf_ex quotient = tf_ex_int(x, 0), rest = tf_ex_int(x, s.c);
    int64_t v;
    if (is_int(x, k, &v)) { /* constant part: floor division keeps the rest >= 0 */
        const int64_t fl = s.c >= 0 ? s.c / v : -((-s.c + v - 1) / v);
        quotient = tf_ex_int(x, fl);
        rest = tf_ex_int(x, s.c - fl * v);
    }
    for (uint32_t i = 0; i < s.n; i++) {
        tf_ex part;
        if (term_divides(x, s.t[i], k, &part)) quotient = tf_ex_add(x, quotient, part);
        else rest = tf_ex_add(x, rest, tf_ex_mul(x, s.t[i].product, tf_ex_int(x, s.t[i].k)));
    }
    *q = quotient;
    *r = rest;
}

/* 0 <= e < k for all values of the variables? */
static bool below(const tf_exprs *x, tf_ex e, tf_ex k)
{
    const tf_ex_node *n = tf_exn(x, e), *d = tf_exn(x, k);
    if (n->lo < 0) return false;
    if (n->hi < d->lo) return true;
    if (n->kind == TF_EX_VAR && n->a == k) return true;
    if (n->kind == TF_EX_MOD && n->b == k) return true;
    return false;
}

/* e = g*high + low with 0 <= low < g, for a divisor g > 1 of k: then e / k = high / (k/g). Low holds the terms that g does not divide and
 * what it leaves of the constant. False if there is no such g among the divisors that k has in common with a coefficient. */
static bool by_steps(tf_exprs *x, tf_ex e, int64_t k, int64_t *g, tf_ex *high, tf_ex *low)
{
    sum s = { 0 };
    int64_t tried = INT64_MAX;
    sum_add(x, &s, e, 1);
    if (s.overflow || s.n == 0 || s.c < 0) return false;
    for (;;) {
        int64_t d = 1; /* the largest not tried */
        for (uint32_t i = 0; i < s.n; i++) {
            const int64_t common = gcd64(k, s.t[i].k);
            if (common < tried && common > d) d = common;
        }
        if (d == 1) return false;
        tried = d;
        tf_ex multiple = tf_ex_int(x, s.c / d), rest = tf_ex_int(x, s.c % d);
        for (uint32_t i = 0; i < s.n; i++) {
            if (s.t[i].k % d == 0) multiple = tf_ex_add(x, multiple, tf_ex_mul(x, s.t[i].product, tf_ex_int(x, s.t[i].k / d)));
            else rest = tf_ex_add(x, rest, tf_ex_mul(x, s.t[i].product, tf_ex_int(x, s.t[i].k)));
        }
        if (tf_exn(x, rest)->lo < 0 || tf_exn(x, rest)->hi >= d) continue;
        *g = d;
        *high = multiple;
        *low = rest;
        return true;
    }
}

tf_ex tf_ex_div(tf_exprs *x, tf_ex a, tf_ex b)
{
    int64_t k = 0, m;
    const bool constant = is_int(x, b, &k);
    if (constant && k == 1) return a;
    if (constant && k <= 0) return tf_ex_int(x, 0); /* zero-element tensors: never evaluated */
    if (below(x, a, b)) return tf_ex_int(x, 0);
    if (is_int(x, a, &m) && constant) return tf_ex_int(x, m / k);
    tf_ex q, r;
    split(x, a, b, &q, &r);
    if (q != tf_ex_int(x, 0) && tf_exn(x, r)->lo >= 0) return tf_ex_add(x, q, tf_ex_div(x, r, b));
    if (constant) {
        int64_t g;
        tf_ex high, low;
        if (by_steps(x, a, k, &g, &high, &low)) return tf_ex_div(x, high, tf_ex_int(x, k / g));
    }
    const tf_ex_node n = *tf_exn(x, a);
    if (n.kind == TF_EX_DIV) return tf_ex_div(x, n.a, tf_ex_mul(x, n.b, b));
    if (n.kind == TF_EX_MOD && constant && is_int(x, n.b, &m) && m % k == 0)
        return tf_ex_mod(x, tf_ex_div(x, n.a, b), tf_ex_int(x, m / k));
    return raw(x, TF_EX_DIV, a, b);
}

tf_ex tf_ex_mod(tf_exprs *x, tf_ex a, tf_ex b)
{
    int64_t k = 0, m;
    const bool constant = is_int(x, b, &k);
    if (constant && k <= 1) return tf_ex_int(x, 0);
    if (below(x, a, b)) return a;
    if (is_int(x, a, &m) && constant) return tf_ex_int(x, m % k);
    tf_ex q, r;
    split(x, a, b, &q, &r);
    if (r != a && tf_exn(x, r)->lo >= 0) return tf_ex_mod(x, r, b);
    if (constant) {
        int64_t g;
        tf_ex high, low;
        if (by_steps(x, a, k, &g, &high, &low)) return tf_ex_add(x, tf_ex_mul(x, tf_ex_mod(x, high, tf_ex_int(x, k / g)), tf_ex_int(x, g)), low);
    }
    const tf_ex_node n = *tf_exn(x, a);
    if (n.kind == TF_EX_MOD && constant && is_int(x, n.b, &m) && m % k == 0) return tf_ex_mod(x, n.a, b);
    return raw(x, TF_EX_MOD, a, b);
}

bool tf_ex_difference(tf_exprs *x, tf_ex a, tf_ex b, int64_t *out)
{
    sum s = { 0 };
    sum_add(x, &s, a, 1);
    sum_add(x, &s, b, -1);
    *out = s.c;
    return !s.overflow && s.n == 0;
}

tf_ex tf_ex_min(tf_exprs *x, tf_ex a, tf_ex b)
{
    if (a == b || tf_exn(x, a)->hi <= tf_exn(x, b)->lo) return a;
    if (tf_exn(x, b)->hi <= tf_exn(x, a)->lo) return b;
    return raw(x, TF_EX_MIN, TF_MIN(a, b), TF_MAX(a, b));
}

tf_ex tf_ex_max(tf_exprs *x, tf_ex a, tf_ex b)
{
    if (a == b || tf_exn(x, a)->lo >= tf_exn(x, b)->hi) return a;
    if (tf_exn(x, b)->lo >= tf_exn(x, a)->hi) return b;
    return raw(x, TF_EX_MAX, TF_MIN(a, b), TF_MAX(a, b));
}

/* ---- predicates -------------------------------------------------------------------------------- */

static tf_ex truth(tf_exprs *x, bool v)
{
    return intern(x, (tf_ex_node){ .kind = TF_EX_TRUE, .t = TUFF_BOOL, .i = v });
}
static bool is_truth(const tf_exprs *x, tf_ex e, bool v) { return tf_exn(x, e)->kind == TF_EX_TRUE && (tf_exn(x, e)->i != 0) == v; }
static tf_ex predicate(tf_exprs *x, tf_ex_kind kind, tf_ex a, tf_ex b)
{
    return intern(x, (tf_ex_node){ .kind = kind, .t = TUFF_BOOL, .a = a, .b = b });
}

tf_ex tf_ex_lt(tf_exprs *x, tf_ex a, tf_ex b)
{
    if (below(x, a, b)) return truth(x, true);
    const tf_ex_node *d = tf_exn(x, tf_ex_sub(x, a, b));
    if (d->hi < 0) return truth(x, true);
    if (d->lo >= 0) return truth(x, false);
    return predicate(x, TF_EX_LT, a, b);
}

tf_ex tf_ex_eq(tf_exprs *x, tf_ex a, tf_ex b)
{
    if (a == b) return truth(x, true);
    const tf_ex_node *d = tf_exn(x, tf_ex_sub(x, a, b));
    if (d->lo > 0 || d->hi < 0) return truth(x, false);
    return predicate(x, TF_EX_EQ, TF_MIN(a, b), TF_MAX(a, b));
}

tf_ex tf_ex_and(tf_exprs *x, tf_ex a, tf_ex b)
{
    if (!a || a == b) return b;
    if (!b) return a;
    if (is_truth(x, a, true) || is_truth(x, b, false)) return b;
    if (is_truth(x, b, true) || is_truth(x, a, false)) return a;
    return predicate(x, TF_EX_AND, TF_MIN(a, b), TF_MAX(a, b));
}

tf_ex tf_ex_or(tf_exprs *x, tf_ex a, tf_ex b)
{
    if (!a || !b) return truth(x, true);
    if (a == b || is_truth(x, b, false) || is_truth(x, a, true)) return a;
    if (is_truth(x, a, false) || is_truth(x, b, true)) return b;
    return predicate(x, TF_EX_OR, TF_MIN(a, b), TF_MAX(a, b));
}

tf_ex tf_ex_not(tf_exprs *x, tf_ex a)
{
    if (!a) return truth(x, false);
    if (tf_exn(x, a)->kind == TF_EX_TRUE) return truth(x, !tf_exn(x, a)->i);
    if (tf_exn(x, a)->kind == TF_EX_NOT) return tf_exn(x, a)->a;
    return predicate(x, TF_EX_NOT, a, 0);
}

tf_ex tf_ex_select(tf_exprs *x, tf_ex p, tf_ex a, tf_ex b)
{
    if (!p || a == b || is_truth(x, p, true)) return a;
    if (is_truth(x, p, false)) return b;
    const tf_ex_node *m = tf_exn(x, a), *n = tf_exn(x, b);
    return intern(x, (tf_ex_node){ .kind = TF_EX_SELECT, .t = m->t, .a = p, .b = a, .c = b,
                                   .lo = TF_MIN(m->lo, n->lo), .hi = TF_MAX(m->hi, n->hi) });
}

/* ---- values ------------------------------------------------------------------------------------ */

tf_ex tf_ex_const(tf_exprs *x, tuff_dtype t, double v)
{
    if (t == TUFF_BOOL) return truth(x, v != 0);
    return intern(x, (tf_ex_node){ .kind = TF_EX_CONST, .t = t, .f = tf_round_to(t, v) });
}

tf_ex tf_ex_load(tf_exprs *x, uint32_t value, tf_ex index, tf_ex valid, tf_ex fill)
{
    return intern(x, (tf_ex_node){ .kind = TF_EX_LOAD, .t = tf_type_of(x->g, value)->dtype, .i = value, .a = index, .b = valid, .c = fill });
}

tf_ex tf_ex_leaf(tf_exprs *x, tf_ex_kind kind, tuff_dtype t, int64_t i)
{
    return intern(x, (tf_ex_node){ .kind = kind, .t = t, .i = i });
}

tf_ex tf_ex_to_value(tf_exprs *x, tf_ex index)
{
    int64_t v;
    if (is_int(x, index, &v)) return tf_ex_const(x, TUFF_I32, (double)v);
    return intern(x, (tf_ex_node){ .kind = TF_EX_TO_VALUE, .t = TUFF_I32, .a = index });
}

tf_ex tf_ex_to_index(tf_exprs *x, tf_ex value, int64_t dim)
{
    const tf_ex_node *v = tf_exn(x, value);
    const int64_t bound = tf_dim_bound(x->g, dim);
    if (v->kind == TF_EX_TO_VALUE && tf_exn(x, v->a)->lo >= 0 && tf_exn(x, v->a)->hi < bound && !tf_dim_is_dynamic(dim)) return v->a;
    const tf_ex limit = tf_ex_sub(x, tf_ex_dim(x, dim), tf_ex_int(x, 1));
    return intern(x, (tf_ex_node){ .kind = TF_EX_TO_INDEX, .a = value, .b = limit, .lo = 0, .hi = bound > 0 ? bound - 1 : 0 });
}

/* Folding a row of constants: the reference is the meaning. Complex results stay as they are. */
static bool fold_op(tf_exprs *x, const tf_op *op, tuff_dtype t, const void *desc, const tf_ex *args, tf_ex *out)
{
    tf_scalar v[3] = { { 0, 0 } };
    tuff_dtype operand = t;
    if (t == TUFF_C64 || !op->scalar) return false;
    for (uint32_t i = 0; i < op->arity; i++) {
        const tf_ex_node *n = tf_exn(x, args[i]);
        if (n->kind == TF_EX_CONST) v[i].re = n->f;
        else if (n->kind == TF_EX_TRUE) v[i].re = (double)n->i;
        else return false;
        if (n->t == TUFF_C64) return false;
        operand = n->t;
    }
    const tf_scalar r = op->scalar(v, operand, desc);
    *out = tf_ex_const(x, t, r.re);
    return true;
}

tf_ex tf_ex_apply(tf_exprs *x, const tf_op *op, tuff_dtype t, const void *desc, tf_ex a, tf_ex b, tf_ex c)
{
    const tf_ex args[3] = { a, b, c };
    tf_ex out;
    if (op->arity && fold_op(x, op, t, desc, args, &out)) return out;
    if (!strcmp(op->name, "where") && tf_exn(x, a)->kind == TF_EX_TRUE) return tf_exn(x, a)->i ? b : c;
    if (!strcmp(op->name, "cast") && tf_exn(x, a)->t == t) return a;
    return intern(x, (tf_ex_node){ .kind = TF_EX_OP, .t = t, .op = op, .desc = desc, .a = a, .b = b, .c = c });
}

/* ---- coordinates ------------------------------------------------------------------------------- */

tf_ex tf_ex_linear(tf_exprs *x, const tf_type *t, const tf_ex *coords)
{
    tf_ex e = tf_ex_int(x, 0);
    for (int32_t i = 0; i < t->rank; i++) e = tf_ex_add(x, tf_ex_mul(x, e, tf_ex_dim(x, t->dim[i])), coords[i]);
    return e;
}

void tf_ex_unlinear(tf_exprs *x, const tf_type *t, tf_ex linear, tf_ex *coords)
{
    for (int32_t i = t->rank - 1; i > 0; i--) {
        const tf_ex d = tf_ex_dim(x, t->dim[i]);
        coords[i] = tf_ex_mod(x, linear, d);
        linear = tf_ex_div(x, linear, d);
    }
    if (t->rank > 0) coords[0] = linear;
}
