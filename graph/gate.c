/* gate.c - loops that end early: grids that the device writes.
 *
 * Every iteration of a while loop begins with a gate, one small kernel that reads whether the iteration takes place and
 * writes the grids of all other kernels of the body, nested loops included: the real ones, or none. So iterations behind
 * the last one dispatch nothing and leave all values as they are, whenever it comes. A gate inside another loop's body also
 * asks that loop's gate, and all ask a word of the parameters that the host sets to cancel a run. Copies in the body become
 * kernels, since they must not happen either. */
#include "plan.h"

#include <string.h>

enum { GATE_GROUP = 64, GATED_MAX = 4000, COPY_GROUP = 64 }; /* parameters of a gate stay below 16 KiB */

typedef struct gating {
    tf_plan *plan;
    tf_raw_kernels *raw;
    uint32_t first_raw;        /* number of the first of them */
    uint32_t *grids, *gated;   /* [region]: buffer + 1 of its grids; kernels found so far */
} gating;

/* The innermost while loop around a region, itself included; 0: none. */
static uint32_t gate_of(const tf_plan *p, uint32_t region)
{
    while (region && region <= p->regions.n && !p->regions.data[region - 1].again) region = p->regions.data[region - 1].parent;
    return region <= p->regions.n ? region : 0;
}

static bool add_raw(gating *g, const char *name, const char *algorithm, tf_str *text, uint32_t group, uint32_t *number)
{
    tf_kernel *k = tf_push(&g->plan->arena, g->raw);
    const char *glsl = text->failed || !text->data ? NULL : tf_arena_string(&g->plan->arena, text->data);
    tf_str_release(text);
    if (!k || !glsl) return false;
    *k = (tf_kernel){ .name = name, .algorithm = algorithm, .glsl = glsl, .hash = tf_hash_string(0, glsl), .local = { group, 1, 1 } };
    *number = g->first_raw + g->raw->n - 1;
    return true;
}

static bool add_arg(tf_plan *p, tf_arg a)
{
    tf_arg *x = tf_push(&p->arena, &p->args);
    if (x) *x = a;
    return x != NULL;
}

/* ---- the copy kernel ------------------------------------------------------------------------------ */

static bool copy_kernel(gating *g, tf_step *s)
{
    tf_plan *p = g->plan;
    const uint64_t bytes = p->buffers.data[p->args.data[s->arg].buffer].bytes;
    const uint32_t unit = bytes % 16 ? 4 : 16;
    const char *type = unit == 16 ? "uvec4" : "uint";
    const uint64_t count = (bytes + unit - 1) / unit, groups = (count + COPY_GROUP - 1) / COPY_GROUP;
    tf_str t;
    tf_str_init(&t, &p->arena.allocator);
    tf_str_printf(&t, "#version 450\nlayout(local_size_x = %d) in;\nlayout(std430, set = 0, binding = 0) readonly buffer A { %s d[]; } a;\n"
                      "layout(std430, set = 0, binding = 1) writeonly buffer B { %s d[]; } b;\n"
                      "void main()\n{\n    const uint i = (gl_WorkGroupID.x + gl_NumWorkGroups.x * gl_WorkGroupID.y) * %uu + gl_LocalInvocationIndex;\n"
                      "    if (i < %lluu) b.d[i] = a.d[i];\n}\n", COPY_GROUP, type, type, COPY_GROUP, (unsigned long long)count);
    s->kind = TF_STEP_DISPATCH;
    s->groups = (int64_t)groups;
    return add_raw(g, "carry", "copy", &t, COPY_GROUP, &s->kernel);
}

/* ---- the gate ------------------------------------------------------------------------------------- */

/* Makes the step indirect: its arguments, once more, with the grids behind them. */
static bool gate_step(gating *g, tf_step *s, uint32_t region)
{
    tf_plan *p = g->plan;
    if (s->kind == TF_STEP_COPY && !copy_kernel(g, s)) return false;
    if (s->kind != TF_STEP_DISPATCH) return true;
    const uint32_t arg = p->args.n;
    for (uint32_t i = 0; i < s->n_args; i++)
        if (!add_arg(p, p->args.data[s->arg + i])) return false;
    if (!add_arg(p, (tf_arg){ .buffer = g->grids[region] - 1, .read = true, .grid = true })) return false;
    s->arg = arg;
    s->n_args++;
    s->kind = TF_STEP_DISPATCH_INDIRECT;
    s->grid_at = 16 * ++g->gated[region]; /* the first four words say whether the gate is open */
    return true;
}

static bool new_grids(gating *g, uint32_t region, uint32_t n)
{
    tf_plan *p = g->plan;
    tf_buffer *b = tf_push(&p->arena, &p->buffers);
    if (!b) return false;
    *b = (tf_buffer){ .kind = TF_BUF_ARENA, .type = { .dtype = TUFF_U32, .rank = 1, .dim = { 4 * ((int64_t)n + 1) } }, .bytes = 16 * ((uint64_t)n + 1) };
    g->grids[region] = p->buffers.n;
    return true;
}

static bool add_gate(gating *g, uint32_t region, const tf_step *const *gated, uint32_t n, tf_step *out)
{
    tf_plan *p = g->plan;
    const uint32_t around = gate_of(p, p->regions.data[region - 1].parent);
    tf_str t;
    tf_str_init(&t, &p->arena.allocator);
    tf_str_printf(&t, "#version 450\nlayout(local_size_x = %d) in;\nlayout(std430, set = 0, binding = 0) readonly buffer Again { uint d[]; } again;\n"
                      "layout(std430, set = 0, binding = 1) writeonly buffer Grids { uint d[]; } grids;\n", GATE_GROUP);
    if (around) tf_str_add(&t, "layout(std430, set = 0, binding = 2) readonly buffer Around { uint d[]; } around;\n");
    tf_str_printf(&t, "layout(std140, set = 0, binding = %d) uniform Parameters { uvec4 w[%u]; } parameters;\n"
                      "#define PW(i) parameters.w[(i) >> 2][(i) & 3]\n", around ? 3 : 2, (n + 4) / 4);
    tf_str_printf(&t, "void main()\n{\n    const uint i = gl_WorkGroupID.x * %uu + gl_LocalInvocationIndex;\n    if (i > %uu) return;\n"
                      "    const bool live = (again.d[0] & 255u) != 0u && PW(0) == 0u%s;\n    const uint groups = !live ? 0u : i == 0u ? 1u : PW(i);\n"
                      "    const uint x = min(groups, %uu);\n    grids.d[4 * i] = x;\n    grids.d[4 * i + 1] = x == 0u ? 1u : (groups - 1u) / x + 1u;\n"
                      "    grids.d[4 * i + 2] = 1u;\n    grids.d[4 * i + 3] = 0u;\n}\n", GATE_GROUP, n, around ? " && around.d[0] != 0u" : "", p->limits.max_groups[0]);
    *out = (tf_step){ .kind = TF_STEP_DISPATCH, .arg = p->args.n, .n_args = 2 + (around != 0), .groups = n / GATE_GROUP + 1, .region = region,
                      .param = p->params.n, .n_params = n + 1, .label = "gate", .bytes = 16 * (uint64_t)n };
    bool ok = add_arg(p, (tf_arg){ .buffer = p->regions.data[region - 1].again - 1, .read = true }) &&
              add_arg(p, (tf_arg){ .buffer = g->grids[region] - 1, .write = true }) &&
              (!around || add_arg(p, (tf_arg){ .buffer = g->grids[around] - 1, .read = true }));
    for (uint32_t i = 0; ok && i <= n; i++) {
        tf_param *w = tf_push(&p->arena, &p->params);
        ok = w != NULL;
        if (w) *w = i ? (tf_param){ TF_PARAM_DIM, gated[i - 1]->groups } : (tf_param){ TF_PARAM_CANCEL, 0 };
    }
    return add_raw(g, "gate", "grids of the iteration", &t, GATE_GROUP, &out->kernel) && ok;
}

/* Gate the steps of one loop that no loop inside it gates. */
static bool gate_region(gating *g, uint32_t region, tf_arena *scratch)
{
    tf_plan *p = g->plan;
    uint32_t n = 0, first = UINT32_MAX;
    const tf_step **gated = tf_arena_array(scratch, const tf_step *, p->steps.n);
    if (!gated) return false;
    for (uint32_t i = 0; i < p->steps.n; i++) {
        if (!tf_plan_within(p, p->steps.data[i].region, region)) continue;
        first = TF_MIN(first, i);
        n += gate_of(p, p->steps.data[i].region) == region && p->steps.data[i].kind <= TF_STEP_COPY;
    }
    if (first == UINT32_MAX) return true;
    if (!new_grids(g, region, n)) return false;
    for (uint32_t i = first, k = 0; i < p->steps.n; i++) {
        tf_step *s = &p->steps.data[i];
        if (gate_of(p, s->region) != region || !tf_plan_within(p, s->region, region)) continue;
        if (!gate_step(g, s, region)) return false;
        if (s->kind == TF_STEP_DISPATCH_INDIRECT) gated[k++] = s;
    }
    tf_step gate;
    if (!add_gate(g, region, gated, g->gated[region], &gate)) return false;
    const tf_step *grown = tf_push(&p->arena, &p->steps);
    if (!grown) return false;
    memmove(&p->steps.data[first + 1], &p->steps.data[first], (p->steps.n - 1 - first) * sizeof *p->steps.data);
    p->steps.data[first] = gate;
    return true;
}

const char *tf_plan_gate(tf_plan *plan, uint32_t first_raw, tf_raw_kernels *raw)
{
    gating g = { .plan = plan, .raw = raw, .first_raw = first_raw };
    tf_arena scratch;
    tf_arena_init(&scratch, &plan->arena.allocator);
    g.grids = tf_arena_array(&scratch, uint32_t, (size_t)plan->regions.n + 1);
    g.gated = tf_arena_array(&scratch, uint32_t, (size_t)plan->regions.n + 1);
    const char *wrong = scratch.failed ? "out of host memory" : NULL;
    for (uint32_t r = 1; r <= plan->regions.n && !wrong; r++) { /* from the outside in: a gate asks the one around it */
        if (!plan->regions.data[r - 1].again) continue;
        if (!gate_region(&g, r, &scratch)) wrong = "out of host memory";
        else if (g.gated[r] > GATED_MAX) wrong = "a while loop's body has more kernels than a gate can switch (4000)";
    }
    tf_arena_release(&scratch);
    return wrong;
}
