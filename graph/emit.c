/* emit.c - a group becomes kernel text.
 *
 * A map kernel writes its stored value four elements a thread; an anchor's kernel is its template with load and store
 * hooks printed above it. The text refers to operands only by macros L<i>, LV<i>, S<i>, SV<i> (load and store of one and
 * of four elements of argument i), so the hooks do not change when binding slots are assigned afterwards. */
#include "emit.h"
#include "lower.h"

#include <stdio.h>
#include <string.h>

enum { MAP_UNROLL = 16, MAP_LARGE = 65536, MAP_PAGE = 4096, SMALL_BODY = 24 }; /* most elements a thread; elements of a map that fills a device; bytes */

/* ---- arguments and parameters -------------------------------------------------------------------- */

bool tf_emit_packed(const tf_emitter *m, tuff_dtype t)
{
    const uint32_t bits = tf_dtype_bits(t);
    return bits < 8 || (bits == 8 && !m->build.limits->storage8) || (bits == 16 && !m->build.limits->storage16);
}

uint32_t tf_emit_arg(tf_emitter *m, uint32_t value)
{
    for (uint32_t i = 0; i < m->args.n; i++)
        if (m->args.data[i].value == value) return i;
    tf_kernel_arg *a = tf_push(m->arena, &m->args);
    if (!a) { m->failed = true; return 0; }
    const tf_node *def = tf_def(m->g, value);
    a->value = value;
    a->wide = def->op->kind != TF_SOURCE && !tf_op_packs(def->op) && tf_emit_packed(m, tf_type_of(m->g, value)->dtype);
    return m->args.n - 1;
}

uint32_t tf_emit_param(tf_emitter *m, tf_param_kind kind, int64_t a)
{
    for (uint32_t i = 0; i < m->params.n; i++)
        if (m->params.data[i].kind == kind && m->params.data[i].a == a) return i;
    tf_param *p = tf_push(m->arena, &m->params);
    if (!p) { m->failed = true; return 0; }
    *p = (tf_param){ kind, a };
    return m->params.n - 1;
}

void tf_define(tf_kernel_build *k, const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tf_str_printf(k->defines, "#define %s ", name);
    tf_str_vprintf(k->defines, format, args);
    tf_str_add(k->defines, "\n");
    va_end(args);
}

void tf_define_dim(tf_kernel_build *k, const char *name, int64_t dim)
{
    if (tf_dim_is_dynamic(dim)) tf_define(k, name, "int(PW(%u))", tf_emit_param((tf_emitter *)k, TF_PARAM_DIM, dim));
    else tf_define(k, name, "%lld", (long long)dim);
}

void tf_define_live(tf_kernel_build *k, const char *name, int64_t dim)
{
    tf_define(k, name, "PW(%u)", tf_emit_param((tf_emitter *)k, TF_PARAM_DIM, dim));
}

/* ---- ways ---------------------------------------------------------------------------------------- */

/* Sizes up to 16 as they are, others as the power of two from there on. */
static uint64_t rough(int64_t n)
{
    uint64_t p = 16;
    while (n > 16 && p < (uint64_t)n) p *= 2;
    return n > 16 ? p : (uint64_t)n;
}

static uint64_t hash_type(const tuff_graph *g, uint64_t h, const tf_type *t)
{
    uint64_t words[TUFF_MAX_RANK + 1] = { t ? (uint64_t)t->dtype : 0 };
    for (int32_t i = 0; t && i < t->rank; i++) words[i + 1] = rough(tf_dim_bound(g, t->dim[i]));
    return tf_hash(h, words, sizeof words);
}

uint32_t tf_way(tf_kernel_build *k, uint32_t n, uint32_t best, uint64_t flags)
{
    const tf_limits *l = k->limits;
    const uint64_t list[] = { flags, n, l->cpu, l->max_invocations, l->coopmat.m }; /* what the numbers of ways mean */
    uint64_t h = tf_hash(tf_hash_string(0, k->node->op->name), list, sizeof list);
    for (uint32_t i = 0; i < k->n_src; i++) h = hash_type(k->g, h, k->src[i]);
    for (uint32_t r = 0; r < k->n_out; r++) h = hash_type(k->g, h, &k->out[r]);
    k->choice = h;
    k->ways = n;
    k->way = best;
    const tf_tuning *t = l->tuning;
    for (uint32_t lo = 0, hi = t ? t->n : 0; lo < hi;) {
        const uint32_t mid = lo + (hi - lo) / 2;
        if (t->rows[mid].choice == h) {
            k->tuned = t->rows[mid].way < n;
            k->way = k->tuned ? t->rows[mid].way : best;
            break;
        }
        if (t->rows[mid].choice < h) lo = mid + 1;
        else hi = mid;
    }
    return k->way;
}

/* ---- stores -------------------------------------------------------------------------------------- */

/* CPUs pay per loaded component, whatever its width: there, vectors travel as words of 64 bits. */
bool tf_emit_long_words(const tf_limits *l) { return l->cpu && l->i64; }

bool tf_emit_octets(const tf_limits *l) { return l->cpu && l->i64 && !l->uniform_loads; }

static const char *lane_list(tf_emitter *m, const char *const *v) { return tf_say(m, "%s, %s, %s, %s", v[0], v[1], v[2], v[3]); }

/* Are the indices one aligned run? */
static bool is_run(tf_emitter *m, const tf_ex *index, uint32_t n)
{
    tf_ex base;
    int64_t c, d;
    bool run = tf_ex_quad(&m->x, index[0], &base, &c) && c % n == 0;
    for (uint32_t k = 1; k < n && run; k++) run = tf_ex_difference(&m->x, index[k], index[0], &d) && d == k;
    return run;
}

/* Eight elements into the words that they fill. */
static void print_words(tf_emitter *m, uint32_t a, tuff_dtype t, const char *at, const char *const *v, const char *indent)
{
    const uint32_t per = 32 / tf_dtype_bits(t);
    for (uint32_t w = 0; w < 8 / per; w++) {
        tf_str_printf(&m->body, "%sSW%u(uint(%s) / %uu + %uu, ", indent, a, at, per, w);
        for (uint32_t k = 0; k < per; k++) tf_str_printf(&m->body, "%stf_bits_%s(%s) << %u", k ? " | " : "", tuff_dtype_name(t), v[w * per + k], k * 32 / per);
        tf_str_add(&m->body, ");\n");
    }
}

/* Store lanes of a value: vector stores where their indices are proved contiguous and aligned. */
static void print_stores(tf_emitter *m, uint32_t value, const tf_ex *index, const tf_ex *e, uint32_t width, const char *const *guard, const char *indent)
{
    const uint32_t a = tf_emit_arg(m, value);
    if (m->failed) return;
    m->args.data[a].write = true;
    const tuff_dtype t = tf_type_of(m->g, value)->dtype;
    const uint32_t step = TF_MIN(width, 8u);
    bool vector = width >= 4 && !guard && tf_by_vectors(m, a, true);
    for (uint32_t k = 0; k < width && vector; k += step) vector = is_run(m, index + k, step);
    const char *v[MAP_UNROLL];
    for (uint32_t k = 0; k < width; k++) v[k] = tf_print(m, e[k], indent);
    if (width == 8 && tf_emit_packed(m, t) && !m->args.data[a].wide && is_run(m, index, 8)) {
        m->args.data[a].scalar_used = true;
        print_words(m, a, t, tf_print(m, index[0], indent), v, indent);
        return;
    }
    if (vector) {
        m->args.data[a].vec_write = true;
        m->args.data[a].oct_write |= step == 8;
        for (uint32_t k = 0; k < width; k += step) {
            const char *at = tf_print(m, index[k], indent), *low = lane_list(m, v + k);
            if (step == 8) tf_str_printf(&m->body, "%sSO%u(%s, %s, %s)\n", indent, a, at, low, lane_list(m, v + k + 4));
            else tf_str_printf(&m->body, "%sSV%u(%s, %s);\n", indent, a, at, low);
        }
        return;
    }
    m->args.data[a].scalar_used = true;
    for (uint32_t k = 0; k < width; k++) {
        const char *at = tf_print(m, index[k], indent);
        if (guard) tf_str_printf(&m->body, "%sif (%s) S%u(%s, %s);\n", indent, guard[k], a, at, v[k]);
        else tf_str_printf(&m->body, "%sS%u(%s, %s);\n", indent, a, at, v[k]);
    }
}

/* ---- map kernels --------------------------------------------------------------------------------- */

/* Is a map large enough for MAP_UNROLL copies of its body in the code? They run faster and take longer to compile. */
static bool pays_for_copies(const tf_emitter *m, uint64_t bound) { return bound >= (uint64_t)m->fusion->groups.data[m->group - 1].text << 13; }

/* Elements a thread writes: whole words of narrow packed outputs, else 4 where the count allows. */
static uint32_t map_width(const tf_emitter *m, uint32_t value, uint64_t bound, bool fixed, bool *tail)
{
    const tf_type *t = tf_type_of(m->g, value);
    const uint32_t bits = tf_dtype_bits(t->dtype);
    const bool words = tf_emit_packed(m, t->dtype) && (tf_def(m->g, value)->op == &tf_op_copy);
    *tail = false;
    if (words) {
        *tail = !fixed || bound % (32 / bits) != 0;
        return 32 / bits;
    }
    if (bits == 64) return fixed && bound % 2 == 0 ? 2 : 1;
    if (m->fusion->groups.data[m->group - 1].ops > SMALL_BODY) return fixed && bound % 2 == 0 ? 2 : 1;
    const int64_t last = t->rank ? t->dim[t->rank - 1] : 1;
    if (tf_emit_octets(m->build.limits) && fixed && bound % MAP_UNROLL == 0 && bound >= MAP_LARGE && pays_for_copies(m, bound)) return MAP_UNROLL;
    if (fixed ? bound % 4 == 0 : !tf_dim_is_dynamic(last) && last % 4 == 0) return 4;
    return fixed && bound % 2 == 0 ? 2 : 1;
}

/* Whole words assembled from narrow elements; elements beyond the count are zero. */
static void print_packed_store(tf_emitter *m, uint32_t value, const tf_ex *e, uint32_t width, const char *const *inside, const char *indent)
{
    const tuff_dtype t = tf_type_of(m->g, value)->dtype;
    const uint32_t a = tf_emit_arg(m, value), bits = tf_dtype_bits(t);
    if (m->failed) return;
    m->args.data[a].write = true;
    m->args.data[a].scalar_used = true;
    tf_str_printf(&m->body, "%suint word = 0u;\n", indent);
    for (uint32_t k = 0; k < width; k++) {
        const char *v = tf_print(m, e[k], indent);
        const char *code = tf_say(m, "(tf_bits_%s(%s) << %u)", tuff_dtype_name(t), v, k * bits);
        if (inside) tf_str_printf(&m->body, "%sif (%s) word |= %s;\n", indent, inside[k], code);
        else tf_str_printf(&m->body, "%sword |= %s;\n", indent, code);
    }
    tf_str_printf(&m->body, "%sSW%u(t, word);\n", indent, a);
}

/* The axis, other than the last, along which memory is read contiguously; -1: none. A map over such a value goes in tiles of
 * 4 x 4, so that reads and writes are both vectors. */
static int32_t tile_axis(tf_emitter *m, uint32_t root)
{
    const tf_group *q = &m->fusion->groups.data[m->group - 1];
    const tf_type *t = tf_type_of(m->g, root);
    const int32_t last = t->rank - 1;
    if (q->stores.n != 1 || q->ops > 8 || t->rank < 2 || !tf_type_is_static(t) || t->dim[last] % 4 || tf_dtype_bits(t->dtype) == 64 ||
        tf_emit_packed(m, t->dtype)) return -1;
    tf_ex at[TUFF_MAX_RANK], next[TUFF_MAX_RANK];
    for (int32_t i = 0; i <= last; i++) at[i] = tf_ex_var(&m->x, TF_VAR_COORD + i, t->dim[i]);
    const tf_ex here = tf_hook_value(m, root, at, 0, true), one = tf_ex_int(&m->x, 1);
    memcpy(next, at, sizeof next);
    next[last] = tf_ex_add(&m->x, at[last], one);
    const tf_ex across = tf_hook_value(m, root, next, 0, true);
    for (int32_t s = last - 1; s >= 0 && !m->failed; s--) {
        if (t->dim[s] % 4 || t->dim[s] == 0) continue;
        memcpy(next, at, sizeof next);
        next[s] = tf_ex_add(&m->x, at[s], one);
        if (tf_hook_steps(m, here, tf_hook_value(m, root, next, 0, true), across)) return s;
    }
    return -1;
}

/* Splits off what is below n, a dim of the linear index *e. */
static tf_ex split(tf_emitter *m, tf_ex *e, int64_t n)
{
    const tf_ex d = tf_ex_int(&m->x, n), low = tf_ex_mod(&m->x, *e, d);
    *e = tf_ex_div(&m->x, *e, d);
    return low;
}

/* Neighbours: 4 tiles along the last axis, where 16 elements are a line of most caches, then all along s, so that what is read is
 * read on; then the rest of the last axis and the other axes. */
static void tile_coords(tf_emitter *m, const tf_type *tiles, int32_t s, tf_ex thread, tf_ex *tile)
{
    const int32_t last = tiles->rank - 1;
    int64_t across = 4;
    while (tiles->dim[last] % across) across /= 2;
    tile[last] = split(m, &thread, across);
    tile[s] = split(m, &thread, tiles->dim[s]);
    tile[last] = tf_ex_add(&m->x, tf_ex_mul(&m->x, split(m, &thread, tiles->dim[last] / across), tf_ex_int(&m->x, across)), tile[last]);
    for (int32_t i = last - 1; i >= 0; i--)
        if (i != s) tile[i] = split(m, &thread, tiles->dim[i]);
}

static void emit_tiles(tf_emitter *m, uint32_t root, int32_t s)
{
    tf_type t = *tf_type_of(m->g, root);
    const int32_t last = t.rank - 1;
    tf_ex tile[TUFF_MAX_RANK] = { 0 }, coords[TUFF_MAX_RANK], e[16], index[16];
    tf_type tiles = t;
    tiles.dim[last] /= 4;
    tiles.dim[s] /= 4;
    const int64_t threads = tf_dim_product(m->build.g, tiles.dim, 0, tiles.rank);
    const uint32_t wg = TF_MIN(m->build.limits->max_invocations, 64u);
    m->build.local[0] = wg;
    m->build.local[1] = m->build.local[2] = 1;
    m->build.groups = (threads + wg - 1) / wg;
    m->build.flops = (uint64_t)threads * 16;
    m->algorithm = "tiles of 4 x 4 a thread";
    const tf_ex thread = tf_ex_add(&m->x, tf_ex_mul(&m->x, tf_ex_var(&m->x, TF_VAR_GROUP, m->build.groups), tf_ex_int(&m->x, wg)), tf_ex_var(&m->x, TF_VAR_LANE, wg));
    tile_coords(m, &tiles, s, thread, tile);
    for (int k = 0; k < 16; k++) {
        memcpy(coords, tile, sizeof coords);
        coords[s] = tf_ex_add(&m->x, tf_ex_mul(&m->x, tile[s], tf_ex_int(&m->x, 4)), tf_ex_int(&m->x, k / 4));
        coords[last] = tf_ex_add(&m->x, tf_ex_mul(&m->x, tile[last], tf_ex_int(&m->x, 4)), tf_ex_int(&m->x, k % 4));
        e[k] = tf_hook_value(m, root, coords, 0, true);
        index[k] = tf_ex_linear(&m->x, &t, coords);
    }
    if (m->failed) return;
    for (int k = 0; k < 16; k++) tf_hook_elsewhere(m, e[k], index[k]);
    tf_print_begin(m, e, 16);
    tf_str_add(&m->body, "void main()\n{\n    LEAVE_SPARE_GROUPS\n");
    if (threads % wg) tf_str_printf(&m->body, "    if (GROUP * WG + LID >= %lldu) return;\n", (long long)threads);
    for (int k = 0; k < 4; k++) print_stores(m, root, &index[4 * k], &e[4 * k], 4, NULL, "    ");
    tf_str_add(&m->body, "}\n");
}

static void emit_map(tf_emitter *m)
{
    const tf_group *q = &m->fusion->groups.data[m->group - 1];
    const uint32_t root = q->stores.data[0];
    const int32_t tiled = tile_axis(m, root);
    if (tiled >= 0) { emit_tiles(m, root, tiled); return; }
    const tf_type *t = tf_type_of(m->g, root);
    tuff_graph *g = m->build.g;
    const int64_t count = tf_dim_product(g, t->dim, 0, t->rank);
    const bool fixed = !tf_dim_is_dynamic(count), packed = tf_emit_packed(m, t->dtype) && tf_def(g, root)->op == &tf_op_copy;
    const uint64_t bound = (uint64_t)tf_dim_bound(g, count);
    bool tail;
    uint32_t width = map_width(m, root, bound, fixed, &tail);
    for (uint32_t s = 1; s < q->stores.n; s++) {
        bool ignored;
        width = TF_MIN(width, map_width(m, q->stores.data[s], bound, fixed, &ignored));
    }
    const uint32_t page = width == MAP_UNROLL ? MAP_PAGE * 8 / (width * tf_dtype_bits(t->dtype)) : 256; /* what CPUs fetch ahead ends there */
    const uint32_t wg = TF_MIN(m->build.limits->max_invocations, bound >= MAP_LARGE ? page : 64u);
    const uint32_t most = TF_MIN(MAP_UNROLL / width, 4u);
    const uint32_t unroll = q->ops <= SMALL_BODY && bound / width >= (uint64_t)wg * most * 16 && pays_for_copies(m, bound) ? most : 1;
    const int64_t round = tail ? tf_dim_bin(g, TUFF_DIM_ADD, count, width - 1) : count;
    const int64_t threads = width == 1 ? round : tf_dim_bin(g, TUFF_DIM_FLOORDIV, round, width);
    const int64_t per_group = (int64_t)wg * unroll;
    m->build.groups = tf_dim_bin(g, TUFF_DIM_FLOORDIV, tf_dim_bin(g, TUFF_DIM_ADD, threads, per_group - 1), per_group);
    m->build.local[0] = wg;
    m->build.local[1] = m->build.local[2] = 1;
    m->build.flops = bound * TF_MAX(q->ops, 1u);
    m->algorithm = width * unroll == 1 ? "one element a thread" : tf_say(m, "%u elements a thread", width * unroll);
    tf_define_dim(&m->build, "THREADS", threads);
    tf_define_dim(&m->build, "COUNT", count);

    /* t as group, unrolled step and lane, so that coordinates constant over a group are seen to be */
    tf_ex thread = tf_ex_mul(&m->x, tf_ex_var(&m->x, TF_VAR_GROUP, m->build.groups), tf_ex_int(&m->x, per_group));
    if (unroll > 1) thread = tf_ex_add(&m->x, thread, tf_ex_mul(&m->x, tf_ex_var(&m->x, TF_VAR_STEP, unroll), tf_ex_int(&m->x, wg)));
    thread = tf_ex_add(&m->x, thread, tf_ex_var(&m->x, TF_VAR_LANE, wg));
    const tf_ex last = tf_ex_sub(&m->x, tf_ex_dim(&m->x, count), tf_ex_int(&m->x, 1));
    tf_ex e[MAP_UNROLL * TF_MAX_STORES], index[MAP_UNROLL];
    for (uint32_t k = 0; k < width; k++) {
        tf_ex coords[TUFF_MAX_RANK] = { 0 };
        index[k] = tf_ex_add(&m->x, tf_ex_mul(&m->x, thread, tf_ex_int(&m->x, width)), tf_ex_int(&m->x, k));
        tf_ex_unlinear(&m->x, t, tail ? tf_ex_min(&m->x, index[k], last) : index[k], coords);
        for (uint32_t s = 0; s < q->stores.n; s++)
            e[s * width + k] = tf_hook_value(m, q->stores.data[s], coords, tail ? tf_ex_lt(&m->x, index[k], tf_ex_dim(&m->x, count)) : 0, true);
    }
    if (m->failed) return;
    for (uint32_t k = 0; k < width * q->stores.n && !(fixed && bound == 1); k++) tf_hook_elsewhere(m, e[k], index[k % width]);
    tf_print_begin(m, e, width * q->stores.n);
    tf_str_add(&m->body, "void main()\n{\n    LEAVE_SPARE_GROUPS\n");
    const char *indent = unroll > 1 ? "        " : "    ";
    if (unroll > 1) tf_print_invariants(m, e, width * q->stores.n, "    ");
    if (unroll > 1) tf_str_printf(&m->body, "    [[unroll]] for (uint u = 0u; u < %uu; u++) {\n        const uint t = (GROUP * %uu + u) * WG + LID;\n", unroll, unroll);
    else tf_str_add(&m->body, "    const uint t = GROUP * WG + LID;\n");
    const bool exact = fixed && bound / width % ((uint64_t)wg * unroll) == 0;
    if (!exact) tf_str_printf(&m->body, "%sif (t >= uint(THREADS)) %s;\n", indent, unroll > 1 ? "break" : "return");
    if (packed) {
        const char *inside[8];
        for (uint32_t k = 0; k < width; k++) inside[k] = tf_say(m, "t * %uu + %uu < uint(COUNT)", width, k);
        print_packed_store(m, root, e, width, tail ? inside : NULL, indent);
    } else {
        for (uint32_t k = 0; k < width * q->stores.n; k++) (void)tf_print(m, e[k], indent); /* all reads before the first write */
        for (uint32_t s = 0; s < q->stores.n; s++) print_stores(m, q->stores.data[s], index, &e[s * width], width, NULL, indent);
    }
    tf_str_add(&m->body, unroll > 1 ? "    }\n}\n" : "}\n");
}

/* ---- anchors ------------------------------------------------------------------------------------- */

static const char *parameters(tf_emitter *m, int32_t rank)
{
    tf_str s;
    tf_str_init(&s, &m->arena->allocator);
    for (int32_t i = 0; i < rank; i++) tf_str_printf(&s, "%suint c%d", i ? ", " : "", (int)i);
    const char *text = tf_arena_string(m->arena, s.data ? s.data : "");
    if (s.failed || !text) m->failed = true;
    tf_str_release(&s);
    return text ? text : "";
}

/* Coordinates of lane k: plain variables, or the last one 4 * quad + k, clamped where the dim is no multiple of 4. */
static void hook_coords(tf_emitter *m, const tf_type *t, uint32_t width, uint32_t lane, tf_ex *coords)
{
    for (int32_t i = 0; i < t->rank; i++) coords[i] = tf_ex_var(&m->x, TF_VAR_COORD + i, t->dim[i]);
    if (width == 1 || t->rank == 0) return;
    const int32_t j = t->rank - 1;
    const int64_t d = t->dim[j];
    const bool whole = !tf_dim_is_dynamic(d) && d % 4 == 0;
    if (width == 8) { /* asked for where d is a multiple of 8 */
        coords[j] = tf_ex_add(&m->x, tf_ex_mul(&m->x, tf_ex_var(&m->x, TF_VAR_OCTET + j, d / 8), tf_ex_int(&m->x, 8)), tf_ex_int(&m->x, lane));
        return;
    }
    const int64_t quads = tf_dim_bin(m->build.g, TUFF_DIM_FLOORDIV, tf_dim_bin(m->build.g, TUFF_DIM_ADD, d, 3), 4);
    const tf_ex at = tf_ex_add(&m->x, tf_ex_mul(&m->x, tf_ex_var(&m->x, TF_VAR_QUAD + j, quads), tf_ex_int(&m->x, 4)), tf_ex_int(&m->x, lane));
    coords[j] = whole ? at : tf_ex_min(&m->x, at, tf_ex_sub(&m->x, tf_ex_dim(&m->x, d), tf_ex_int(&m->x, 1)));
}

static void print_load_hook(tf_emitter *m, const char *name, uint32_t value, uint32_t width)
{
    const tf_type *t = tf_type_of(m->g, value);
    const char *type = tf_glsl_type(t->dtype), *vector = tf_glsl_vector(t->dtype), *coords_text = parameters(m, t->rank);
    tf_ex e[8];
    for (uint32_t k = 0; k < width; k++) {
        tf_ex coords[TUFF_MAX_RANK] = { 0 };
        hook_coords(m, t, width, k, coords);
        e[k] = tf_hook_value(m, value, coords, 0, false);
    }
    if (m->failed) return;
    for (uint32_t k = 0; k < width; k++) tf_hook_elsewhere(m, e[k], 0);
    tf_print_begin(m, e, width);
    if (width == 8) tf_str_printf(&m->body, "void %s_at8(%s, out %s p, out %s q)\n{\n", name, coords_text, vector, vector);
    else tf_str_printf(&m->body, "%s %s_at%s(%s)\n{\n", width == 4 ? vector : type, name, width == 4 ? "4" : "", coords_text);
    const char *v[8];
    for (uint32_t k = 0; k < width; k++) v[k] = tf_print(m, e[k], "    ");
    if (width == 8) tf_str_printf(&m->body, "    p = %s(%s);\n    q = %s(%s);\n}\n", vector, lane_list(m, v), vector, lane_list(m, v + 4));
    else if (width == 4) tf_str_printf(&m->body, "    return %s(%s);\n}\n", vector, lane_list(m, v));
    else tf_str_printf(&m->body, "    return %s;\n}\n", v[0]);
}

typedef struct placed { tf_ex at[TUFF_MAX_RANK]; bool here; } placed;

/* Coordinates of the values on the store side that grow from one result of the anchor, outward. */
static bool forward_coords(tf_emitter *m, const tf_group *q, uint32_t result, const tf_ex *anchor, placed *p)
{
    memcpy(p[0].at, anchor, sizeof p[0].at);
    for (uint32_t i = 1; i < q->members.n; i++) {
        const tf_node *n = &m->g->nodes.data[q->members.data[i]];
        const placed *from = NULL;
        uint32_t source = 0;
        bool inside = false;
        for (uint32_t s = 0; s < n->n_src && !from; s++)
            for (uint32_t j = 0; n->src[s] && j < i && !from; j++) {
                const tf_value *v = tf_val(m->g, n->src[s]);
                if (v->node != q->members.data[j]) continue;
                inside = true;
                if (j ? !p[j].here : v->result != result) continue;
                from = &p[j];
                source = n->src[s];
            }
        if (!inside) return false;
        p[i].here = from != NULL;
        if (from && n->op->kind == TF_VIEW) {
            tf_view_map v = { .x = &m->x, .g = m->g, .node = n, .desc = n->desc, .out = from->at, .out_type = tf_type_of(m->g, n->out), .src_type = tf_type_of(m->g, source) };
            n->op->inverse(&v);
            memcpy(p[i].at, v.src, sizeof p[i].at);
        } else if (from) memcpy(p[i].at, from->at, sizeof p[i].at);
    }
    return true;
}

static void print_store_hook(tf_emitter *m, const char *name, uint32_t result, uint32_t width)
{
    const tf_group *q = &m->fusion->groups.data[m->group - 1];
    const tf_node *a = &m->g->nodes.data[q->anchor];
    const tf_type *rt = tf_type_of(m->g, a->out + result);
    const char *type = tf_glsl_type(rt->dtype);
    const char *vector = tf_glsl_vector(rt->dtype);
    const uint32_t members = q->members.n;
    placed *lane_at[8];
    const int64_t inner = rt->rank ? rt->dim[rt->rank - 1] : 1;
    const bool guard = width == 4 && (tf_dim_is_dynamic(inner) || inner % 4 != 0);
    for (uint32_t k = 0; k < width; k++) {
        tf_ex coords[TUFF_MAX_RANK] = { 0 };
        hook_coords(m, rt, width, k, coords);
        lane_at[k] = tf_arena_alloc_array(m->arena, members, sizeof *lane_at[k]);
        if (!lane_at[k]) { m->failed = true; return; }
        if (!forward_coords(m, q, result, coords, lane_at[k])) { m->failed = true; m->error = "a store hook lost its anchor"; return; }
    }
    /* lanes see their own component of the result; the upper half of eight is named like the next result */
    tf_ex roots[8 * TF_MAX_STORES], index[8 * TF_MAX_STORES];
    uint32_t values[TF_MAX_STORES], n = 0;
    m->store_side = true;
    for (uint32_t s = 0; s < q->stores.n && n < TF_MAX_STORES; s++) {
        const uint32_t v = q->stores.data[s], node = tf_val(m->g, v)->node;
        uint32_t member = 0;
        while (member < members && q->members.data[member] != node) member++;
        if (member == members || (member ? !lane_at[0][member].here : tf_val(m->g, v)->result != result)) continue;
        for (uint32_t k = 0; k < width; k++) {
            m->lane = width >= 4 ? k + 1 : 0;
            m->memo.n = 0; /* RESULT means another component in each lane */
            if (m->memo_cap) memset(m->memo_table, 0, m->memo_cap * sizeof *m->memo_table);
            roots[n * width + k] = tf_hook_value(m, v, lane_at[k][member].at, 0, true);
            index[n * width + k] = tf_ex_linear(&m->x, tf_type_of(m->g, v), lane_at[k][member].at);
        }
        values[n++] = v;
    }
    m->store_side = false;
    m->lane = 0;
    m->memo.n = 0;
    if (m->memo_cap) memset(m->memo_table, 0, m->memo_cap * sizeof *m->memo_table);
    if (m->failed) return;
    for (uint32_t k = 0; k < n * width; k++) tf_hook_elsewhere(m, roots[k], index[k]);
    tf_print_begin(m, roots, n * width);
    if (width == 8) tf_str_printf(&m->body, "void %s_put8(%s, %s r%u, %s r%u)\n{\n", name, parameters(m, rt->rank), vector, result, vector, result + 1);
    else tf_str_printf(&m->body, "void %s_put%s(%s%s%s r%u)\n{\n", name, width == 4 ? "4" : "", parameters(m, rt->rank), rt->rank ? ", " : "",
                       width == 4 ? vector : type, result);
    const char *guards[4];
    for (uint32_t k = 0; k < 4; k++) guards[k] = tf_say(m, "int(c%d) + %u < %s", (int)rt->rank - 1, k,
        tf_dim_is_dynamic(inner) ? tf_say(m, "int(PW(%u))", tf_emit_param(m, TF_PARAM_DIM, inner)) : tf_say(m, "%lld", (long long)inner));
    for (uint32_t k = 0; k < n * width; k++) (void)tf_print(m, roots[k], "    ");
    for (uint32_t s = 0; s < n; s++) print_stores(m, values[s], &index[s * width], &roots[s * width], width, guard ? guards : NULL, "    ");
    tf_str_add(&m->body, "}\n");
}

static void print_score_hook(tf_emitter *m, const tf_node *n)
{
    tf_ex coords[4];
    for (int i = 0; i < 4; i++) coords[i] = tf_ex_var(&m->x, TF_VAR_COORD + i, m->build.score_dim[i]);
    const tf_ex e = tf_hook_score(m, n, coords, tf_ex_leaf(&m->x, TF_EX_RESULT, TUFF_F32, 0));
    if (!e) m->failed = true;
    if (m->failed) return;
    tf_hook_elsewhere(m, e, 0);
    tf_print_begin(m, &e, 1);
    tf_str_add(&m->body, "float score_hook(float r0, uint c0, uint c1, uint c2, uint c3)\n{\n");
    const char *v = tf_print(m, e, "    ");
    tf_str_printf(&m->body, "    return %s;\n}\n", v);
}

static void print_join_hook(tf_emitter *m, const tf_node *n, uint32_t fields)
{
    tf_ex leaf[8], y[4];
    for (uint32_t i = 0; i < 2 * fields; i++)
        leaf[i] = tf_ex_leaf(&m->x, TF_EX_RESULT, tf_type_of(m->g, n->src[i % fields])->dtype, i);
    if (!tf_hook_join(m, n, leaf, y)) m->failed = true;
    if (m->failed) return;
    tf_print_begin(m, y, fields);
    tf_str_add(&m->body, "void join_hook(");
    for (uint32_t i = 0; i < 2 * fields; i++) tf_str_printf(&m->body, "%s r%u, ", tf_glsl_type(tf_exn(&m->x, leaf[i])->t), i);
    for (uint32_t i = 0; i < fields; i++) tf_str_printf(&m->body, "%sout %s y%u", i ? ", " : "", tf_glsl_type(tf_exn(&m->x, leaf[i])->t), i);
    tf_str_add(&m->body, ")\n{\n");
    const char *v[4];
    for (uint32_t i = 0; i < fields; i++) v[i] = tf_print(m, y[i], "    ");
    for (uint32_t i = 0; i < fields; i++) tf_str_printf(&m->body, "    y%u = %s;\n", i, v[i]);
    tf_str_add(&m->body, "}\n");
}

static void emit_anchor(tf_emitter *m)
{
    const tf_group *q = &m->fusion->groups.data[m->group - 1];
    const tf_node *n = &m->g->nodes.data[q->anchor];
    const tf_anchor *a = n->op->anchor;
    tf_kernel_build *k = &m->build;
    const tf_type *src[TF_MAX_OPERANDS];
    bool plain[TF_MAX_OPERANDS], want[TF_MAX_RESULTS] = { false };
    for (uint32_t i = 0; i < n->n_src; i++) {
        src[i] = n->src[i] ? tf_type_of(m->g, n->src[i]) : NULL;
        plain[i] = n->src[i] && (m->fusion->stored[n->src[i]] || tf_def(m->g, n->src[i])->op->kind == TF_SOURCE);
    }
    for (uint32_t r = 0; r < n->n_out; r++) want[r] = m->fusion->stored[n->out + r] != 0;
    for (uint32_t i = 1; i < q->members.n; i++) {
        const tf_node *x = &m->g->nodes.data[q->members.data[i]];
        for (uint32_t s = 0; s < x->n_src; s++)
            if (x->src[s] && tf_val(m->g, x->src[s])->node == q->anchor) want[tf_val(m->g, x->src[s])->result] = true;
    }
    k->node = n;
    k->desc = n->desc;
    k->src = src;
    k->n_src = n->n_src;
    k->out = tf_type_of(m->g, n->out);
    k->n_out = n->n_out;
    k->want = want;
    k->text = q->text;
    k->plain = plain;
    memcpy(k->loads, a->loads, sizeof k->loads);
    memcpy(k->stores, a->stores, sizeof k->stores);
    tf_type out[TF_MAX_RESULTS];
    for (uint32_t r = 0; r < n->n_out; r++) out[r] = *tf_type_of(m->g, n->out + r);
    k->out = out;
    if (!a->configure(k)) {
        m->failed = true;
        m->error = m->build.g->error ? m->build.g->error : "the kernel could not be configured";
        return;
    }
    m->algorithm = k->algorithm;
    for (uint32_t i = 0; i < n->n_src && i < TF_COUNT(k->loads) && !m->failed; i++) {
        if (!n->src[i] || !k->loads[i].name) continue;
        if (k->loads[i].widths & 1) print_load_hook(m, k->loads[i].name, n->src[i], 1);
        if (k->loads[i].widths & 4) print_load_hook(m, k->loads[i].name, n->src[i], 4);
        if (k->loads[i].widths & 8) print_load_hook(m, k->loads[i].name, n->src[i], 8);
    }
    if (k->score && !m->failed) print_score_hook(m, n);
    if (k->join && !m->failed) print_join_hook(m, n, k->join);
    for (uint32_t r = 0; r < n->n_out && !m->failed; r++) {
        if (!k->stores[r].name || !want[r]) continue;
        if (k->stores[r].widths & 1) print_store_hook(m, k->stores[r].name, r, 1);
        if (k->stores[r].widths & 4) print_store_hook(m, k->stores[r].name, r, 4);
        if (k->stores[r].widths & 8) print_store_hook(m, k->stores[r].name, r, 8);
    }
    tf_str_add(&m->body, k->source ? k->source : "");
    k->src = NULL;
    k->want = k->plain = NULL;
    k->out = NULL;
}

/* ---- text ---------------------------------------------------------------------------------------- */

static void prelude(tf_emitter *m, tf_str *out, const char *declarations)
{
    const tf_kernel_build *k = &m->build;
    const tf_limits *l = k->limits;
    const bool many = tf_dim_is_dynamic(k->groups) ? tf_dim_bound(m->g, k->groups) > l->max_groups[0] : k->groups > (int64_t)l->max_groups[0];
    tf_str_add(out, "#version 450\n#extension GL_EXT_control_flow_attributes : enable\n");
    if (strstr(declarations, "16_t") || strstr(declarations, "16vec4")) tf_str_add(out, "#extension GL_EXT_shader_16bit_storage : require\n");
    if (strstr(declarations, "64_t") || strstr(declarations, "u64vec") || (k->source && strstr(k->source, "uint64_t"))) tf_str_add(out, "#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require\n");
    if (strstr(declarations, "int16_t") || strstr(declarations, "i16vec4") || strstr(declarations, "u16vec4")) tf_str_add(out, "#extension GL_EXT_shader_explicit_arithmetic_types_int16 : enable\n");
    if (strstr(declarations, "float16_t") || strstr(declarations, "f16vec4")) tf_str_add(out, "#extension GL_EXT_shader_explicit_arithmetic_types_float16 : enable\n");
    if (strstr(declarations, "int8_t") || strstr(declarations, "8vec4")) tf_str_add(out, "#extension GL_EXT_shader_8bit_storage : require\n#extension GL_EXT_shader_explicit_arithmetic_types_int8 : enable\n");
    if (k->need_subgroup_arithmetic) tf_str_add(out, "#extension GL_KHR_shader_subgroup_arithmetic : require\n");
    if (k->need_subgroup_shuffle) tf_str_add(out, "#extension GL_KHR_shader_subgroup_shuffle : require\n");
    if (k->need_subgroup_ballot) tf_str_add(out, "#extension GL_KHR_shader_subgroup_ballot : require\n");
    if (k->need_subgroup_arithmetic || k->need_subgroup_shuffle || k->need_subgroup_ballot || k->subgroup_size)
        tf_str_add(out, "#extension GL_KHR_shader_subgroup_basic : require\n");
    if (k->need_matrices)
        tf_str_add(out, "#extension GL_KHR_memory_scope_semantics : require\n#extension GL_KHR_cooperative_matrix : require\n"
                        "#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require\n");
    tf_str_printf(out, "#define WG %uu\nlayout(local_size_x = %u, local_size_y = %u, local_size_z = %u) in;\n", k->local[0] * k->local[1] * k->local[2],
                  k->local[0], k->local[1], k->local[2]);
    tf_str_add(out, "#define LID gl_LocalInvocationIndex\n");
    if (many) tf_str_add(out, "#define GROUP (gl_WorkGroupID.x + gl_NumWorkGroups.x * (gl_WorkGroupID.y + gl_NumWorkGroups.y * gl_WorkGroupID.z))\n"
                              "#define LEAVE_SPARE_GROUPS if (GROUP >= NGROUPS) return;\n");
    else tf_str_add(out, "#define GROUP gl_WorkGroupID.x\n#define LEAVE_SPARE_GROUPS\n");
    if (m->steps) tf_str_add(out, "layout(push_constant) uniform Iteration { ivec4 step; } iteration;\n");
    if (m->params.n) tf_str_printf(out, "layout(std140, set = 0, binding = %u) uniform Parameters { uvec4 w[%u]; } parameters;\n"
                                        "#define PW(i) parameters.w[(i) >> 2][(i) & 3]\n", m->slots, (m->params.n + 3) / 4);
    if (!many && !(m->body.data && strstr(m->body.data, "NGROUPS"))) return;
    if (tf_dim_is_dynamic(k->groups)) tf_str_printf(out, "#define NGROUPS PW(%u)\n", tf_emit_param(m, TF_PARAM_DIM, k->groups));
    else tf_str_printf(out, "#define NGROUPS %lldu\n", (long long)k->groups);
}

static const char *kernel_name(tf_emitter *m, tf_arena *arena)
{
    const tf_group *q = &m->fusion->groups.data[m->group - 1];
    tf_str s;
    tf_str_init(&s, &arena->allocator);
    uint32_t shown = 0;
    if (q->anchor != TF_NO_NODE) {
        const char *first = m->g->nodes.data[q->anchor].op->name;
        tf_str_add(&s, first + (first[0] == '_'));
        shown++;
    }
    for (uint32_t i = 0; i < m->inlined.n && shown < 12; i++) {
        const tf_op *op = m->g->nodes.data[m->inlined.data[i]].op;
        if (op->kind == TF_VIEW) continue;
        tf_str_printf(&s, "%s%s", shown ? "+" : "", op->name + (op->name[0] == '_'));
        shown++;
    }
    if (!shown) tf_str_add(&s, "move");
    arena->failed |= s.failed;
    const char *name = s.failed ? NULL : tf_arena_string(arena, s.data);
    tf_str_release(&s);
    return name;
}

const char *tf_emit_hooks(tf_emitter *m, tuff_graph *g, const tf_fusion *fusion, uint32_t group, const tf_limits *limits,
                          const tf_compile_options *options, tf_arena *scratch)
{
    memset(m, 0, sizeof *m);
    m->g = g;
    m->fusion = fusion;
    m->group = group;
    m->arena = scratch;
    m->options = options;
    m->build.g = g;
    m->build.limits = limits;
    m->build.defines = &m->defines_text;
    tf_str_init(&m->body, &scratch->allocator);
    tf_str_init(&m->defines_text, &scratch->allocator);
    tf_exprs_init(&m->x, scratch, g);
    if (fusion->groups.data[group - 1].anchor == TF_NO_NODE) emit_map(m);
    else emit_anchor(m);
    if (tf_dim_is_dynamic(m->build.groups)) (void)tf_emit_param(m, TF_PARAM_DIM, m->build.groups);
    if (m->error) return m->error;
    return m->failed || scratch->failed || m->body.failed || m->defines_text.failed ? "out of host memory" : NULL;
}

const char *tf_emit_text(tf_emitter *m, tf_arena *out, tf_kernel *kernel)
{
    tf_str text, declarations, library;
    const char *error = NULL;
    tf_str_init(&text, &out->allocator);
    tf_str_init(&declarations, &out->allocator);
    tf_str_init(&library, &out->allocator);
    for (uint32_t i = 0; i < m->args.n; i++) tf_declare(m, &declarations, i);
    tf_str head;
    tf_str_init(&head, &out->allocator);
    tf_str_add(&head, m->defines_text.data ? m->defines_text.data : "");
    tf_str_add(&head, declarations.data ? declarations.data : "");
    tf_str_add(&head, m->body.data ? m->body.data : "");
    if (head.data && strstr(head.data, "double")) tf_str_add(&library, "#define TF_F64\n");
    if (m->build.limits->cpu) tf_str_add(&library, "#define TF_CPU\n");
    tf_shader_library(head.data ? head.data : "", &library);
    const bool whole = !head.failed; /* else functions that it calls may lack */
    tf_str_release(&head);
    prelude(m, &text, declarations.data ? declarations.data : "");
    tf_str_add(&text, m->defines_text.data ? m->defines_text.data : "");
    tf_str_add(&text, library.data ? library.data : "");
    tf_str_add(&text, declarations.data ? declarations.data : "");
    tf_str_add(&text, m->body.data ? m->body.data : "");
    memset(kernel, 0, sizeof *kernel);
    kernel->name = kernel_name(m, out);
    kernel->algorithm = tf_arena_printf(out, "%s%s", m->algorithm ? m->algorithm : "", m->build.tuned ? ", tuned" : "");
    kernel->glsl = text.data ? tf_arena_string_n(out, text.data, text.n) : NULL;
    memcpy(kernel->local, m->build.local, sizeof kernel->local);
    kernel->n_bindings = m->slots;
    kernel->n_params = m->params.n;
    kernel->steps = m->steps;
    kernel->subgroup_size = m->build.subgroup_size;
    kernel->shared_bytes = m->build.shared_bytes;
    kernel->ways = m->build.ways;
    kernel->way = m->build.way;
    kernel->choice = m->build.choice;
    if (!whole || text.failed || declarations.failed || library.failed || !kernel->glsl || m->failed || out->failed) error = "out of host memory";
    else kernel->hash = tf_hash(tf_hash_string(0, kernel->glsl), &kernel->subgroup_size, sizeof kernel->subgroup_size);
    tf_str_release(&text);
    tf_str_release(&declarations);
    tf_str_release(&library);
    return error;
}

void tf_emit_release(tf_emitter *m)
{
    tf_str_release(&m->body);
    tf_str_release(&m->defines_text);
}
