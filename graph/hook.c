/* hook.c - hooks: what a kernel reads and writes at a coordinate, as expressions, and those as GLSL.
 *
 * tf_hook_value walks from a value toward memory: views substitute coordinates, pointwise rows become OP nodes, stored
 * values become LOADs. Four neighbouring elements are four walks whose shared parts are one node; loads that turn out
 * to be base, base+1, base+2, base+3 with base a multiple of 4 are printed as one vector load. */
#include "emit.h"
#include "lower.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Text in the kernel's arena, never NULL: "0" when memory is out, which m->failed remembers. */
const char *tf_say(tf_emitter *m, const char *format, ...)
{
    char small[256];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int n = vsnprintf(small, sizeof small, format, args);
    char *text = n < 0 ? NULL : tf_arena_alloc(m->arena, (size_t)n + 1);
    if (text) vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    if (text) return text;
    m->failed = true;
    return "0";
}

/* ---- building ---------------------------------------------------------------------------------- */

static uint64_t memo_hash(const tf_memo *k) { return tf_hash(0, k, offsetof(tf_memo, out)); }

static tf_memo *memo_find(tf_emitter *m, const tf_memo *key)
{
    if (!m->memo_cap) return NULL;
    for (uint64_t h = memo_hash(key); m->memo_table[h & (m->memo_cap - 1)]; h++) {
        tf_memo *k = &m->memo.data[m->memo_table[h & (m->memo_cap - 1)] - 1];
        if (!memcmp(k, key, offsetof(tf_memo, out))) return k;
    }
    return NULL;
}

static void memo_add(tf_emitter *m, const tf_memo *key)
{
    if (2 * (m->memo.n + 1) > m->memo_cap) {
        const uint32_t cap = m->memo_cap ? m->memo_cap * 2 : 128;
        uint32_t *t = tf_arena_array(m->arena, uint32_t, cap);
        if (!t) return;
        for (uint32_t i = 0; i < m->memo.n; i++) {
            uint64_t h = memo_hash(&m->memo.data[i]);
            while (t[h & (cap - 1)]) h++;
            t[h & (cap - 1)] = i + 1;
        }
        m->memo_table = t;
        m->memo_cap = cap;
    }
    tf_memo *k = tf_push(m->arena, &m->memo);
    if (!k) return;
    *k = *key;
    uint64_t h = memo_hash(k);
    while (m->memo_table[h & (m->memo_cap - 1)]) h++;
    m->memo_table[h & (m->memo_cap - 1)] = m->memo.n;
}

static tf_ex fail(tf_emitter *m, const char *error)
{
    m->failed = true;
    if (!m->error) m->error = error;
    return tf_ex_const(&m->x, TUFF_F32, 0);
}

/* Coordinates of operand `value` of a broadcasting node whose result has type t. */
static void broadcast_coords(tf_emitter *m, const tf_type *from, const tf_type *t, const tf_ex *coords, tf_ex *out)
{
    for (int32_t i = 0; i < from->rank; i++) {
        const int32_t j = i + t->rank - from->rank;
        out[i] = from->dim[i] == 1 && t->dim[j] != 1 ? tf_ex_int(&m->x, 0) : coords[j];
    }
}

typedef struct indexed { tf_emitter *m; const tf_node *node; tf_ex guard; } indexed;

static tf_ex indexed_operand(tf_view_map *v, uint32_t i, const tf_ex *coords)
{
    const indexed *c = v->user;
    const tf_ex e = tf_hook_value(c->m, c->node->src[i], coords, tf_ex_and(v->x, c->guard, v->valid), false);
    return v->valid ? tf_ex_select(v->x, v->valid, e, tf_ex_const(v->x, tf_exn(v->x, e)->t, 0)) : e;
}

static tf_ex source_value(tf_emitter *m, uint32_t value, const tf_ex *coords, tf_ex guard)
{
    const tf_node *n = tf_def(m->g, value);
    const tf_type *t = tf_type_of(m->g, value);
    const tf_source_desc *d = n->desc;
    uint64_t count = 0;
    if (!strcmp(n->op->name, "literal")) return tf_ex_const(&m->x, t->dtype, d->value);
    if (!strcmp(n->op->name, "scalar")) return tf_ex_leaf(&m->x, TF_EX_SCALAR, t->dtype, value);
    if (n->op == &tf_op_step) return tf_ex_leaf(&m->x, TF_EX_STEP, t->dtype, m->g->regions.data[n->region - 1].depth);
    tf_count_bound(m->g, t, &count);
    if (!strcmp(n->op->name, "const") && count == 1 && t->dtype != TUFF_C64 && t->dtype != TUFF_F64) {
        double im;
        return tf_ex_const(&m->x, t->dtype, tf_load_element(t->dtype, d->data, 0, &im));
    }
    tf_ex index = tf_ex_linear(&m->x, t, coords);
    if (guard && count) index = tf_ex_max(&m->x, tf_ex_int(&m->x, 0), tf_ex_min(&m->x, index, tf_ex_int(&m->x, (int64_t)count - 1)));
    return tf_ex_load(&m->x, value, index, 0, 0);
}

typedef struct mapped { tf_view_map v; indexed user; } mapped;

static void map_init(mapped *a, tf_emitter *m, const tf_node *n, const tf_ex *coords, tf_ex guard)
{
    a->user = (indexed){ m, n, guard };
    a->v = (tf_view_map){ .x = &m->x, .g = m->g, .node = n, .desc = n->desc, .out = coords, .out_type = tf_type_of(m->g, n->out),
                          .src_type = n->n_src && n->src[0] ? tf_type_of(m->g, n->src[0]) : NULL, .operand = indexed_operand, .user = &a->user };
}

tf_ex tf_hook_score(tf_emitter *m, const tf_node *n, const tf_ex *coords, tf_ex s)
{
    mapped a;
    map_init(&a, m, n, coords, 0);
    return n->op->anchor->score(&a.v, s);
}

bool tf_hook_join(tf_emitter *m, const tf_node *n, const tf_ex *leaf, tf_ex *y)
{
    mapped a;
    map_init(&a, m, n, NULL, 0);
    return n->op->anchor->join(&a.v, leaf, y);
}

static tf_ex view_value(tf_emitter *m, const tf_node *n, const tf_ex *coords, tf_ex guard)
{
    mapped a;
    map_init(&a, m, n, coords, guard);
    if (n->op->kind == TF_INDEXED) return n->op->expr(&a.v);
    n->op->view(&a.v);
    const tf_ex inner = tf_hook_value(m, n->src[0], a.v.src, tf_ex_and(&m->x, guard, a.v.valid), false);
    return a.v.valid ? tf_ex_select(&m->x, a.v.valid, inner, tf_ex_const(&m->x, a.v.out_type->dtype, a.v.fill)) : inner;
}

static tf_ex pointwise_value(tf_emitter *m, const tf_node *n, const tf_ex *coords, tf_ex guard)
{
    const tf_type *t = tf_type_of(m->g, n->out);
    tf_ex arg[3] = { 0 };
    for (uint32_t i = 0; i < n->n_src && i < 3; i++) {
        tf_ex at[TUFF_MAX_RANK];
        broadcast_coords(m, tf_type_of(m->g, n->src[i]), t, coords, at);
        arg[i] = tf_hook_value(m, n->src[i], at, guard, false);
    }
    if (n->op == &tf_op_copy) return arg[0];
    return tf_ex_apply(&m->x, n->op, t->dtype, n->desc, arg[0], arg[1], arg[2]);
}

static void note_inlined(tf_emitter *m, uint32_t node)
{
    for (uint32_t i = 0; i < m->inlined.n; i++)
        if (m->inlined.data[i] == node) return;
    uint32_t *p = tf_push(m->arena, &m->inlined);
    if (p) *p = node;
}

tf_ex tf_hook_value(tf_emitter *m, uint32_t value, const tf_ex *coords, tf_ex guard, bool whole)
{
    const tf_value *val = tf_val(m->g, value);
    const tf_node *n = &m->g->nodes.data[val->node];
    const bool own = m->fusion->risen[val->node] == m->group && m->store_side;
    if (own && n->op->kind == TF_ANCHOR)
        return tf_ex_leaf(&m->x, TF_EX_RESULT, val->type.dtype, m->lane ? 8 + 4 * (int64_t)val->result + m->lane - 1 : val->result);
    if (n->op->kind == TF_SOURCE) return source_value(m, value, coords, guard);
    const bool mine = m->fusion->stored[value] == m->group && m->fusion->groups.data[m->group - 1].anchor == TF_NO_NODE;
    if (m->fusion->stored[value] && !whole && !own && !mine) return source_value(m, value, coords, guard);
    tf_memo key;
    memset(&key, 0, sizeof key);
    key.value = value;
    key.guard = guard;
    for (int32_t i = 0; i < val->type.rank; i++) key.coord[i] = coords[i];
    const tf_memo *hit = memo_find(m, &key);
    if (hit) return hit->out;
    switch (n->op->kind) {
    case TF_POINTWISE: key.out = pointwise_value(m, n, coords, guard); break;
    case TF_VIEW: case TF_INDEXED: key.out = view_value(m, n, coords, guard); break;
    default: return fail(m, tf_say(m, "%s has no kernel form", n->op->name));
    }
    if (!key.out) return fail(m, NULL);
    memo_add(m, &key);
    note_inlined(m, val->node);
    return key.out;
}

/* ---- vector loads -------------------------------------------------------------------------------- */

/* Is e a multiple of n, a power of two? */
static bool multiple_of(const tf_exprs *x, tf_ex e, int64_t n)
{
    const tf_ex_node *p = tf_exn(x, e);
    switch (p->kind) {
    case TF_EX_INT: return p->i % n == 0;
    case TF_EX_ADD: case TF_EX_SUB: return multiple_of(x, p->a, n) && multiple_of(x, p->b, n);
    case TF_EX_MUL: return multiple_of(x, p->a, n) || multiple_of(x, p->b, n) || (n > 2 && multiple_of(x, p->a, n / 2) && multiple_of(x, p->b, 2));
    default: return false;
    }
}

bool tf_ex_quad(const tf_exprs *x, tf_ex e, tf_ex *base, int64_t *constant)
{
    const tf_ex_node *n = tf_exn(x, e);
    *base = e;
    *constant = 0;
    if (n->kind == TF_EX_ADD && tf_exn(x, n->b)->kind == TF_EX_INT) { *base = n->a; *constant = tf_exn(x, n->b)->i; }
    if (n->kind == TF_EX_INT) { *base = 0; *constant = n->i; }
    return *base == 0 || multiple_of(x, *base, 4);
}

typedef struct load_list { tf_ex *e; uint32_t n, cap; } load_list;

static void collect_loads(tf_emitter *m, tf_ex e, load_list *out)
{
    if (!e || m->printed[e] == m->epoch) return;
    m->printed[e] = m->epoch;
    const tf_ex_node *n = tf_exn(&m->x, e);
    if (n->kind == TF_EX_INT || n->kind == TF_EX_VAR || n->kind == TF_EX_DIM) return;
    collect_loads(m, n->a, out);
    collect_loads(m, n->b, out);
    collect_loads(m, n->c, out);
    if (n->kind != TF_EX_LOAD) return;
    if (tf_array_grow(m->arena, (void **)&out->e, &out->cap, out->n, sizeof *out->e) || out->n < out->cap) out->e[out->n++] = e;
}

static bool room_for_marks(tf_emitter *m)
{
    if (m->printed_cap < m->x.nodes.n) {
        const uint32_t cap = m->x.nodes.n * 2;
        m->printed = tf_arena_array(m->arena, uint32_t, cap);
        m->vector = tf_arena_array(m->arena, uint32_t, cap);
        m->octet = tf_arena_array(m->arena, uint32_t, cap);
        m->printed_cap = m->printed && m->vector && m->octet ? cap : 0;
        m->epoch = 0;
        if (!m->printed_cap) m->failed = true;
    }
    if (!m->printed_cap) m->failed = true;
    return !m->failed;
}

/* Loads below e, each once, in the order of a walk: equal for expressions that differ in coordinates only. */
static uint32_t loads_below(tf_emitter *m, tf_ex e, load_list *out)
{
    if (!room_for_marks(m)) return 0;
    m->epoch++;
    collect_loads(m, e, out);
    return out->n;
}

bool tf_hook_steps(tf_emitter *m, tf_ex at, tf_ex next, tf_ex across)
{
    load_list a = { 0 }, b = { 0 }, c = { 0 };
    const uint32_t n = loads_below(m, at, &a);
    if (!n || loads_below(m, next, &b) != n || loads_below(m, across, &c) != n) return false;
    for (uint32_t i = 0; i < n; i++) {
        int64_t step, other;
        const tf_ex_node *p = tf_exn(&m->x, a.e[i]), *q = tf_exn(&m->x, b.e[i]), *r = tf_exn(&m->x, c.e[i]);
        if (p->i == q->i && p->i == r->i && tf_ex_difference(&m->x, q->a, p->a, &step) && step == 1 &&
            !(tf_ex_difference(&m->x, r->a, p->a, &other) && other >= 0 && other <= 1)) return true;
    }
    return false;
}

bool tf_hook_aligned(const tf_emitter *m, uint32_t value)
{
    for (uint32_t i = 0; i < m->elsewhere.n; i++)
        if (m->elsewhere.data[i] == value) return false;
    return true;
}

void tf_hook_elsewhere(tf_emitter *m, tf_ex e, tf_ex index)
{
    load_list loads = { 0 };
    const uint32_t n = loads_below(m, e, &loads);
    for (uint32_t i = 0; i < n; i++) {
        const tf_ex_node x = *tf_exn(&m->x, loads.e[i]);
        const tf_op *op = tf_def(m->g, (uint32_t)x.i)->op;
        int64_t d;
        if ((op != &tf_op_carry && op != &tf_op_state) || !tf_hook_aligned(m, (uint32_t)x.i)) continue;
        if (index && (x.a == index || (tf_ex_difference(&m->x, x.a, index, &d) && d == 0))) continue;
        uint32_t *v = tf_push(m->arena, &m->elsewhere);
        if (v) *v = (uint32_t)x.i;
    }
}

/* Vectors that lie in one aligned run of eight elements become one load. */
static void pair_vectors(tf_emitter *m, const load_list *loads)
{
    for (uint32_t i = 0; i < loads->n; i++) {
        const tf_ex low = loads->e[i];
        const tf_ex_node *p = tf_exn(&m->x, low);
        tf_ex base, other;
        int64_t c, d;
        if (m->vector[low] != 1 + 4 * low || !tf_ex_quad(&m->x, p->a, &base, &c) || c % 8 || (base && !multiple_of(&m->x, base, 8))) continue;
        for (uint32_t j = 0; j < loads->n; j++) {
            const tf_ex high = loads->e[j];
            const tf_ex_node *q = tf_exn(&m->x, high);
            if (m->vector[high] != 1 + 4 * high || q->i != p->i || q->b != p->b || !tf_ex_quad(&m->x, q->a, &other, &d) || other != base || d != c + 4) continue;
            m->octet[low] = high;
            m->octet[high] = low;
            m->args.data[tf_emit_arg(m, (uint32_t)p->i)].oct_read = true;
        }
    }
}

void tf_print_begin(tf_emitter *m, const tf_ex *roots, uint32_t n)
{
    if (!room_for_marks(m)) return;
    memset(m->vector, 0, m->printed_cap * sizeof *m->vector);
    memset(m->octet, 0, m->printed_cap * sizeof *m->octet);
    load_list loads = { 0 };
    m->epoch++;
    for (uint32_t i = 0; i < n; i++) collect_loads(m, roots[i], &loads);
    for (uint32_t i = 0; i < loads.n; i++) {
        const tf_ex_node *lane0 = tf_exn(&m->x, loads.e[i]);
        tf_ex base, lane[4] = { loads.e[i], 0, 0, 0 };
        int64_t c;
        if (m->vector[loads.e[i]] || !tf_ex_quad(&m->x, lane0->a, &base, &c) || c % 4) continue;
        const uint32_t a = tf_emit_arg(m, (uint32_t)lane0->i);
        if (m->failed || !tf_by_vectors(m, a, false)) continue;
        for (uint32_t j = 0; j < loads.n; j++) {
            const tf_ex_node *q = tf_exn(&m->x, loads.e[j]);
            tf_ex qb;
            int64_t qc;
            if (q->i != lane0->i || q->b != lane0->b) continue;
            tf_ex_quad(&m->x, q->a, &qb, &qc);
            if (qb == base && qc > c && qc < c + 4) lane[qc - c] = loads.e[j];
        }
        if (!lane[1] || !lane[2] || !lane[3]) continue;
        for (uint32_t k = 0; k < 4; k++) m->vector[lane[k]] = 1 + 4 * lane[0] + k;
        m->args.data[a].vec_read = true;
    }
    if (tf_emit_octets(m->build.limits)) pair_vectors(m, &loads);
    m->epoch++;
}

/* Does an index differ between the lanes or steps of a workgroup? */
static bool varies(const tf_exprs *x, tf_ex e)
{
    const tf_ex_node *n = tf_exn(x, e);
    switch (n->kind) {
    case TF_EX_VAR: return n->i != TF_VAR_GROUP;
    case TF_EX_ADD: case TF_EX_SUB: case TF_EX_MUL: case TF_EX_DIV: case TF_EX_MOD: case TF_EX_MIN: case TF_EX_MAX:
        return varies(x, n->a) || varies(x, n->b);
    case TF_EX_TO_INDEX: case TF_EX_TO_VALUE: return varies(x, n->a) || (n->b && varies(x, n->b));
    case TF_EX_INT: case TF_EX_DIM: case TF_EX_STEP: case TF_EX_SCALAR: case TF_EX_CONST: return false;
    default: return true;
    }
}

static void print_invariants(tf_emitter *m, tf_ex e, uint8_t *seen, const char *indent)
{
    if (!e || seen[e]) return;
    seen[e] = 1;
    const tf_ex_node n = *tf_exn(&m->x, e);
    if (n.kind == TF_EX_LOAD && !n.b && !varies(&m->x, n.a)) { (void)tf_print(m, e, indent); return; }
    if (n.kind == TF_EX_INT || n.kind == TF_EX_VAR || n.kind == TF_EX_DIM) return;
    print_invariants(m, n.a, seen, indent);
    print_invariants(m, n.b, seen, indent);
    print_invariants(m, n.c, seen, indent);
}

void tf_print_invariants(tf_emitter *m, const tf_ex *roots, uint32_t n, const char *indent)
{
    uint8_t *seen = tf_arena_array(m->arena, uint8_t, m->x.nodes.n);
    if (!seen) m->failed = true;
    for (uint32_t i = 0; i < n && !m->failed; i++) print_invariants(m, roots[i], seen, indent);
}

/* ---- printing ------------------------------------------------------------------------------------ */

const char *tf_glsl_type(tuff_dtype t)
{
    switch (t) {
    case TUFF_F64: return "double";
    case TUFF_C64: return "vec2";
    case TUFF_BOOL: return "bool";
    case TUFF_I32: case TUFF_I16: case TUFF_I8: case TUFF_I4: return "int";
    case TUFF_U32: case TUFF_U16: case TUFF_U8: case TUFF_U4: return "uint";
    default: return "float";
    }
}

const char *tf_glsl_vector(tuff_dtype t)
{
    const char *one = tf_glsl_type(t);
    return t == TUFF_C64 ? "mat4x2" : !strcmp(one, "float") ? "vec4" : !strcmp(one, "int") ? "ivec4" : !strcmp(one, "uint") ? "uvec4" : !strcmp(one, "bool") ? "bvec4" : "dvec4";
}

static const char *float_text(tf_emitter *m, double v, bool f64)
{
    if (v != v) return f64 ? "double(uintBitsToFloat(0x7fc00000u))" : "uintBitsToFloat(0x7fc00000u)";
    if (isinf(v)) return v > 0 ? "uintBitsToFloat(0x7f800000u)" : "uintBitsToFloat(0xff800000u)";
    if (f64) return tf_say(m, "%.17e%s", v, "lf");
    if (v == 0 && signbit(v)) return "uintBitsToFloat(0x80000000u)";
    char digits[32];
    snprintf(digits, sizeof digits, "%.9g", v);
    return tf_say(m, v < 0 ? "(%s%s)" : "%s%s", digits, strpbrk(digits, ".e") ? "" : ".0");
}

static const char *const_text(tf_emitter *m, tuff_dtype t, double v)
{
    if (!strcmp(tf_glsl_type(t), "int")) return v == -2147483648.0 ? "int(0x80000000u)" : tf_say(m, v < 0 ? "(%.0f)" : "%.0f", v);
    if (!strcmp(tf_glsl_type(t), "uint")) return tf_say(m, "%.0fu", v);
    if (t == TUFF_C64) return tf_say(m, "vec2(%s, 0.0)", float_text(m, v, false));
    return float_text(m, v, t == TUFF_F64);
}

static const char *var_text(tf_emitter *m, int64_t id, int64_t scale)
{
    if (id >= TF_VAR_QUAD) { /* last coordinate, a multiple of 4 or 8 */
        const int64_t n = id >= TF_VAR_OCTET ? 8 : 4, j = id - (n == 8 ? TF_VAR_OCTET : TF_VAR_QUAD);
        if (scale % n) return tf_say(m, "(int(c%d) / %d * %lld)", (int)j, (int)n, (long long)scale);
        return scale == n ? tf_say(m, "int(c%d)", (int)j)
                          : tf_say(m, "int(c%d) * %lld", (int)j, (long long)(scale / n));
    }
    const char *name = id >= TF_VAR_COORD ? tf_say(m, "int(c%d)", (int)(id - TF_VAR_COORD))
                     : id == TF_VAR_GROUP ? "int(GROUP)" : id == TF_VAR_STEP ? "int(u)" : "int(LID)";
    return scale == 1 ? name : tf_say(m, "%s * %lld", name, (long long)scale);
}

/* One row's text with operands and attributes in place. */
static void substitute(tf_emitter *m, tf_str *out, const char *text, const tf_ex_node *n, tuff_dtype operand, const char *const *arg)
{
    for (const char *p = text; *p; p++) {
        if (*p == '$' && p[1] >= '0' && p[1] <= '2') { tf_str_add(out, arg[*++p - '0']); continue; }
        if (*p == '$' && p[1] == 't') { tf_str_add(out, tuff_dtype_name(operand)); p++; continue; }
        if (*p == '@') {
            size_t len = 0;
            while ((p[1 + len] >= 'a' && p[1 + len] <= 'z') || p[1 + len] == '_' || (p[1 + len] >= '0' && p[1 + len] <= '9')) len++;
            for (uint32_t i = 0; i < n->op->attr_count; i++) {
                const tf_attr *a = &n->op->attrs[i];
                if (strlen(a->name) != len || strncmp(a->name, p + 1, len)) continue;
                const char *field = (const char *)n->desc + a->offset;
                float f; double d; int32_t v; int64_t w; uint64_t u; tuff_dtype dt;
                switch (a->type) {
                case TF_ATTR_FLOAT: memcpy(&f, field, sizeof f); tf_str_add(out, float_text(m, f, false)); break;
                case TF_ATTR_DOUBLE: memcpy(&d, field, sizeof d); tf_str_add(out, float_text(m, d, false)); break;
                case TF_ATTR_I64: memcpy(&w, field, sizeof w); tf_str_printf(out, "(%lld)", (long long)w); break;
                case TF_ATTR_U64: memcpy(&u, field, sizeof u); tf_str_printf(out, "uvec2(%uu, %uu)", (uint32_t)u, (uint32_t)(u >> 32)); break;
                case TF_ATTR_DTYPE: memcpy(&dt, field, sizeof dt); tf_str_add(out, tuff_dtype_name(dt)); break;
                case TF_ATTR_BOOL: tf_str_add(out, *field ? "true" : "false"); break;
                default: memcpy(&v, field, sizeof v); tf_str_printf(out, "(%d)", v); break;
                }
            }
            p += len;
            continue;
        }
        tf_str_add_n(out, p, 1);
    }
}

static const char *row_text(const tf_op *op, tuff_dtype operand)
{
    const char *text = operand == TUFF_BOOL ? op->glsl_bool : operand == TUFF_C64 ? op->glsl_complex : tf_dtype_is_int(operand) ? op->glsl_int : NULL;
    return text ? text : op->glsl;
}

/* Rounding of a result to what its dtype holds; exact for f32, i32, u32, bool, c64, f64. */
static const char *rounded(tf_emitter *m, tuff_dtype t, const char *e)
{
    const uint32_t bits = tf_dtype_bits(t);
    if (bits >= 32 || t == TUFF_BOOL || (m->options->relaxed && tf_dtype_is_float(t))) return e;
    return tf_say(m, "tf_to_%s(%s)", tuff_dtype_name(t), e);
}

static const char *op_text(tf_emitter *m, const tf_ex_node *n, const char *const *arg)
{
    tf_str s;
    const tuff_dtype operand = n->a ? tf_exn(&m->x, n->a)->t : n->t;
    tf_str_init(&s, &m->arena->allocator);
    const char *text = operand == TUFF_F64 && !n->op->f64 ? NULL : row_text(n->op, operand);
    if (!text) {
        fail(m, tf_say(m, "%s has no device form for %s", n->op->name, tuff_dtype_name(operand)));
        text = "$0";
    }
    substitute(m, &s, text, n, operand, arg);
    const char *copy = s.failed ? NULL : tf_arena_string(m->arena, s.data ? s.data : "");
    tf_str_release(&s);
    if (!copy) { m->failed = true; return "0"; }
    return rounded(m, n->t, tf_say(m, "(%s)", copy));
}

static const char *index_text(tf_emitter *m, const tf_ex_node *n, const char *a, const char *b)
{
    const tf_ex_node *p = tf_exn(&m->x, n->a), *q = tf_exn(&m->x, n->b);
    switch (n->kind) {
    case TF_EX_ADD:
        if (q->kind == TF_EX_INT && q->i < 0) return tf_say(m, "%s - %lld", a, -(long long)q->i);
        return tf_say(m, "%s + %s", a, b);
    case TF_EX_MUL:
        if (p->kind == TF_EX_VAR && q->kind == TF_EX_INT) return var_text(m, p->i, q->i);
        return tf_say(m, "%s * %s", a, b);
    case TF_EX_DIV: return tf_say(m, "int(uint(%s) / uint(%s))", a, b);
    case TF_EX_MOD: return tf_say(m, "int(uint(%s) %% uint(%s))", a, b);
    case TF_EX_MIN: return tf_say(m, "min(%s, %s)", a, b);
    case TF_EX_MAX: return tf_say(m, "max(%s, %s)", a, b);
    case TF_EX_LT: return tf_say(m, "%s < %s", a, b);
    case TF_EX_EQ: return tf_say(m, "%s == %s", a, b);
    case TF_EX_AND: return tf_say(m, "%s && %s", a, b);
    case TF_EX_OR: return tf_say(m, "%s || %s", a, b);
    case TF_EX_NOT: return tf_say(m, "!%s", a);
    default: return "0";
    }
}

static const char *vector_load(tf_emitter *m, tf_ex e, const char *indent)
{
    const uint32_t first = (m->vector[e] - 1) / 4, lane = (m->vector[e] - 1) % 4;
    const tf_ex_node *n = tf_exn(&m->x, first);
    if (m->printed[first] != m->epoch) {
        const tf_ex other = m->octet[first];
        int64_t d;
        const bool upper = other && tf_ex_difference(&m->x, n->a, tf_exn(&m->x, other)->a, &d) && d > 0;
        const char *at = tf_print(m, upper ? tf_exn(&m->x, other)->a : n->a, indent), *type = tf_glsl_vector(n->t);
        const uint32_t a = tf_emit_arg(m, (uint32_t)n->i);
        m->printed[first] = m->epoch;
        if (other) {
            m->printed[other] = m->epoch;
            tf_str_printf(&m->body, "%s%s q%u, q%u;\n%sLO%u(%s, q%u, q%u)\n", indent, type, first, other, indent, a, at, upper ? other : first, upper ? first : other);
        } else tf_str_printf(&m->body, "%sconst %s q%u = LV%u(%s);\n", indent, type, first, a, at);
    }
    return n->t == TUFF_C64 ? tf_say(m, "q%u[%u]", first, lane) : tf_say(m, "q%u.%c", first, "xyzw"[lane]);
}

static const char *leaf_text(tf_emitter *m, tf_ex e)
{
    const tf_ex_node *n = tf_exn(&m->x, e);
    switch (n->kind) {
    case TF_EX_INT: return tf_say(m, n->i < 0 ? "(%lld)" : "%lld", (long long)n->i);
    case TF_EX_VAR: return var_text(m, n->i, 1);
    case TF_EX_DIM: return tf_say(m, "int(PW(%u))", tf_emit_param(m, TF_PARAM_DIM, n->i));
    case TF_EX_TRUE: return n->i ? "true" : "false";
    case TF_EX_CONST: return const_text(m, n->t, n->f);
    case TF_EX_SCALAR: {
        const uint32_t p = tf_emit_param(m, TF_PARAM_SCALAR, n->i);
        return tf_say(m, n->t == TUFF_F32 ? "uintBitsToFloat(PW(%u))" : n->t == TUFF_I32 ? "int(PW(%u))" : "PW(%u)", p);
    }
    case TF_EX_STEP: {
        const uint32_t root = m->fusion->groups.data[m->group - 1].members.data[0];
        m->steps = true;
        if (!tf_region_chunked(m->g, m->g->nodes.data[root].region)) return tf_say(m, "int(iteration.step[%d])", (int)n->i - 1);
        return tf_say(m, "(int(iteration.step[%d]) + int(PW(%u)))", (int)n->i - 1, tf_emit_param(m, TF_PARAM_ITERATION, n->i - 1));
    }
    case TF_EX_RESULT: return n->i < 8 ? tf_say(m, "r%d", (int)n->i)
                            : n->t == TUFF_C64 ? tf_say(m, "r%d[%d]", (int)(n->i - 8) / 4, (int)(n->i - 8) % 4)
                                       : tf_say(m, "r%d.%c", (int)(n->i - 8) / 4, "xyzw"[(n->i - 8) % 4]);
    default: return NULL;
    }
}

const char *tf_print(tf_emitter *m, tf_ex e, const char *indent)
{
    if (m->failed || !e) { m->failed = true; return "0"; }
    const char *leaf = leaf_text(m, e);
    if (leaf) return leaf;
    if (tf_exn(&m->x, e)->kind == TF_EX_LOAD && m->vector[e]) return vector_load(m, e, indent);
    const char *name = tf_say(m, "v%u", e);
    if (m->printed[e] == m->epoch) return name;
    const tf_ex_node n = *tf_exn(&m->x, e);
    const char *arg[3] = { n.a ? tf_print(m, n.a, indent) : "", n.b ? tf_print(m, n.b, indent) : "", n.c ? tf_print(m, n.c, indent) : "" };
    const char *type = n.t == TUFF_DTYPE_NONE ? "int" : tf_glsl_type(n.t), *text;
    switch (n.kind) {
    case TF_EX_SELECT: text = tf_say(m, "%s ? %s : %s", arg[0], arg[1], arg[2]); break;
    case TF_EX_LOAD: {
        const uint32_t a = tf_emit_arg(m, (uint32_t)n.i);
        if (!m->failed) { m->args.data[a].read = true; m->args.data[a].scalar_used = true; m->args.data[a].fixed_read |= tf_exn(&m->x, n.a)->kind == TF_EX_INT; }
        text = tf_say(m, "L%u(%s)", a, arg[0]);
        break;
    }
    case TF_EX_OP: text = op_text(m, &n, arg); break;
    case TF_EX_TO_VALUE: text = arg[0]; break;
    case TF_EX_TO_INDEX: /* negative and too large clamp; unsigned values above 2^31 count as large */
        text = tf_say(m, !strcmp(tf_glsl_type(tf_exn(&m->x, n.a)->t), "uint") ? "int(min(%s, uint(%s)))" : "clamp(%s, 0, %s)", arg[0], arg[1]);
        break;
    default: text = index_text(m, &n, arg[0], arg[1]); break;
    }
    m->printed[e] = m->epoch;
    tf_str_printf(&m->body, "%s%s %s = %s;\n", indent, type, name, text ? text : "0");
    return name;
}
