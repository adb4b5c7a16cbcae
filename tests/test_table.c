/* test_table.c - the op table itself: every row is complete, documented, reachable and tested. */
#include <stdio.h>
#include <string.h>

#include "graph/kernel.h"
#include "graph/op.h"
#include "op_cases.h"
#include "support/support.h"

#define X(op, types, tail, fill) op,
static const char *const ops_with_cases[] = { OP_CASES(X) };
#undef X

static bool has_case(const char *name)
{
    for (size_t i = 0; i < COUNT(ops_with_cases); i++)
        if (!strcmp(ops_with_cases[i], name)) return true;
    return false;
}

static bool required_attributes(const tf_op *op)
{
    for (uint32_t i = 0; i < op->attr_count; i++)
        if (op->attrs[i].required) return true;
    return false;
}

static void check_attributes(const tf_op *op)
{
    for (uint32_t i = 0; i < op->attr_count; i++) {
        const tf_attr *a = &op->attrs[i];
        cr_expect(a->name && a->name[0], "%s: attribute %u has no name", op->name, i);
        cr_expect(a->doc && a->doc[0], "%s.%s has no doc", op->name, a->name);
        cr_expect(a->offset < op->desc_size, "%s.%s lies outside the desc of %u bytes", op->name, a->name, op->desc_size);
        cr_expect((a->type == TF_ATTR_ENUM) == (a->choices != NULL), "%s.%s: choices go with ENUM", op->name, a->name);
        cr_expect(a->required || a->min <= 0.0, "%s.%s: 0 is the default but below its least value %g", op->name, a->name, a->min);
        for (uint32_t j = 0; j < i; j++) cr_expect(strcmp(a->name, op->attrs[j].name), "%s.%s stands twice", op->name, a->name);
    }
}

Test(table, rows_are_complete)
{
    for (uint32_t i = 0; tuff_ops[i]; i++) {
        const tf_op *op = tuff_ops[i];
        cr_assert(op->name && op->name[0], "row %u has no name", i);
        cr_expect(tf_op_find(op->name) == op, "%s: another row has that name", op->name);
        cr_expect(op->internal || (op->doc && op->doc[0]), "%s has no doc", op->name);
        cr_expect(op->kind == TF_POINTWISE || op->infer, "%s has no infer", op->name);
        cr_expect(!strcmp(op->name, "custom") || op->kind == TF_SOURCE || op->kind == TF_EFFECT || (op->kind == TF_POINTWISE ? op->scalar != NULL || op->reference != NULL : op->reference != NULL),
                  "%s has no reference", op->name);
        check_attributes(op);
        switch (op->kind) {
        case TF_POINTWISE:
            cr_expect(op->arity >= 1 && op->arity <= 3, "%s: arity %u", op->name, op->arity);
            cr_expect(op->classes != 0, "%s accepts no dtype", op->name);
            break;
        case TF_VIEW:
            cr_expect(op->view, "%s has no view", op->name);
            cr_expect(!op->bijective || op->inverse, "%s is bijective but has no inverse", op->name);
            break;
        case TF_INDEXED: cr_expect(op->expr, "%s has no expr", op->name); break;
        case TF_ANCHOR: cr_expect(op->anchor && op->anchor->configure, "%s has no anchor", op->name); break;
        case TF_COMPOSITE: cr_expect(op->lower, "%s has no lower", op->name); break;
        default: break;
        }
    }
}

Test(table, rows_have_cases)
{
    for (uint32_t i = 0; tuff_ops[i]; i++) {
        const tf_op *op = tuff_ops[i];
        if (!strcmp(op->name, "custom")) continue; /* ops_gpu/custom */
        if (op->internal || op->kind == TF_SOURCE || op->kind == TF_EFFECT || op->kind == TF_HOST) continue;
        if (op->kind == TF_POINTWISE && !required_attributes(op)) continue; /* test_ops_gpu runs them all */
        cr_expect(has_case(op->name), "%s has no case in tests/op_cases.h", op->name);
    }
    for (size_t i = 0; i < COUNT(ops_with_cases); i++)
        cr_expect(tf_op_find(ops_with_cases[i]), "tests/op_cases.h has cases of %s, which is no op", ops_with_cases[i]);
}
