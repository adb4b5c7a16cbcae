/* custom.c - a user's own GLSL as a node.
 *
 * The text is an anchor template like ours: operands come through load hooks and the result leaves through a store
 * hook, so producers and consumers fuse into it. There is no CPU reference: only the user knows what it should do. */
#include "graph/kernel.h"

#include <ctype.h>
#include <string.h>

static bool identifier(const char *s)
{
    if (!s || !(isalpha((unsigned char)*s))) return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '_') return false;
    return true;
}

static bool custom_infer(tf_infer *c)
{
    const tuff_custom_desc *d = c->desc;
    if (!d->glsl) return tf_bad(c, TUFF_E_ATTRIBUTE, "glsl is missing");
    if (d->input_count > 16) return tf_bad(c, TUFF_E_LIMIT, "%u inputs; at most 16 fit one kernel", (unsigned)d->input_count);
    for (uint32_t i = 0; i < d->input_count; i++)
        if (!identifier(d->inputs[i].name) || !strcmp(d->inputs[i].name, "y"))
            return tf_bad(c, TUFF_E_NAME, "\"%s\" cannot name an input: it must be an identifier other than y, the result", d->inputs[i].name ? d->inputs[i].name : "");
    c->out[0].dtype = d->dtype ? d->dtype : TUFF_F32;
    c->out[0].rank = d->shape.rank;
    memcpy(c->out[0].dim, d->shape.dim, sizeof c->out[0].dim);
    return true;
}

static bool custom_configure(tf_kernel_build *k)
{
    const tuff_custom_desc *d = k->desc;
    const uint32_t local = d->local ? (uint32_t)d->local : 64;
    if (local > k->limits->max_invocations) {
        tf_fail(k->g, TUFF_E_LIMIT, "custom: local is %u, the device allows %u invocations per workgroup", local, k->limits->max_invocations);
        return false;
    }
    for (uint32_t i = 0; i < k->n_src; i++) {
        k->loads[i] = (tf_hook){ .name = d->inputs[i].name, .widths = 1 };
        for (int32_t j = 0; j < k->src[i]->rank; j++) {
            char name[300];
            strcpy(name, "");
            strncat(name, d->inputs[i].name, 255);
            const size_t n = strlen(name);
            memcpy(name + n, "_dim0", 6);
            name[n + 4] = (char)('0' + j);
            tf_define_dim(k, name, k->src[i]->dim[j]);
        }
    }
    for (int32_t j = 0; j < k->out->rank; j++) {
        char name[] = "y_dim0";
        name[5] = (char)('0' + j);
        tf_define_dim(k, name, k->out->dim[j]);
    }
    k->stores[0] = (tf_hook){ .name = "y", .widths = 1 };
    k->local[0] = local;
    k->local[1] = k->local[2] = 1;
    k->groups = d->groups;
    if (!d->groups) {
        const int64_t n = tf_dim_product(k->g, k->out->dim, 0, k->out->rank);
        k->groups = tf_dim_bin(k->g, TUFF_DIM_FLOORDIV, tf_dim_bin(k->g, TUFF_DIM_ADD, n, (int64_t)local - 1), local);
    }
    k->algorithm = "the user's";
    k->source = d->glsl;
    return true;
}

static const tf_anchor anchor = { .name = "custom", .configure = custom_configure };

static const tf_attr attrs[] = {
    TF_A(tuff_custom_desc, glsl, TF_ATTR_STRING, "text with void main(); reads <input>_at(i, j, ..), writes y_put(i, j, .., value)", .required = true),
    TF_A(tuff_custom_desc, dtype, TF_ATTR_DTYPE, "of the result; none: f32"),
    TF_A(tuff_custom_desc, shape, TF_ATTR_SHAPE, "of the result", .required = true),
    TF_A(tuff_custom_desc, local, TF_ATTR_INT, "workgroup size; 0: 64", .min = 0, .max = 1024),
    TF_A(tuff_custom_desc, groups, TF_ATTR_I64, "workgroups; 0: one invocation per element of the result", .min = 0, .max = 2147483647),
    { .name = "inputs", .doc = "operands by name", .type = TF_ATTR_NAMED, .offset = offsetof(tuff_custom_desc, inputs), .offset2 = offsetof(tuff_custom_desc, input_count) },
};

const tf_op tf_op_custom = {
    .name = "custom", .doc = "the user's own GLSL kernel: named operands -> y[shape]", .operands = "", .kind = TF_ANCHOR,
    .attrs = attrs, .attr_count = TF_COUNT(attrs), .desc_size = sizeof(tuff_custom_desc), .infer = custom_infer, .anchor = &anchor,
};

tuff_tensor tuff_custom(tuff_graph *g, const tuff_custom_desc *desc)
{
    if (!desc) return tf_fail(g, TUFF_E_ARGUMENT, "custom: desc is NULL");
    return tf_add(g, &tf_op_custom, NULL, 0, desc);
}
