/* plans.h - plans and programs made by hand, without the compiler: what tests of the runtime run. */
#ifndef TEST_PLANS_H
#define TEST_PLANS_H

#include "runtime/program.h"

enum { N = 1000, GROUPS = (N + 63) / 64 };

tf_type vec(tuff_dtype t, int64_t n);
uint32_t add_buffer(tf_plan *plan, tf_buffer_kind kind, const char *name, tf_type type, const void *data);
/* The kernel b<n_args-1>[i] = expr for i < p[0].x, all f32, 64 lanes a group; p[0].y is free for expr. */
uint32_t add_kernel(tf_plan *plan, const char *name, uint32_t n_args, const char *expr);
void add_arg(tf_plan *plan, tf_step *s, uint32_t buffer, bool write, bool read);
/* args end with the written one. groups: a dim; param: the second word. */
tf_step *add_step(tf_plan *plan, uint32_t kernel, const uint32_t *args, uint32_t n, int64_t elements, int64_t groups, tf_param param);
void add_transfer(tf_plan *plan, tf_step_kind kind, uint32_t from, uint32_t to, uint32_t fill);
tf_plan *new_plan(const tuff_device *dev);
tf_plan *finish(tf_plan *plan);
tuff_program *build(tuff_device *dev, tf_plan *plan, const tuff_compile_desc *desc);

tf_plan *chain_plan(const tuff_device *dev, uint32_t length);
float chain_value(float x, uint32_t length);
tf_plan *state_plan(const tuff_device *dev, const float *constant);
tf_plan *dynamic_plan(const tuff_device *dev);
void ramp(float *x, float scale);
void expect_no_messages(const tuff_device *dev, const char *what);
/* A chain of 7 kernels, three runs. */
void run_chain(tuff_device *dev, const char *what);
void expect_chain(const float *y, const float *x, uint32_t length, const char *what);

/* A call of program p fails with a status and a text. */
#define EXPECT_ERROR(call, status, part) \
    do { \
        const tuff_status got_ = (call); \
        cr_expect(got_ == (status) && strstr(tuff_program_error(p), part), "%s: status %d, %s", #call, (int)got_, tuff_program_error(p)); \
    } while (0)

#endif
