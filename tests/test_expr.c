/* Index expressions: whatever the constructors simplify must keep its value, and the shapes that matter must vanish. */
#include <criterion/criterion.h>

#include "graph/expr.h"

typedef struct rng { uint64_t s; } rng;
static uint32_t next(rng *r) { r->s ^= r->s << 13; r->s ^= r->s >> 7; r->s ^= r->s << 17; return (uint32_t)(r->s >> 32); }

static int64_t eval(const tf_exprs *x, tf_ex e, const int64_t *vars, const int64_t *dims)
{
    const tf_ex_node *n = tf_exn(x, e);
    switch (n->kind) {
    case TF_EX_INT: return n->i;
    case TF_EX_TRUE: return n->i;
    case TF_EX_VAR: return vars[n->i];
    case TF_EX_DIM: return tf_dim_eval(x->g, n->i, dims);
    case TF_EX_SELECT: return eval(x, n->a, vars, dims) ? eval(x, n->b, vars, dims) : eval(x, n->c, vars, dims);
    case TF_EX_NOT: return !eval(x, n->a, vars, dims);
    default: break;
    }
    const int64_t a = eval(x, n->a, vars, dims), b = eval(x, n->b, vars, dims);
    switch (n->kind) {
    case TF_EX_ADD: return a + b;
    case TF_EX_SUB: return a - b;
    case TF_EX_MUL: return a * b;
    case TF_EX_DIV: cr_assert(a >= 0 && b > 0, "division of %lld by %lld", (long long)a, (long long)b); return a / b;
    case TF_EX_MOD: cr_assert(a >= 0 && b > 0, "modulo of %lld by %lld", (long long)a, (long long)b); return a % b;
    case TF_EX_MIN: return TF_MIN(a, b);
    case TF_EX_MAX: return TF_MAX(a, b);
    case TF_EX_LT: return a < b;
    case TF_EX_EQ: return a == b;
    case TF_EX_AND: return a && b;
    case TF_EX_OR: return a || b;
    default: cr_assert_fail("kind %d is no index", (int)n->kind);
    }
    return 0;
}

enum { VARS = 4, POOL = 24 };

/* Random expressions built twice: by the constructors, and as numbers for one assignment at a time. */
Test(expr, simplification_keeps_the_value)
{
    rng r = { 88172645463325252ull };
    for (int round = 0; round < 3000; round++) {
        tuff_graph *g = tuff_graph_create(NULL);
        const int64_t n = tuff_dim_param(g, "n", 7);
        int64_t limit[VARS] = { 1 + next(&r) % 12, 4, 1 + next(&r) % 6, 0 };
        tf_exprs x;
        tf_exprs_init(&x, &g->arena, g);
        tf_ex pool[POOL];
        int64_t ops[POOL][4];
        for (int i = 0; i < VARS; i++) pool[i] = tf_ex_var(&x, i, i == 3 ? n : limit[i]);
        pool[4] = tf_ex_dim(&x, n);
        pool[5] = tf_ex_int(&x, next(&r) % 5);
        int count = 6;
        while (count < POOL) {
            const int a = (int)(next(&r) % (unsigned)count), b = (int)(next(&r) % (unsigned)count), op = (int)(next(&r) % 8);
            const int64_t k = 1 + next(&r) % 12;
            tf_ex e = 0;
            switch (op) {
            case 0: case 1: e = tf_ex_add(&x, pool[a], pool[b]); break;
            case 2: e = tf_ex_mul(&x, pool[a], tf_ex_int(&x, k)); break;
            case 3: e = tf_ex_div(&x, pool[a], tf_ex_int(&x, k)); break;
            case 4: e = tf_ex_mod(&x, pool[a], tf_ex_int(&x, k)); break;
            case 5: e = tf_ex_div(&x, pool[a], tf_ex_dim(&x, n)); break;
            case 6: e = tf_ex_mod(&x, pool[a], tf_ex_dim(&x, n)); break;
            case 7: e = tf_ex_min(&x, pool[a], pool[b]); break;
            }
            cr_assert(e, "out of memory");
            if (tf_exn(&x, e)->hi > 1000000) continue;
            ops[count][0] = op; ops[count][1] = a; ops[count][2] = b; ops[count][3] = k;
            pool[count++] = e;
        }
        for (int trial = 0; trial < 8; trial++) {
            const int64_t dims[1] = { 1 + next(&r) % 7 };
            int64_t vars[VARS], value[POOL];
            for (int i = 0; i < VARS; i++) vars[i] = (int64_t)(next(&r) % (uint64_t)(i == 3 ? dims[0] : limit[i]));
            for (int i = 0; i < VARS; i++) value[i] = vars[i];
            value[4] = dims[0];
            value[5] = tf_exn(&x, pool[5])->i;
            for (int i = 6; i < POOL; i++) {
                const int64_t a = value[ops[i][1]], b = value[ops[i][2]], k = ops[i][3];
                switch (ops[i][0]) {
                case 0: case 1: value[i] = a + b; break;
                case 2: value[i] = a * k; break;
                case 3: value[i] = a / k; break;
                case 4: value[i] = a % k; break;
                case 5: value[i] = a / dims[0]; break;
                case 6: value[i] = a % dims[0]; break;
                default: value[i] = TF_MIN(a, b); break;
                }
                const int64_t got = eval(&x, pool[i], vars, dims);
                cr_assert_eq(got, value[i], "round %d, expression %d (op %lld): got %lld, want %lld", round, i, (long long)ops[i][0], (long long)got, (long long)value[i]);
                cr_assert(got >= tf_exn(&x, pool[i])->lo && got <= tf_exn(&x, pool[i])->hi, "round %d, expression %d: %lld outside [%lld, %lld]", round, i,
                          (long long)got, (long long)tf_exn(&x, pool[i])->lo, (long long)tf_exn(&x, pool[i])->hi);
                const tf_ex p = tf_ex_lt(&x, pool[i], pool[i - 1]);
                cr_assert_eq(eval(&x, p, vars, dims), value[i] < value[i - 1], "round %d: comparison of %d", round, i);
            }
        }
        tuff_graph_destroy(g);
    }
}

/* Linear index -> coordinates -> linear index is the index itself, also through a reshape, and for each of 4 lanes. */
Test(expr, reshape_round_trip_vanishes)
{
    static const struct { tf_type a, b; } cases[] = {
        { { TUFF_F32, 3, { 4, 6, 8 } }, { TUFF_F32, 2, { 24, 8 } } },
        { { TUFF_F32, 4, { 2, 3, 4, 5 } }, { TUFF_F32, 2, { 6, 20 } } },
        { { TUFF_F32, 2, { 6, 4 } }, { TUFF_F32, 3, { 2, 3, 4 } } },
        { { TUFF_F32, 1, { 120 } }, { TUFF_F32, 5, { 2, 3, 4, 1, 5 } } },
    };
    for (size_t i = 0; i < TF_COUNT(cases); i++) {
        tuff_graph *g = tuff_graph_create(NULL);
        tf_exprs x;
        tf_exprs_init(&x, &g->arena, g);
        uint64_t n = 0;
        cr_assert(tf_count_bound(g, &cases[i].a, &n));
        const tf_ex t = tf_ex_var(&x, 0, (int64_t)n);
        tf_ex c[TUFF_MAX_RANK], d[TUFF_MAX_RANK];
        tf_ex_unlinear(&x, &cases[i].a, t, c);
        cr_assert_eq(tf_ex_linear(&x, &cases[i].a, c), t, "case %zu: same shape", i);
        tf_ex_unlinear(&x, &cases[i].b, tf_ex_linear(&x, &cases[i].a, c), d);
        cr_assert_eq(tf_ex_linear(&x, &cases[i].b, d), t, "case %zu: other shape", i);
        tuff_graph_destroy(g);
    }
    tuff_graph *g = tuff_graph_create(NULL);
    tf_exprs x;
    tf_exprs_init(&x, &g->arena, g);
    const tf_type t = { TUFF_F32, 2, { 10, 12 } };
    const tf_ex quad = tf_ex_mul(&x, tf_ex_var(&x, 0, 30), tf_ex_int(&x, 4));
    tf_ex first[2], c[2];
    tf_ex_unlinear(&x, &t, quad, first);
    for (int k = 1; k < 4; k++) {
        int64_t diff;
        tf_ex_unlinear(&x, &t, tf_ex_add(&x, quad, tf_ex_int(&x, k)), c);
        cr_assert_eq(c[0], first[0], "lane %d lies in the same row", k);
        cr_assert(tf_ex_difference(&x, c[1], first[1], &diff) && diff == k, "lane %d is the next column", k);
    }
    /* dynamic: rows of n, coordinates (i, j) with j < n */
    const int64_t n = tuff_dim_param(g, "n", 100);
    const tf_type u = { TUFF_F32, 2, { 5, n } };
    const tf_ex coords[2] = { tf_ex_var(&x, 1, 5), tf_ex_var(&x, 2, n) };
    tf_ex_unlinear(&x, &u, tf_ex_linear(&x, &u, coords), c);
    cr_assert_eq(c[0], coords[0]);
    cr_assert_eq(c[1], coords[1]);
    tuff_graph_destroy(g);
}
