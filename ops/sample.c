/* sample.c - tuff_sample: a solver table, a network and guidance as loops on the device.
 *
 * No op of its own: it builds a loop whose body reads row `step` of the table, runs the user's network, and updates the
 * state by solver_step. Which parts the state has (a base state apart from y, memories, noise) is read from the table when
 * it is constant, or from desc.like; a table written at run time then only has to fit. Rows without evaluation stand between loops, and
 * rows in and out of the interval of guidance are loops of their own, so that the unconditional network runs where it counts. */
#include "anchors.h"
#include "ops.h"
#include "schedule.h"

#include <string.h>

enum { REPLACEMENT_STREAM = 2 };

typedef struct form {
    int64_t rows;
    const double *values;    /* of the table or of `like`; NULL: unknown */
    bool known_eval;         /* values are the table's own */
    bool base, noisy, scaled; /* scaled: the network's input is not the state itself */
    int history;
} form;

typedef struct sampler {
    const tuff_sample_desc *d;
    tuff_graph *g;
    form f;
    int64_t first_row;       /* of the present loop */
    bool guided;             /* the rows of the present loop are in the interval of guidance, or it is not known */
    tuff_shape shape;
    bool momentum;
} sampler;

/* ---- the table's form ---- */

static bool differ(const double *row) { return memcmp(row + TUFF_ROW_X, row + TUFF_ROW_Y, (TUFF_ROW_Y - TUFF_ROW_X) * sizeof *row) != 0; }

static void read_form(form *f, const double *v, int64_t rows)
{
    f->base = f->noisy = f->scaled = false;
    f->history = 0;
    for (int64_t r = 0; r < rows; r++) {
        const double *row = v + r * TUFF_ROW_COLUMNS;
        f->base = f->base || differ(row);
        f->noisy = f->noisy || row[TUFF_ROW_NOISE] >= 0;
        f->scaled = f->scaled || row[TUFF_ROW_INPUT_SCALE] != 1;
        for (int k = 1; k <= 3; k++)
            if (row[TUFF_ROW_X + 2 + k] != 0 || row[TUFF_ROW_Y + 2 + k] != 0) f->history = TF_MAX(f->history, k);
    }
}

static bool is_table(tuff_tensor t)
{
    return t.id && tf_ty(t)->rank == 2 && !tf_dim_is_dynamic(tf_ty(t)->dim[0]) && tf_ty(t)->dim[1] == TUFF_ROW_COLUMNS && tf_ty(t)->dtype == TUFF_F32;
}

static bool find_form(sampler *s, tf_arena *scratch)
{
    const tuff_tensor table = s->d->table, source = s->d->like.id ? s->d->like : table;
    s->f = (form){ .rows = tf_ty(table)->dim[0], .base = true, .noisy = true, .scaled = true, .history = 3 };
    const int64_t rows = tf_ty(source)->dim[0];
    double *v = tf_arena_array(scratch, double, (size_t)(rows * TUFF_ROW_COLUMNS) + 1);
    if (!v) return false;
    if (tuff_host_value(source, v, (size_t)(rows * TUFF_ROW_COLUMNS)) != TUFF_OK) return true;
    read_form(&s->f, v, rows);
    s->f.known_eval = source.id == table.id;
    s->f.values = v;
    return true;
}

/* ---- one row ---- */

static tuff_tensor f32(tuff_graph *g, double v) { return tuff_literal(g, v, TUFF_F32); }

static tuff_tensor network(sampler *s, tuff_denoiser_call *call, uint32_t condition)
{
    call->condition = condition;
    const tuff_tensor f = s->d->denoiser(s->d->user, call);
    return tuff_solver_denoised(call->table, call->state, f, call->step);
}

/* Is a level inside the interval of guidance? */
static bool in_interval(const tuff_guidance *q, double level) { return level > q->low && (q->high <= 0 || level <= q->high); }
static bool has_interval(const tuff_guidance *q) { return q->low > 0 || q->high > 0; }

/* xs by the kind of guidance; *momentum is APG's. */
static tuff_tensor combined(sampler *s, const tuff_tensor *xs, uint32_t n, tuff_tensor *momentum)
{
    const tuff_guidance *q = &s->d->guidance;
    tuff_tensor d;
    switch (q->kind) {
    case TUFF_GUIDANCE_APG:
        d = tuff_apg(xs[1], xs[0], q->scale, &(tuff_apg_desc){ .momentum = *momentum, .eta = q->eta, .limit = q->limit, .beta = q->beta });
        *momentum = tuff_result(d, 1);
        return d;
    case TUFF_GUIDANCE_RESCALE: return tuff_cfg_rescale(xs[1], xs[0], q->scale, q->rescale);
    case TUFF_GUIDANCE_ZERO_STAR: return tuff_cfg_zero_star(xs[1], xs[0], q->scale);
    default: return tuff_cfg(xs, n + 1, q->scale_tensor.id ? q->scale_tensor : f32(s->g, q->scale), NULL);
    }
}

/* D from the network with guidance; *plain is the unconditional D of CFG++. Outside the interval the scales are 1: with one condition its D. */
static tuff_tensor estimate(sampler *s, tuff_denoiser_call *call, tuff_tensor *momentum, tuff_tensor *plain)
{
    const tuff_guidance *q = &s->d->guidance;
    tuff_tensor xs[TUFF_MAX_CONDITIONS + 1], before = *momentum;
    if (q->kind == TUFF_GUIDANCE_NONE) return network(s, call, 0);
    const uint32_t n = q->conditions ? q->conditions : 1;
    if (!s->guided && n == 1 && q->kind != TUFF_GUIDANCE_CFG_PP) return network(s, call, 1);
    for (uint32_t k = 0; k <= n; k++) xs[k] = network(s, call, k);
    if (q->kind == TUFF_GUIDANCE_CFG_PP) *plain = xs[0];
    const tuff_tensor unguided = n == 1 ? xs[1] : tuff_cfg(xs, n + 1, f32(s->g, 1), NULL);
    if (!s->guided) return unguided;
    const tuff_tensor d = combined(s, xs, n, momentum);
    if (s->f.known_eval || !has_interval(q)) return d;
    const tuff_tensor level = tuff_div(call->sigma, call->alpha);
    tuff_tensor inside = tuff_greater(level, f32(s->g, q->low));
    if (q->high > 0) inside = tuff_logical_and(inside, tuff_less_equal(level, f32(s->g, q->high)));
    if (before.id) *momentum = tuff_where(inside, *momentum, before);
    return tuff_where(inside, d, unguided);
}

static tuff_tensor limited(sampler *s, tuff_tensor d)
{
    if (s->d->clip > 0) d = tuff_clamp(d, f32(s->g, -s->d->clip), f32(s->g, s->d->clip));
    return s->d->quantile > 0 ? tuff_dynamic_threshold(d, s->d->quantile, s->d->most) : d;
}

static tuff_tensor normal(sampler *s, tuff_tensor step, uint32_t draw, uint32_t stream)
{
    const tuff_random_desc r = { .stream = stream, .draw = draw, .step = step, .sample = s->d->sample, .antithetic = s->d->antithetic };
    return tuff_normal(s->g, s->shape, s->d->seed, &r);
}

static tuff_tensor row_noise(sampler *s, tuff_tensor step)
{
    const tuff_tensor id = tuff_cast(tf_table_entry(s->d->table, step, TUFF_ROW_NOISE), TUFF_I32);
    return s->d->noise.id ? tuff_gather(s->d->noise, id, 0) : normal(s, id, 1, s->d->stream);
}

/* Known elements as they are at the row's point. */
static tuff_tensor replaced(sampler *s, tuff_tensor y, tuff_tensor alpha, tuff_tensor sigma, tuff_tensor step)
{
    const tuff_named in[] = { { "y", y }, { "m", s->d->mask }, { "k", s->d->known }, { "a", alpha }, { "s", sigma }, { "z", normal(s, step, 0, s->d->stream + REPLACEMENT_STREAM) } };
    return tuff_map(s->g, "y * (1.0 - m) + (a * k + s * z) * m", 6, in);
}

typedef struct state { tuff_tensor y, x, m[3], momentum; } state;

static state run_row(sampler *s, state in, tuff_tensor step)
{
    const tuff_sample_desc *d = s->d;
    tuff_denoiser_call call = { .graph = s->g, .table = d->table, .step = step, .alpha = tf_table_entry(d->table, step, TUFF_ROW_ALPHA),
                                .sigma = tf_table_entry(d->table, step, TUFF_ROW_SIGMA), .time = tf_table_entry(d->table, step, TUFF_ROW_TIME), .user = d->user };
    tuff_tensor plain = { NULL, 0 };
    state out = in;
    if (d->mask.id) in.y = replaced(s, in.y, call.alpha, call.sigma, step);
    call.state = in.y;
    call.x = s->f.scaled ? tuff_mul(tf_table_entry(d->table, step, TUFF_ROW_INPUT_SCALE), in.y) : in.y;
    tuff_tensor e = estimate(s, &call, &out.momentum, &plain);
    if (d->bias.id) e = tuff_sub(e, tuff_gather(d->bias, step, 0));
    e = limited(s, e);
    if (d->estimate_hook) e = d->estimate_hook(d->user, &call, e);
    tuff_solver_step_desc o = { .step = step, .m1 = plain.id ? plain : in.m[0], .m2 = in.m[1], .m3 = in.m[2] };
    if (s->f.base) o.x = in.x;
    if (s->f.noisy) o.noise = row_noise(s, step);
    out.y = tuff_solver_step(d->table, in.y, e, &o);
    if (s->f.base) out.x = tuff_result(out.y, 1);
    for (int k = 2; k > 0; k--) out.m[k] = in.m[k - 1];
    out.m[0] = tuff_result(out.y, 2);
    if (d->state_hook) out.y = d->state_hook(d->user, &call, out.y);
    return out;
}

/* ---- the loops ---- */

/* The state as a list of carried values, and back. */
static uint32_t pack(const sampler *s, const state *v, tuff_tensor *list)
{
    uint32_t n = 0;
    list[n++] = v->y;
    if (s->f.base) list[n++] = v->x;
    for (int k = 0; k < s->f.history; k++) list[n++] = v->m[k];
    if (s->momentum) list[n++] = v->momentum;
    return n;
}
static state unpack(const sampler *s, const tuff_tensor *list)
{
    state v = { .y = *list++ };
    if (s->f.base) v.x = *list++;
    for (int k = 0; k < s->f.history; k++) v.m[k] = *list++;
    if (s->momentum) v.momentum = *list++;
    return v;
}

static void body(void *user, tuff_iteration *it)
{
    sampler *s = user;
    const tuff_tensor step = s->first_row ? tuff_add(it->step, tuff_literal(it->graph, (double)s->first_row, TUFF_I32)) : it->step;
    const state out = run_row(s, unpack(s, it->in), step);
    pack(s, &out, it->out);
    if (s->d->states) it->stacked[0] = out.y;
}

/* X = Y = scale Y + noise. */
static state row_without_network(sampler *s, state in, int64_t r)
{
    tuff_solver_step_desc o = { .step = tuff_literal(s->g, (double)r, TUFF_I32) };
    if (s->f.noisy) o.noise = row_noise(s, o.step);
    in.y = tuff_solver_step(s->d->table, in.y, in.y, &o);
    in.x = tuff_result(in.y, 1);
    return in;
}

/* Rows of a loop are alike in this. */
static bool guides(const sampler *s, int64_t r)
{
    const double *row = s->f.values + r * TUFF_ROW_COLUMNS;
    return !s->f.known_eval || in_interval(&s->d->guidance, row[TUFF_ROW_SIGMA] / row[TUFF_ROW_ALPHA]);
}
static bool evaluates(const sampler *s, int64_t r) { return !s->f.known_eval || s->f.values[r * TUFF_ROW_COLUMNS + TUFF_ROW_EVAL] != 0; }

static tuff_tensor run_rows(sampler *s, state v, tuff_tensor *parts, uint32_t *n_parts)
{
    for (int64_t r = 0; r < s->f.rows;) {
        int64_t end = r;
        s->guided = guides(s, r);
        while (end < s->f.rows && evaluates(s, end) && guides(s, end) == s->guided) end++;
        if (end == r) {
            v = row_without_network(s, v, r++);
            if (s->d->states) parts[(*n_parts)++] = tuff_unsqueeze(v.y, TUFF_INTS(0));
            continue;
        }
        tuff_tensor carried[8] = { { NULL, 0 } }, results[9] = { { NULL, 0 } };
        s->first_row = r;
        const uint32_t n = pack(s, &v, carried);
        const tuff_loop_desc loop = { .count = end - r, .carried = carried, .n = n, .body = body, .user = s, .stacked = s->d->states != NULL };
        if (tuff_loop(s->g, &loop, results) != TUFF_OK) return (tuff_tensor){ NULL, 0 };
        v = unpack(s, results);
        if (s->d->states) parts[(*n_parts)++] = results[n];
        r = end;
    }
    if (s->d->mask.id) v.y = replaced(s, v.y, f32(s->g, 1), f32(s->g, 0), tuff_literal(s->g, (double)s->f.rows, TUFF_I32));
    return v.y;
}

static bool check(tuff_graph *g, const tuff_sample_desc *d, const tuff_shape *shape)
{
    if (!d->denoiser) { tf_fail(g, TUFF_E_ARGUMENT, "sample: the denoiser is missing"); return false; }
    if (!is_table(d->table)) { tf_fail(g, TUFF_E_SHAPE, "sample: the table is f32[rows, %d] with a fixed number of rows", TUFF_ROW_COLUMNS); return false; }
    if (d->like.id && !is_table(d->like)) { tf_fail(g, TUFF_E_SHAPE, "sample: `like` is no table f32[rows, %d]", TUFF_ROW_COLUMNS); return false; }
    if (d->guidance.conditions > TUFF_MAX_CONDITIONS) {
        tf_fail(g, TUFF_E_LIMIT, "sample: %u conditions; at most %d are possible", d->guidance.conditions, TUFF_MAX_CONDITIONS);
        return false;
    }
    if (d->guidance.high > 0 && d->guidance.low >= d->guidance.high) {
        tf_fail(g, TUFF_E_ARGUMENT, "sample: the interval of guidance is from %g to %g; the first must be smaller", d->guidance.low, d->guidance.high);
        return false;
    }
    if (!d->mask.id != !d->known.id) { tf_fail(g, TUFF_E_ARGUMENT, "sample: mask and known go together"); return false; }
    if (shape->rank < 1) { tf_fail(g, TUFF_E_SHAPE, "sample: the state needs a batch axis"); return false; }
    return true;
}

tuff_tensor tuff_sample(tuff_tensor x, const tuff_sample_desc *desc)
{
    const tuff_tensor none = { NULL, 0 };
    if (!desc || !desc->table.graph) return tf_fail(x.graph, TUFF_E_ARGUMENT, "sample: the description or its table is missing");
    tuff_graph *g = desc->table.graph;
    sampler s = { .d = desc, .g = g, .shape = desc->shape, .momentum = desc->guidance.kind == TUFF_GUIDANCE_APG };
    if (x.id) {
        s.shape.rank = tf_ty(x)->rank;
        memcpy(s.shape.dim, tf_ty(x)->dim, sizeof s.shape.dim);
    }
    if (!check(g, desc, &s.shape)) return none;
    tf_arena scratch;
    tf_arena_init(&scratch, &g->arena.allocator);
    tuff_tensor y = none, *parts = tf_arena_array(&scratch, tuff_tensor, (size_t)tf_ty(desc->table)->dim[0] + 1);
    uint32_t n_parts = 0;
    if (parts && find_form(&s, &scratch)) {
        if (!x.id) { /* pure noise at the first level */
            x = tuff_mul(tf_table_entry(desc->table, tuff_literal(g, 0, TUFF_I32), TUFF_ROW_SIGMA), normal(&s, none, 0, desc->stream));
        }
        const tuff_tensor zero = s.f.history || s.momentum ? tuff_mul(x, f32(g, 0)) : none;
        y = run_rows(&s, (state){ .y = x, .x = x, .m = { zero, zero, zero }, .momentum = zero }, parts, &n_parts);
        if (desc->states) *desc->states = n_parts > 1 ? tuff_concat(parts, n_parts, 0) : n_parts ? parts[0] : none;
    } else
        tf_fail(g, TUFF_E_MEMORY, "out of host memory");
    tf_arena_release(&scratch);
    return y;
}
