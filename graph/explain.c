/* explain.c - the plan for people (text, dot), for programs (JSON) and for kernel authors (GLSL).
 *
 * One row per step in the order it runs. All sizes are at the bounds of dynamic dims. JSON field names are a
 * contract: kernels[] {name, ops[], algorithm, workgroups, bytes, flops}, refusals[] {ops, reason}, arena_bytes,
 * live_bytes, barriers, submits. */
#include "plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const reasons[] = {
#define TF_X(name, text) text,
    TF_REFUSALS(TF_X)
#undef TF_X
};

static bool is_dispatch(const tf_step *s)
{
    return s->kind == TF_STEP_DISPATCH || s->kind == TF_STEP_DISPATCH_INDIRECT;
}

static const tf_kernel *kernel_of(const tf_plan *p, const tf_step *s)
{
    return is_dispatch(s) ? &p->kernels.data[s->kernel] : NULL;
}

static const char *or_else(const char *text, const char *otherwise)
{
    return text && *text ? text : otherwise;
}

static const char *name_of(const tf_plan *p, const tf_step *s)
{
    const tf_kernel *k = kernel_of(p, s);
    return or_else(s->label, or_else(k ? k->name : NULL, s->kind == TF_STEP_COPY ? "copy" : s->kind == TF_STEP_FILL ? "fill" : "?"));
}

/* Rows made by lowering have names that start with an underscore; the reader knows them without. */
static const char *op_name(const char *name)
{
    return or_else(name && *name == '_' ? name + 1 : name, "?");
}

static uint32_t barriers(const tf_plan *p)
{
    return p->waves ? p->waves - 1 : 0;
}

static uint64_t groups_of(const tf_plan *p, const tf_step *s)
{
    const int64_t n = is_dispatch(s) ? tf_plan_dim(p, s->groups, NULL) : 0;
    return n > 0 ? (uint64_t)n : 0;
}

static uint32_t count_steps(const tf_plan *p, bool dispatches)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->steps.n; i++)
        n += is_dispatch(&p->steps.data[i]) == dispatches;
    return n;
}

static uint64_t bytes_of_kind(const tf_plan *p, tf_buffer_kind kind)
{
    uint64_t sum = 0;
    for (uint32_t b = 0; b < p->buffers.n; b++)
        sum += p->buffers.data[b].kind == kind ? p->buffers.data[b].bytes : 0;
    return sum;
}

/* Both print into a caller's small buffer: "1.2 MiB", "34.5M". */
typedef char number[32];

static const char *scaled(number out, double x, double step, const char *const *units, int n)
{
    int u = 0;
    while (x >= step && u < n - 1) {
        x /= step;
        u++;
    }
    snprintf(out, sizeof(number), "%.*f%s", u == 0 || x >= 100 ? 0 : 1, x, units[u]);
    return out;
}

static const char *bytes_text(number out, uint64_t n)
{
    static const char *const units[] = { " B", " KiB", " MiB", " GiB", " TiB" };
    return scaled(out, (double)n, 1024, units, (int)TF_COUNT(units));
}

static const char *count_text(number out, uint64_t n)
{
    static const char *const units[] = { "", "K", "M", "G", "T" };
    return scaled(out, (double)n, 1000, units, (int)TF_COUNT(units));
}

/* ---- text --------------------------------------------------------------------------------------- */

static void text_memory(const tf_plan *p, tf_str *out)
{
    number a, b, c;
    tf_str_printf(out, "memory: arena %s in %u chunk%s (live %s, best serial order %s)\n", bytes_text(a, p->arena_bytes),
                  p->chunks.n, p->chunks.n == 1 ? "" : "s", bytes_text(b, p->live_bytes), bytes_text(c, p->serial_bytes));
    static const struct { tf_buffer_kind kind; const char *name; } kinds[] = {
        { TF_BUF_INPUT, "inputs" }, { TF_BUF_OUTPUT, "outputs" }, { TF_BUF_CONST, "constants" }, { TF_BUF_STATE, "states" }
    };
    tf_str_add(out, "       ");
    for (size_t i = 0; i < TF_COUNT(kinds); i++)
        tf_str_printf(out, " %s %s%s", kinds[i].name, bytes_text(a, bytes_of_kind(p, kinds[i].kind)),
                      i + 1 < TF_COUNT(kinds) ? "," : "\n");
}

static uint32_t depth_of(const tf_plan *p, uint32_t region)
{
    return region && region <= p->regions.n ? p->regions.data[region - 1].depth : 0;
}

/* Loops that begin with step i: their steps stand indented below. */
static void text_loops(const tf_plan *p, uint32_t i, tf_str *out)
{
    for (uint32_t r = 0; r < p->regions.n; r++) {
        const tf_plan_region *x = &p->regions.data[r];
        if (x->first != i || x->first == x->end)
            continue;
        tf_str_printf(out, "      %*sloop of %lld%s\n", 2 * (int)(x->depth - 1), "", (long long)x->count, x->odd ? ", two iterations by turns:" : "");
    }
}

/* What became of new values: explained where a copy was needed. */
static void text_commits(const tf_plan *p, tf_str *out)
{
    for (uint32_t i = 0; i < p->commits.n; i++) {
        const tf_commit *c = &p->commits.data[i];
        number size;
        tf_str_printf(out, "%s%s%s%s %s (%s): %s%s\n", i ? "" : "\nnew values:\n", c->name ? "  state \"" : "  carried value", c->name ? c->name : "",
                      c->name ? "\"" : "", c->name ? "" : tuff_dtype_name(p->buffers.data[c->to].type.dtype),
                      bytes_text(size, p->buffers.data[c->to].bytes), c->turns ? "in two places by turns" : c->copied ? "copied, " : "in place", c->copied ? c->copied : "");
    }
}

static void text_step(const tf_plan *p, const tf_step *s, int width, int algorithm_width, tf_str *out)
{
    const tf_kernel *k = kernel_of(p, s);
    number groups, bytes, flops;
    const int inset = 2 * (int)depth_of(p, s->region);
    tf_str_printf(out, "%4u  %*s%-*s  %-*s  ", s->wave, inset, "", width - inset, name_of(p, s), algorithm_width, k ? or_else(k->algorithm, "") : "");
    if (k)
        tf_str_printf(out, "%8s x %-4u  ", count_text(groups, groups_of(p, s)), k->local[0] * k->local[1] * k->local[2]);
    else
        tf_str_printf(out, "%8s   %-4s  ", "", "");
    tf_str_printf(out, "%10s  %8s\n", bytes_text(bytes, s->bytes), count_text(flops, s->flops));
}

static bool same_refusal(const tf_refusal *a, const tf_refusal *b)
{
    return a->reason == b->reason && !strcmp(op_name(a->producer), op_name(b->producer))
        && !strcmp(op_name(a->reader), op_name(b->reader));
}

/* Equal lines once, with their number: layers repeat. */
static void text_refusals(const tf_plan *p, tf_str *out)
{
    if (p->refusals.n)
        tf_str_add(out, "\nnot fused:\n");
    for (uint32_t i = 0; i < p->refusals.n; i++) {
        const tf_refusal *r = &p->refusals.data[i];
        uint32_t before = 0, after = 0;
        for (uint32_t k = 0; k < p->refusals.n; k++)
            *(k < i ? &before : &after) += same_refusal(r, &p->refusals.data[k]);
        if (before)
            continue;
        tf_str_printf(out, "  %s -> %s: %s", op_name(r->producer), op_name(r->reader), reasons[r->reason]);
        if (after > 1)
            tf_str_printf(out, " (%u times)", after);
        tf_str_add(out, "\n");
    }
}

static void explain_text(const tf_plan *p, tf_str *out)
{
    const uint32_t kernels = count_steps(p, true), transfers = count_steps(p, false);
    tf_str_printf(out, "%u kernel%s, %u %s, %u wave%s, %u barrier%s, 1 submit\n", kernels, kernels == 1 ? "" : "s", transfers,
                  transfers == 1 ? "transfer" : "transfers", p->waves, p->waves == 1 ? "" : "s", barriers(p),
                  barriers(p) == 1 ? "" : "s");
    text_memory(p, out);
    int width = 6, algorithm_width = 9;
    for (uint32_t i = 0; i < p->steps.n; i++) {
        const tf_kernel *k = kernel_of(p, &p->steps.data[i]);
        width = TF_MIN(TF_MAX(width, (int)strlen(name_of(p, &p->steps.data[i])) + 2 * (int)depth_of(p, p->steps.data[i].region)), 60);
        algorithm_width = TF_MIN(TF_MAX(algorithm_width, k ? (int)strlen(or_else(k->algorithm, "")) : 0), 40);
    }
    tf_str_printf(out, "\nwave  %-*s  %-*s  %8s x %-4s  %10s  %8s\n", width, "kernel", algorithm_width, "algorithm", "groups", "size",
                  "bytes", "flops");
    for (uint32_t i = 0; i < p->steps.n; i++) {
        text_loops(p, i, out);
        text_step(p, &p->steps.data[i], width, algorithm_width, out);
    }
    if (p->regions.n)
        tf_str_printf(out, "\na run executes %" PRIu64 " steps\n", tf_plan_run_steps(p));
    text_commits(p, out);
    text_refusals(p, out);
}

/* ---- JSON --------------------------------------------------------------------------------------- */

static void json_string_n(tf_str *out, const char *s, size_t n)
{
    tf_str_add(out, "\"");
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            tf_str_printf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            tf_str_printf(out, "\\u%04x", c);
        else
            tf_str_add_n(out, s + i, 1);
    }
    tf_str_add(out, "\"");
}

static void json_string(tf_str *out, const char *s)
{
    json_string_n(out, s ? s : "", s ? strlen(s) : 0);
}

/* A kernel's name lists its ops: "matmul+bias+gelu". */
static void json_ops(tf_str *out, const char *name)
{
    tf_str_add(out, "[");
    for (const char *end; *name; name = *end ? end + 1 : end) {
        end = name + strcspn(name, "+");
        json_string_n(out, name, (size_t)(end - name));
        if (*end)
            tf_str_add(out, ", ");
    }
    tf_str_add(out, "]");
}

static void json_kernel(const tf_plan *p, const tf_step *s, tf_str *out)
{
    const tf_kernel *k = kernel_of(p, s);
    tf_str_add(out, "    {\"name\": ");
    json_string(out, name_of(p, s));
    tf_str_add(out, ", \"ops\": ");
    json_ops(out, name_of(p, s));
    tf_str_add(out, ", \"algorithm\": ");
    json_string(out, k->algorithm);
    tf_str_printf(out, ", \"workgroups\": %" PRIu64 ", \"local\": [%u, %u, %u], \"bytes\": %" PRIu64 ", \"flops\": %" PRIu64
                  ", \"wave\": %u, \"bindings\": %u, \"shared_bytes\": %u, \"subgroup_size\": %u, \"hash\": \"%016" PRIx64 "\"}",
                  groups_of(p, s), k->local[0], k->local[1], k->local[2], s->bytes, s->flops, s->wave, s->n_bindings,
                  k->shared_bytes, k->subgroup_size, k->hash);
}

static void json_transfer(const tf_plan *p, const tf_step *s, tf_str *out)
{
    tf_str_printf(out, "    {\"kind\": \"%s\", \"name\": ", s->kind == TF_STEP_COPY ? "copy" : "fill");
    json_string(out, name_of(p, s));
    tf_str_printf(out, ", \"bytes\": %" PRIu64 ", \"wave\": %u}", s->bytes, s->wave);
}

static void json_steps(const tf_plan *p, bool dispatches, tf_str *out)
{
    const char *separator = "\n";
    for (uint32_t i = 0; i < p->steps.n; i++) {
        const tf_step *s = &p->steps.data[i];
        if (is_dispatch(s) != dispatches)
            continue;
        tf_str_add(out, separator);
        (dispatches ? json_kernel : json_transfer)(p, s, out);
        separator = ",\n";
    }
}

static void explain_json(const tf_plan *p, tf_str *out)
{
    tf_str_add(out, "{\n  \"kernels\": [");
    json_steps(p, true, out);
    tf_str_add(out, "\n  ],\n  \"transfers\": [");
    json_steps(p, false, out);
    tf_str_add(out, "\n  ],\n  \"refusals\": [");
    for (uint32_t i = 0; i < p->refusals.n; i++) {
        const tf_refusal *r = &p->refusals.data[i];
        tf_str_add(out, i ? ",\n    {\"ops\": [" : "\n    {\"ops\": [");
        json_string(out, op_name(r->producer));
        tf_str_add(out, ", ");
        json_string(out, op_name(r->reader));
        tf_str_add(out, "], \"reason\": ");
        json_string(out, reasons[r->reason]);
        tf_str_add(out, "}");
    }
    tf_str_add(out, "\n  ],\n  \"loops\": [");
    for (uint32_t r = 0; r < p->regions.n; r++)
        tf_str_printf(out, "%s{\"count\": %lld, \"depth\": %u, \"first_step\": %u, \"steps\": %u}", r ? ", " : "", (long long)p->regions.data[r].count,
                      p->regions.data[r].depth, p->regions.data[r].first, p->regions.data[r].end - p->regions.data[r].first);
    tf_str_add(out, "],\n  \"commits\": [");
    for (uint32_t i = 0; i < p->commits.n; i++) {
        tf_str_printf(out, "%s{\"state\": ", i ? ", " : "");
        json_string(out, p->commits.data[i].name);
        tf_str_printf(out, ", \"bytes\": %" PRIu64 ", \"copied\": ", p->buffers.data[p->commits.data[i].to].bytes);
        json_string(out, p->commits.data[i].copied);
        tf_str_add(out, "}");
    }
    tf_str_add(out, "],\n  \"chunks\": [");
    for (uint32_t i = 0; i < p->chunks.n; i++)
        tf_str_printf(out, "%s%" PRIu64, i ? ", " : "", p->chunks.data[i]);
    tf_str_printf(out, "],\n  \"arena_bytes\": %" PRIu64 ",\n  \"live_bytes\": %" PRIu64 ",\n  \"serial_bytes\": %" PRIu64 ",\n",
                  p->arena_bytes, p->live_bytes, p->serial_bytes);
    tf_str_printf(out, "  \"input_bytes\": %" PRIu64 ",\n  \"output_bytes\": %" PRIu64 ",\n  \"constant_bytes\": %" PRIu64
                  ",\n  \"state_bytes\": %" PRIu64 ",\n", bytes_of_kind(p, TF_BUF_INPUT), bytes_of_kind(p, TF_BUF_OUTPUT),
                  bytes_of_kind(p, TF_BUF_CONST), bytes_of_kind(p, TF_BUF_STATE));
    tf_str_printf(out, "  \"waves\": %u,\n  \"barriers\": %u,\n  \"run_steps\": %" PRIu64 ",\n  \"submits\": 1\n}\n", p->waves, barriers(p), tf_plan_run_steps(p));
}

/* ---- dot ---------------------------------------------------------------------------------------- */

static void dot_buffer(const tf_plan *p, uint32_t b, tf_str *out)
{
    const tf_buffer *x = &p->buffers.data[b];
    number size;
    if (x->kind == TF_BUF_ARENA)
        return;
    tf_str_printf(out, "  b%u [shape=%s, label=", b, x->kind == TF_BUF_CONST ? "note" : "ellipse");
    json_string(out, or_else(x->name, "const"));
    tf_str_printf(out, ", tooltip=\"%s %s\"];\n", tuff_dtype_name(x->type.dtype), bytes_text(size, x->bytes));
}

/* Arena buffers are edges from their last writer; others are nodes. */
static void explain_dot(const tf_plan *p, tf_str *out)
{
    tf_str_add(out, "digraph plan {\n  node [fontname=\"sans\", shape=box];\n  edge [fontname=\"sans\", fontsize=10];\n");
    for (uint32_t b = 0; b < p->buffers.n; b++)
        dot_buffer(p, b, out);
    for (uint32_t i = 0; i < p->steps.n; i++) {
        const tf_step *s = &p->steps.data[i];
        if (i == 0 || p->steps.data[i - 1].wave != s->wave)
            tf_str_printf(out, "%s  { rank=same;", i ? " }\n" : "");
        tf_str_printf(out, " s%u [label=", i);
        json_string(out, name_of(p, s));
        tf_str_add(out, "];");
    }
    tf_str_add(out, p->steps.n ? " }\n" : "");
    for (uint32_t i = 0; i < p->steps.n; i++)
        for (uint32_t j = 0; j < p->steps.data[i].n_args; j++) {
            const tf_arg *a = &p->args.data[p->steps.data[i].arg + j];
            const tf_buffer *b = &p->buffers.data[a->buffer];
            number size;
            if (b->kind != TF_BUF_ARENA) {
                if (a->read)
                    tf_str_printf(out, "  b%u -> s%u;\n", a->buffer, i);
                if (a->write)
                    tf_str_printf(out, "  s%u -> b%u;\n", i, a->buffer);
                continue;
            }
            uint32_t writer = i;
            for (uint32_t w = 0; a->read && w < i; w++)
                for (uint32_t k = 0; k < p->steps.data[w].n_args; k++) {
                    const tf_arg *o = &p->args.data[p->steps.data[w].arg + k];
                    writer = o->write && o->buffer == a->buffer ? w : writer;
                }
            if (writer != i)
                tf_str_printf(out, "  s%u -> s%u [label=\"%s %s\"];\n", writer, i, tuff_dtype_name(b->type.dtype), bytes_text(size, b->bytes));
        }
    tf_str_add(out, "}\n");
}

/* ---- GLSL --------------------------------------------------------------------------------------- */

static void explain_glsl(const tf_plan *p, tf_str *out)
{
    for (uint32_t k = 0; k < p->kernels.n; k++) {
        const tf_kernel *x = &p->kernels.data[k];
        uint32_t uses = 0;
        for (uint32_t i = 0; i < p->steps.n; i++)
            uses += is_dispatch(&p->steps.data[i]) && p->steps.data[i].kernel == k;
        tf_str_printf(out, "%s// ==== kernel %u: %s (%s), used %u time%s, hash %016" PRIx64 "\n", k ? "\n" : "", k, or_else(x->name, "?"),
                      or_else(x->algorithm, "plain"), uses, uses == 1 ? "" : "s", x->hash);
        tf_str_add(out, or_else(x->glsl, "// no text: loaded as SPIR-V\n"));
    }
}

void tf_plan_explain(const tf_plan *plan, tuff_explain_format format, tf_str *out)
{
    switch (format) {
    case TUFF_EXPLAIN_TEXT: explain_text(plan, out); break;
    case TUFF_EXPLAIN_JSON: explain_json(plan, out); break;
    case TUFF_EXPLAIN_DOT: explain_dot(plan, out); break;
    case TUFF_EXPLAIN_GLSL: explain_glsl(plan, out); break;
    }
}
