/* capsule.c - see capsule.h. One function per struct both writes and reads it (`codec`), so the two cannot disagree. */
#include "capsule.h"
#include "spirv.h"

#include <string.h>

enum { FORMAT = 1, ALIGN = 16, LEAST_INVOCATIONS = 128 /* that every device has */ };
#define MAGIC UINT64_C(0x0a70616366667574) /* "tuffcap\n"; to a machine of the other byte order it is another number */

typedef struct header {
    uint64_t magic;
    uint32_t format, variants, blobs, zero;
    uint64_t hashed;      /* bytes behind the header that the hash covers: all but the constants */
    uint64_t size;        /* of the file */
    uint64_t hash;        /* of the header with 0 here, and of those bytes */
} header;

typedef struct blob_entry { uint64_t offset, bytes; } blob_entry;
typedef struct variant_entry { uint64_t offset, bytes; uint32_t cpu, invocations; } variant_entry; /* of the device it was made for */

/* ---- the codec ---------------------------------------------------------------------------------- */

typedef struct blob { const void *data; uint64_t bytes, hash; bool code; } blob;
typedef TF_ARRAY(blob) blob_list;

typedef struct codec {
    tf_arena *arena;                      /* of what is read; writing: of the list of blobs */
    tf_str *out;                          /* writing: where to; NULL: reading */
    blob_list blobs;                      /* writing: so far; reading: of the file */
    const unsigned char *at, *end;        /* reading */
    const char *bad;                      /* what is wrong; everything behind it reads as zeros */
} codec;

static void fail(codec *c, const char *what)
{
    c->bad = c->bad ? c->bad : what;
    c->at = c->end;
}

static void raw(codec *c, void *v, size_t n)
{
    if (c->out)
        tf_str_add_n(c->out, v, n);
    else if ((size_t)(c->end - c->at) < n) {
        fail(c, "a plan ends early");
        memset(v, 0, n);
    } else {
        memcpy(v, c->at, n);
        c->at += n;
    }
}

static void u32(codec *c, uint32_t *v) { raw(c, v, sizeof *v); }
static void u64(codec *c, uint64_t *v) { raw(c, v, sizeof *v); }
static void i64(codec *c, int64_t *v) { raw(c, v, sizeof *v); }

static void flag(codec *c, bool *v)
{
    unsigned char x = *v;
    raw(c, &x, 1);
    if (x > 1)
        fail(c, "a flag is neither 0 nor 1");
    if (!c->out)
        *v = x == 1;
}

/* A value of an enum of `count` values, as the number it is. */
static uint32_t choice(codec *c, uint32_t v, uint32_t count)
{
    u32(c, &v);
    if (v < count)
        return v;
    fail(c, "a kind or dtype is unknown");
    return 0;
}
#define CHOICE(c, type, v, count) ((v) = (type)choice(c, (uint32_t)(v), count))

/* Terminated; `may_lack`: NULL is a value. */
static void string(codec *c, const char **v, bool may_lack)
{
    uint32_t n = c->out && *v ? (uint32_t)strlen(*v) + 1 : 0;
    u32(c, &n);
    if (c->out) {
        tf_str_add_n(c->out, *v ? *v : "", n ? n - 1 : 0);
        return;
    }
    *v = NULL;
    if (n > (size_t)(c->end - c->at) + 1 || (n > 1 && memchr(c->at, 0, n - 1)) || (!n && !may_lack))
        fail(c, "a name is missing or damaged");
    else if (n) {
        *v = tf_arena_string_n(c->arena, (const char *)c->at, n - 1);
        c->at += n - 1;
    }
}

#define EACH(c, array, each)                                                              \
    do {                                                                                  \
        uint32_t n_ = (array).n;                                                          \
        u32(c, &n_);                                                                      \
        for (uint32_t i_ = 0; i_ < n_ && !(c)->bad; i_++) {                               \
            if (!(c)->out && !tf_push((c)->arena, &(array)))                              \
                fail(c, ""); /* the arena has failed */                                   \
            else                                                                          \
                each(c, &(array).data[i_]);                                               \
        }                                                                                 \
    } while (0)

/* Bytes that lie outside the plan, once for all plans that have the same. */
static void blob_of(codec *c, const void **data, uint64_t *bytes, bool code)
{
    uint32_t i = 0;
    if (c->out) {
        const void *from = *bytes ? *data : "";
        const blob b = { from, *bytes, tf_hash(0, from, (size_t)*bytes), code };
        while (i < c->blobs.n && (c->blobs.data[i].bytes != b.bytes || c->blobs.data[i].hash != b.hash || memcmp(c->blobs.data[i].data, b.data, (size_t)b.bytes)))
            i++;
        blob *new = i == c->blobs.n ? tf_push(c->arena, &c->blobs) : NULL;
        if (new)
            *new = b;
    }
    u32(c, &i);
    if (c->out)
        return;
    if (i >= c->blobs.n)
        fail(c, "a plan names data that is not there");
    *data = c->bad ? NULL : c->blobs.data[i].data;
    *bytes = c->bad ? 0 : c->blobs.data[i].bytes;
}

/* ---- one function per struct; fields that only compiling needs are left out ---------------------- */

static void kernel(codec *c, tf_kernel *k)
{
    const void *data = k->code;
    uint64_t bytes = (uint64_t)k->code_words * 4;
    string(c, &k->name, false);
    string(c, &k->algorithm, true);
    for (int i = 0; i < 3; i++)
        u32(c, &k->local[i]);
    u32(c, &k->n_bindings);
    u32(c, &k->n_params);
    u32(c, &k->subgroup_size);
    u32(c, &k->shared_bytes);
    flag(c, &k->steps);
    blob_of(c, &data, &bytes, true);
    if (c->out)
        return;
    k->code_words = (size_t)(bytes / 4); /* copied: the file may lie at any address */
    k->code = tf_arena_copy(c->arena, data, (size_t)bytes);
    k->hash = k->code ? tf_hash(0, k->code, (size_t)bytes) : 0;
    if (!k->code || bytes % 4 || !tf_spirv_plausible(k->code, k->code_words))
        fail(c, "the code of a kernel is no SPIR-V");
}

static void step(codec *c, tf_step *s)
{
    CHOICE(c, tf_step_kind, s->kind, TF_STEP_FILL + 1);
    u32(c, &s->kernel);
    u32(c, &s->arg);
    u32(c, &s->n_args);
    u32(c, &s->binding);
    u32(c, &s->n_bindings);
    u32(c, &s->param);
    u32(c, &s->n_params);
    i64(c, &s->groups);
    u32(c, &s->fill);
    u32(c, &s->grid_at);
    u32(c, &s->wave);
    u32(c, &s->region);
    u32(c, &s->phase);
    u64(c, &s->bytes);
    u64(c, &s->flops);
    string(c, &s->label, true);
}

static void arg(codec *c, tf_arg *a)
{
    u32(c, &a->buffer);
    flag(c, &a->write);
    flag(c, &a->read);
    u32(c, &a->binding);
    flag(c, &a->uniform);
    flag(c, &a->texel);
    flag(c, &a->shared);
    u64(c, &a->base);
    flag(c, &a->grid);
}

static void binding(codec *c, tf_binding *b)
{
    flag(c, &b->uniform);
    flag(c, &b->texel);
    CHOICE(c, tf_buffer_kind, b->kind, TF_BUF_STATE + 1);
    u32(c, &b->buffer);
    u64(c, &b->offset);
    u64(c, &b->range);
}

static void param(codec *c, tf_param *p)
{
    CHOICE(c, tf_param_kind, p->kind, TF_PARAM_BASE + 1);
    i64(c, &p->a);
}

static void type(codec *c, tf_type *t)
{
    uint32_t rank = (uint32_t)t->rank;
    CHOICE(c, tuff_dtype, t->dtype, TUFF_DTYPE_COUNT);
    u32(c, &rank);
    if (rank > TUFF_MAX_RANK)
        fail(c, "a tensor has too many dims");
    if (!c->out)
        t->rank = c->bad ? 0 : (int32_t)rank;
    for (int32_t i = 0; i < t->rank; i++)
        i64(c, &t->dim[i]);
}

static void buffer(codec *c, tf_buffer *b)
{
    CHOICE(c, tf_buffer_kind, b->kind, TF_BUF_STATE + 1);
    type(c, &b->type);
    string(c, &b->name, b->kind == TF_BUF_ARENA || b->kind == TF_BUF_CONST);
    u64(c, &b->bytes);
    u32(c, &b->chunk);
    u64(c, &b->offset);
    u32(c, &b->first_wave);
    u32(c, &b->last_wave);
    if (b->kind != TF_BUF_CONST)
        return;
    uint64_t bytes = b->bytes;
    u64(c, &b->hash);
    blob_of(c, &b->data, &bytes, false);
    if (bytes != b->bytes)
        fail(c, "a constant has another size than its data");
}

static void port(codec *c, tf_plan_port *p)
{
    CHOICE(c, tf_port_kind, p->kind, TF_PORT_SCALAR + 1);
    string(c, &p->name, p->kind == TF_PORT_CONST);
    u32(c, &p->buffer);
    type(c, &p->type);
    raw(c, &p->initial, sizeof p->initial);
}

static void dim_param(codec *c, tf_dim_param *p)
{
    string(c, &p->name, false);
    i64(c, &p->max);
}

static void dim(codec *c, tf_dim_expr *e)
{
    CHOICE(c, tf_dim_kind, e->kind, TF_DIM_BIN + 1);
    CHOICE(c, tuff_dim_operator, e->op, TUFF_DIM_MAX + 1);
    i64(c, &e->a);
    i64(c, &e->b);
}

static void region(codec *c, tf_plan_region *r)
{
    u32(c, &r->parent);
    u32(c, &r->depth);
    i64(c, &r->count);
    u32(c, &r->again);
    flag(c, &r->chunked);
}

static void plan_codec(codec *c, tf_plan *p)
{
    for (int i = 0; i < 3; i++)
        u32(c, &p->limits.max_groups[i]);
    u32(c, &p->limits.storage_align);
    u32(c, &p->limits.coopmat.m);
    u32(c, &p->limits.coopmat.n);
    u32(c, &p->limits.coopmat.k);
    EACH(c, p->dim_params, dim_param);
    EACH(c, p->dims, dim);
    EACH(c, p->chunks, u64);
    EACH(c, p->buffers, buffer);
    EACH(c, p->ports, port);
    EACH(c, p->kernels, kernel);
    EACH(c, p->regions, region);
    EACH(c, p->args, arg);
    EACH(c, p->bindings, binding);
    EACH(c, p->params, param);
    EACH(c, p->steps, step);
    u32(c, &p->waves);
    u64(c, &p->live_bytes);
    u64(c, &p->serial_bytes);
}

/* ---- the header --------------------------------------------------------------------------------- */

static header header_of(const void *data)
{
    header h;
    memcpy(&h, data, sizeof h);
    return h;
}

static uint64_t hash_of(const void *data, header h)
{
    h.hash = 0;
    return tf_hash(tf_hash(0, &h, sizeof h), (const char *)data + sizeof h, (size_t)h.hashed);
}

void tf_capsule_seal(void *data, size_t size)
{
    header h;
    if (size < sizeof h)
        return;
    h = header_of(data);
    h.size = size;
    h.hashed = TF_MIN(h.hashed, size - sizeof h);
    h.hash = hash_of(data, h);
    memcpy(data, &h, sizeof h);
}

bool tf_capsule_is(const void *data, size_t size)
{
    const uint64_t magic = MAGIC;
    return data && size >= sizeof magic && memcmp(data, &magic, sizeof magic) == 0;
}

/* ---- writing ------------------------------------------------------------------------------------ */

/* Workgroup counts that a device must allow for this plan, no more than the device that it was made for has. */
static void needed_groups(const tf_plan *p, uint32_t out[3])
{
    for (int d = 0; d < 3; d++)
        out[d] = TF_MIN(p->limits.max_groups[d], 65535u); /* what every device allows */
    for (uint32_t i = 0; i < p->steps.n; i++) {
        uint32_t grid[3];
        const int64_t groups = tf_plan_dim(p, p->steps.data[i].groups, NULL);
        if (groups <= 0 || !tf_fold_grid(&p->limits, (uint64_t)groups, grid))
            continue;
        for (int d = 0; d < 3; d++)
            out[d] = TF_MAX(out[d], grid[d]);
    }
}

static void pad(tf_str *s, uint64_t to)
{
    static const char zeros[ALIGN];
    if (s->n < to)
        tf_str_add_n(s, zeros, (size_t)(to - s->n));
}

static bool write_all(const tf_plan *const *plans, uint32_t n, tf_arena *arena, tf_str *body, tf_str *out)
{
    codec c = { .arena = arena, .out = body };
    variant_entry *variants = tf_arena_array(arena, variant_entry, n);
    for (uint32_t i = 0; variants && i < n; i++) {
        tf_plan p = *plans[i]; /* its arrays are only read */
        needed_groups(plans[i], p.limits.max_groups);
        variants[i] = (variant_entry){ body->n, 0, p.limits.cpu, p.limits.max_invocations };
        plan_codec(&c, &p);
        variants[i].bytes = body->n - variants[i].offset;
    }
    blob_entry *blobs = tf_arena_array(arena, blob_entry, c.blobs.n);
    if (arena->failed || body->failed)
        return false;
    header h = { .magic = MAGIC, .format = FORMAT, .variants = n, .blobs = c.blobs.n };
    uint64_t at = sizeof h + c.blobs.n * sizeof *blobs + n * sizeof *variants;
    for (uint32_t i = 0; i < n; i++)
        variants[i].offset += at;
    at += body->n;
    for (int code = 1; code >= 0; code--) {
        for (uint32_t i = 0; i < c.blobs.n; i++) {
            if (c.blobs.data[i].code != code)
                continue;
            at = tf_align_up(at, ALIGN);
            blobs[i] = (blob_entry){ at, c.blobs.data[i].bytes };
            at += c.blobs.data[i].bytes;
        }
        if (code)
            h.hashed = at - sizeof h;
    }
    tf_str_add_n(out, (const char *)&h, sizeof h);
    tf_str_add_n(out, (const char *)blobs, c.blobs.n * sizeof *blobs);
    tf_str_add_n(out, (const char *)variants, n * sizeof *variants);
    tf_str_add_n(out, body->data, body->n);
    for (int code = 1; code >= 0; code--)
        for (uint32_t i = 0; i < c.blobs.n; i++) {
            if (c.blobs.data[i].code != code)
                continue;
            pad(out, blobs[i].offset);
            tf_str_add_n(out, c.blobs.data[i].data, (size_t)blobs[i].bytes);
        }
    if (out->failed)
        return false;
    tf_capsule_seal(out->data, out->n);
    return true;
}

bool tf_capsule_write(const tf_plan *const *plans, uint32_t n, tf_str *out)
{
    tf_arena arena;
    tf_str body;
    tf_arena_init(&arena, &out->allocator);
    tf_str_init(&body, &out->allocator);
    const bool ok = write_all(plans, n, &arena, &body, out);
    tf_str_release(&body);
    tf_arena_release(&arena);
    return ok;
}

/* ---- reading ------------------------------------------------------------------------------------ */

static blob_entry blob_at(const void *data, uint32_t i)
{
    blob_entry b;
    memcpy(&b, (const char *)data + sizeof(header) + i * sizeof b, sizeof b);
    return b;
}

static variant_entry variant_at(const void *data, uint32_t i)
{
    variant_entry v;
    memcpy(&v, (const char *)data + sizeof(header) + header_of(data).blobs * sizeof(blob_entry) + i * sizeof v, sizeof v);
    return v;
}

static const char *damage(const void *data, size_t size)
{
    if (!tf_capsule_is(data, size))
        return "it is no capsule";
    if (size < sizeof(header))
        return "it ends early";
    const header h = header_of(data);
    if (h.format != FORMAT)
        return "it is of another format than this version of tuff reads";
    if (h.size != size)
        return "it ends early or goes on behind its end";
    if (h.hashed > size - sizeof h || h.blobs * (uint64_t)sizeof(blob_entry) + h.variants * (uint64_t)sizeof(variant_entry) > h.hashed ||
        h.hash != hash_of(data, h))
        return "it is damaged";
    for (uint32_t i = 0; i < h.blobs; i++) {
        const blob_entry b = blob_at(data, i);
        if (b.offset > size || b.bytes > size - b.offset)
            return "its data lies outside the file";
    }
    for (uint32_t i = 0; i < h.variants; i++) {
        const variant_entry v = variant_at(data, i);
        if (v.offset > size || v.bytes > size - v.offset)
            return "a plan lies outside the file";
    }
    return h.variants ? NULL : "it holds no plan";
}

uint32_t tf_capsule_variants(const void *data, size_t size, const char **message)
{
    *message = damage(data, size);
    return *message ? 0 : header_of(data).variants;
}

/* Of dims in expressions and types, and of loops: what tf_plan_check and tf_plan_span rely on. */
static const char *restore(tf_plan *p)
{
    tuff_graph g = { .dims.data = p->dims.data, .dims.n = p->dims.n, .dim_params.data = p->dim_params.data, .dim_params.n = p->dim_params.n };
    for (uint32_t i = 0; i < p->dims.n; i++)
        if (!tf_dim_restore(&g, i))
            return "a dim is not what a dim may be";
    for (uint32_t i = 0; i < p->regions.n; i++) {
        const tf_plan_region *r = &p->regions.data[i];
        const uint32_t outer = r->parent ? r->parent <= i ? p->regions.data[r->parent - 1].depth : TF_MAX_LOOP_DEPTH : 0;
        if (r->depth != outer + 1 || r->depth > TF_MAX_LOOP_DEPTH || r->count < 0 || r->again > p->buffers.n)
            return "a loop lies in none that it could lie in";
    }
    tf_plan_span(p);
    for (uint32_t i = 0; i < p->chunks.n; i++)
        if (!tf_add_u64(&p->arena_bytes, p->arena_bytes, p->chunks.data[i]))
            return "the arena is too large";
    return NULL;
}

static bool dims_ok(const tf_plan *p, const tf_type *t)
{
    for (int32_t i = 0; i < t->rank; i++)
        if (tf_dim_is_dynamic(t->dim[i]) ? t->dim[i] < TF_DIM_BASE || tf_dim_index(t->dim[i]) >= p->dims.n : t->dim[i] < 0)
            return false;
    return t->dtype != TUFF_DTYPE_NONE;
}

/* The host copies as many bytes as a type has at its live dims, so a tensor's memory must be as large as its type. */
static const char *tensors(const tf_plan *p)
{
    static const tf_buffer_kind of_port[] = { TF_BUF_INPUT, TF_BUF_OUTPUT, TF_BUF_STATE, TF_BUF_CONST };
    for (uint32_t i = 0; i < p->buffers.n; i++) {
        const tf_buffer *b = &p->buffers.data[i];
        if (!dims_ok(p, &b->type) || b->bytes != tf_plan_bytes(p, &b->type, NULL) || b->bytes >= UINT64_C(1) << 48 || (b->kind != TF_BUF_ARENA && b->offset))
            return "a tensor's size does not fit its shape";
    }
    for (uint32_t i = 0; i < p->ports.n; i++) {
        const tf_plan_port *x = &p->ports.data[i];
        if (!dims_ok(p, &x->type))
            return "a port has no type";
        if (x->kind == TF_PORT_SCALAR)
            continue;
        if (x->buffer >= p->buffers.n || p->buffers.data[x->buffer].kind != of_port[x->kind] ||
            p->buffers.data[x->buffer].bytes != tf_plan_bytes(p, &x->type, NULL))
            return "a port names a tensor of another kind or size";
    }
    return NULL;
}

/* An arena tensor that a step uses has a place; and the two halves of a loop whose iterations take turns are alike. */
static const char *steps(const tf_plan *p)
{
    for (uint32_t i = 0; i < p->steps.n; i++) {
        const tf_step *s = &p->steps.data[i];
        if (s->arg > p->args.n || s->n_args > p->args.n - s->arg)
            return "a step's arguments lie outside the plan";
        for (uint32_t j = s->arg; j < s->arg + s->n_args; j++) {
            const tf_buffer *b = p->args.data[j].buffer < p->buffers.n ? &p->buffers.data[p->args.data[j].buffer] : NULL;
            if (!b || (b->kind == TF_BUF_ARENA && b->bytes && (b->first_wave > b->last_wave || b->chunk >= p->chunks.n)))
                return "a step uses a tensor that has no place";
        }
    }
    for (uint32_t r = 1; r <= p->regions.n; r++) {
        const tf_plan_region *x = &p->regions.data[r - 1];
        uint32_t turns = 0, inner = 0;
        for (uint32_t i = x->first; i < x->end; i++) {
            turns += p->steps.data[i].phase != 0;
            inner += p->steps.data[i].region != r;
        }
        if (turns && (inner || !x->odd || x->end - x->odd != turns || x->odd - x->first != turns))
            return "a loop's iterations do not take turns as they must";
    }
    return NULL;
}

/* What the plan needs beyond what tf_plan_check compares, and the device has not; false: nothing. */
static bool lacks(const tf_plan *p, const tf_limits *l, tf_str *message)
{
    const char *what = NULL, *who = NULL;
    for (int d = 0; d < 3; d++)
        if (p->limits.max_groups[d] > l->max_groups[d])
            what = "more workgroups than the device can start";
    if (p->limits.storage_align % l->storage_align)
        what = "bindings aligned as on another device";
    for (uint32_t i = 0; !what && i < p->kernels.n; i++) {
        const tf_kernel *k = &p->kernels.data[i];
        who = k->name;
        what = tf_spirv_lacks(k->code, k->code_words, l);
        if (!what && tf_spirv_uses(k->code, k->code_words, TF_SPIRV_MATRICES) && memcmp(&p->limits.coopmat, &l->coopmat, sizeof l->coopmat))
            what = "cooperative matrices of another shape";
        if (!what && k->subgroup_size && (!l->subgroup_control || k->subgroup_size < l->subgroup_min || k->subgroup_size > l->subgroup_max))
            what = "subgroups of another size";
    }
    if (what)
        tf_str_printf(message, "%s%s needs %s", who ? "kernel " : "it", who ? who : "", what);
    return what != NULL;
}

static tuff_status read_plan(codec *c, tf_plan *p, const tf_limits *limits, tf_str *message)
{
    plan_codec(c, p);
    if (!c->bad && c->at != c->end)
        fail(c, "a plan goes on behind its end");
    if (c->arena->failed)
        return TUFF_E_MEMORY;
    const char *bad = c->bad ? c->bad : restore(p);
    bad = bad ? bad : tensors(p);
    bad = bad ? bad : steps(p);
    if (bad) {
        tf_str_add(message, bad);
        return TUFF_E_PARSE;
    }
    if (!limits)
        return TUFF_OK;
    if (lacks(p, limits, message))
        return TUFF_E_UNSUPPORTED;
    /* The device's limits, except for what kernels and offsets were made for. */
    const tf_limits made = p->limits;
    p->limits = *limits;
    p->limits.storage_align = made.storage_align;
    memcpy(p->limits.max_groups, made.max_groups, sizeof made.max_groups);
    const char *wrong = tf_plan_check(p, message);
    return wrong ? tf_plan_status(wrong, TUFF_E_UNSUPPORTED) : TUFF_OK;
}

tuff_status tf_capsule_read(const void *data, uint32_t i, const tf_limits *limits, const tuff_allocator *allocator, tf_plan **out, tf_str *message)
{
    const header h = header_of(data);
    const variant_entry v = variant_at(data, i);
    const unsigned char *at = (const unsigned char *)data + v.offset;
    tf_plan *p = *out = tf_plan_create(allocator);
    tuff_status status = TUFF_E_MEMORY;
    if (p) {
        codec c = { .arena = &p->arena, .at = at, .end = at + v.bytes, .blobs.data = tf_arena_array(&p->arena, blob, h.blobs), .blobs.n = h.blobs };
        for (uint32_t k = 0; c.blobs.data && k < h.blobs; k++) {
            const blob_entry b = blob_at(data, k);
            c.blobs.data[k] = (blob){ .data = (const char *)data + b.offset, .bytes = b.bytes };
        }
        p->limits.cpu = v.cpu != 0;
        p->limits.max_invocations = v.invocations;
        status = p->arena.failed ? TUFF_E_MEMORY : read_plan(&c, p, limits, message);
    }
    if (!status)
        return TUFF_OK;
    if (status == TUFF_E_MEMORY)
        tf_str_add(message, "out of host memory");
    tf_plan_destroy(p);
    *out = NULL;
    return status;
}

tuff_status tf_capsule_choose(const void *data, size_t size, const tf_limits *limits, const tuff_allocator *allocator, tf_plan **out, tf_str *message)
{
    const char *damaged;
    const uint32_t n = tf_capsule_variants(data, size, &damaged);
    *out = NULL;
    if (!n) {
        tf_str_printf(message, "the capsule cannot be read: %s", damaged);
        return TUFF_E_PARSE;
    }
    tuff_status status = TUFF_E_UNSUPPORTED;
    tf_str why;
    tf_str_init(&why, allocator);
    for (int pass = 0; status && pass < 3; pass++)
        for (uint32_t i = 0; status && status != TUFF_E_MEMORY && i < n; i++) {
            const variant_entry v = variant_at(data, i);
            if ((v.invocations <= LEAST_INVOCATIONS ? 1 : v.cpu == limits->cpu ? 0 : 2) != pass)
                continue;
            why.n = 0;
            status = tf_capsule_read(data, i, limits, allocator, out, &why);
        }
    if (status == TUFF_E_MEMORY)
        tf_str_add(message, "out of host memory");
    else if (status)
        tf_str_printf(message, "the capsule has no variant for this device: %s", why.data ? why.data : "");
    tf_str_release(&why);
    return status;
}
