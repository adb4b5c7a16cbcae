/* attention_score.c - the score expression of attention: its names, and how it becomes part of a kernel. */
#include "attention.h"

#include "graph/userexpr.h"

#include <string.h>

const tf_uexpr *tf_attention_parse_score(tf_arena *arena, const tuff_attention_desc *d, const tf_type *const *type, const char **message)
{
    static const tf_uname fixed[TF_SCORE_INPUTS] = {
        [TF_SCORE_S] = { .name = "s", .dtype = TUFF_F32, .value = true }, [TF_SCORE_B] = { .name = "b", .dtype = TUFF_I32, .value = true },
        [TF_SCORE_H] = { .name = "h", .dtype = TUFF_I32, .value = true }, [TF_SCORE_Q] = { .name = "q", .dtype = TUFF_I32, .value = true },
        [TF_SCORE_K] = { .name = "k", .dtype = TUFF_I32, .value = true },
    };
    tf_uname *names = tf_arena_array(arena, tf_uname, (size_t)TF_SCORE_INPUTS + d->score_input_count);
    *message = NULL;
    if (!names)
        return NULL;
    memcpy(names, fixed, sizeof fixed);
    for (uint32_t i = 0; i < d->score_input_count; i++) {
        const bool scalar = type[i]->rank == 0;
        names[TF_SCORE_INPUTS + i] = (tf_uname){ .name = d->score_inputs[i].name, .dtype = type[i]->dtype, .value = scalar, .lookup = !scalar,
                                             .rank = type[i]->rank, .dim = type[i]->dim };
    }
    return tf_uexpr_parse(arena, d->score, names, TF_SCORE_INPUTS + d->score_input_count, message);
}

typedef struct score_build { tf_view_map *m; tf_ex s; const tf_uexpr *e; } score_build;

static tf_ex score_index(void *user, uint32_t name)
{
    const score_build *c = user;
    static const int coord[TF_SCORE_INPUTS] = { [TF_SCORE_B] = 0, [TF_SCORE_H] = 1, [TF_SCORE_K] = 3 };
    return name == TF_SCORE_B || name == TF_SCORE_H || name == TF_SCORE_K ? c->m->out[coord[name]] : 0; /* a query's position may be negative */
}

static tf_ex score_lookup(void *user, uint32_t name, const tf_ex *coords)
{
    const score_build *c = user;
    return c->m->operand(c->m, TF_ATT_SCORE_INPUTS + name - TF_SCORE_INPUTS, coords);
}

static tf_ex score_value(void *user, uint32_t name)
{
    const score_build *c = user;
    if (name == TF_SCORE_S)
        return c->s;
    if (name >= TF_SCORE_INPUTS)
        return score_lookup(user, name, NULL);
    return tf_ex_to_value(c->m->x, c->m->out[name - TF_SCORE_B]);
}

tf_ex tf_attention_score(tf_view_map *m, tf_ex s)
{
    const tuff_attention_desc *d = m->desc;
    const char *message;
    const tf_type **type = tf_arena_array(m->x->arena, const tf_type *, d->score_input_count + 1);
    for (uint32_t i = 0; type && i < d->score_input_count; i++)
        type[i] = tf_type_of(m->g, m->node->src[TF_ATT_SCORE_INPUTS + i]);
    const tf_uexpr *e = type ? tf_attention_parse_score(m->x->arena, d, type, &message) : NULL;
    score_build user = { m, s, e };
    const tf_ubuild build = { .x = m->x, .user = &user, .value = score_value, .index = score_index, .lookup = score_lookup };
    return e ? tf_uexpr_build(e, &build) : 0;
}
